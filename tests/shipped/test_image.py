"""The image as a container would run it, where there is no engine: built by buildah, entered by chroot.

The base image cannot be had without a registry, so a Debian of the same release stands in for it, made by debootstrap.
It takes two minutes, the rights of root and the network of packages: `make torture` does it where all that is there.
"""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.ports import own_port
from tests.relay.scenes import until

ROOT = Path(__file__).parents[2]
BASE = "docker.io/library/python:3.13-slim-trixie"
PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
USER = 10001
NEEDED = ("buildah", "debootstrap", "git")

pytestmark = [
    pytest.mark.skipif(not os.environ.get("GATEWAY_TORTURE"), reason="two minutes: a part of `make torture`"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a system in a folder"),
    pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"needs {', '.join(NEEDED)}"),
]


def run(*words: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout.strip()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file system of the image, which nothing can be written to but `/data` and `/tmp`."""
    home = tmp_path_factory.mktemp("image")
    base, source, inside = home / "base", home / "source", home / "inside"
    run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", "trixie", base)
    (base / "usr/bin/python").symlink_to("python3")
    shutil.copy(AUTHORITIES, base / AUTHORITIES.relative_to("/"))  # of this machine's network, too
    (base / "etc/pip.conf").write_text(f"[global]\ncert = {AUTHORITIES}\n")
    source.mkdir()
    tracked = run("git", "ls-files").splitlines()
    for name in tracked:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    buildah = ("buildah", "--storage-driver", "vfs", "--root", home / "store", "--runroot", home / "run")
    bare = run(*buildah, "from", "scratch")
    run(*buildah, "copy", bare, base, "/")
    run(*buildah, "config", "--env", f"PATH={os.defpath}:/usr/sbin:/sbin", bare)
    run(*buildah, "commit", bare, BASE)
    steps = ("--isolation", "chroot", "--network", "host", "--pull-never", "-f", "docker/Dockerfile", "-t", "farebox")
    run(*buildah, "bud", *steps, source, cwd=source)
    held = Path(run(*buildah, "mount", run(*buildah, "from", "--pull-never", "localhost/farebox")))
    data = home / "data"
    data.mkdir()
    os.chown(data, USER, USER)
    mounts = [
        (("--bind", held), inside),
        (("--bind", data), inside / "data"),
        (("-t", "tmpfs", "tmpfs"), inside / "tmp"),
    ]
    inside.mkdir()
    made: list[Path] = []
    try:
        for what, where in mounts:
            run("mount", *what, where)
            made.append(where)
            if where == inside:
                run("mount", "-o", "remount,ro,bind", inside)
        yield inside
    finally:
        for where in reversed(made):
            run("umount", where)
        run(*buildah, "umount", "--all")


def test_it_has_no_tools_to_build_with_and_nothing_of_it_can_be_changed(image: Path) -> None:
    assert not {"gcc", "cc", "make", "git"} & {one.name for one in (image / "usr/bin").iterdir()}
    with pytest.raises(OSError, match="Read-only"):
        (image / "opt/farebox/added").write_text("x")
    mine = [one for one in (image / "opt/farebox").rglob("*") if one.lstat().st_uid == USER]
    assert mine == [], "who serves owns nothing of the program"
    assert (image / "data").stat().st_uid == USER


async def test_it_serves_as_nobody_in_particular_with_a_root_that_is_read_only(image: Path) -> None:
    port, admin = own_port(), own_port()
    (image / "tmp/gateway.yaml").write_text(
        f"version: 1\nadmin: 127.0.0.1:{admin}\ncurrency: usd\nupstreams: {{up: {{url: 'http://127.0.0.1:1'}}}}\n"
        "routes: [{name: paid, match: /paid/, upstream: up, price: '0.002 usd'}]\n"
    )
    environ = {
        "PATH": "/opt/farebox/bin:/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "GATEWAY_CONFIG": "/tmp/gateway.yaml",  # noqa: S108 -- of the image
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "GATEWAY_STORE": "sqlite:/data/gateway.db",
    }
    inside = (shutil.which("chroot") or "chroot", f"--userspec={USER}:{USER}", image, "gateway")
    process = await asyncio.create_subprocess_exec(*inside, "run", env=environ, stderr=asyncio.subprocess.PIPE)
    try:
        asked = (*inside, "health")
        await until(lambda: subprocess.run(asked, env=environ, capture_output=True).returncode == 0, seconds=60)
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert f"Uid:\t{USER}\t{USER}\t{USER}\t{USER}\n" in status
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/paid/x") as refused:
            assert refused.status == 402
        process.terminate()
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    kept = {one.name for one in (image / "data").iterdir()}
    assert {"gateway.db", "gateway.records.db", "secrets"} <= kept
