"""The README's way from nothing to two hosts, typed as it stands: real PostgreSQL and Redis, two gateways with workers.

The two servers are there, as the README wants them. Database, roles, keys, hosts, payment, alert, kill, backup and the
drill of an incident are the commands'.
"""

import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path

from tests import postgres_server
from tests.ports import own_port
from tests.redis_server import RedisServer
from tests.stories.test_the_readme import blocks, path, script, section

ROOT = Path(__file__).parents[2]
SECTION = section("### From nothing to two hosts", "### In containers, and under systemd")
PORTS = ("8402", "8403", "8412", "8413", "8420", "9001", "9003")
SECONDS_MAX = 200


async def test_the_way_from_nothing_to_two_hosts_is_as_it_stands(tmp_path: Path) -> None:
    commands, redis = "".join(blocks(SECTION, "sh")), RedisServer(tmp_path)
    await redis.start()
    (tmp_path / "docker").symlink_to(ROOT / "docker")
    with postgres_server.running() as postgres:
        servers = {"5432": str(postgres.port), "6379": re.findall(r":(\d+)/", redis.url)[0]}
        for port, free in {**servers, **{port: str(own_port()) for port in PORTS}}.items():
            commands, found = re.subn(rf"\b{port}\b", free, commands)
            assert found, port
        environ = {
            "PATH": f"{path()}:{postgres.bin}:{os.environ['PATH']}", "HOME": str(tmp_path),
            "PGHOST": "127.0.0.1", "PGPORT": str(postgres.port), "PGUSER": "postgres",
        }  # fmt: skip
        try:
            told = _typed(script(commands), tmp_path, environ)
        finally:
            await redis.kill()
    logs = {file.name: file.read_text()[-2000:] for file in (tmp_path / "hosts").glob("*.log")}
    assert told.returncode == 0, f"{told.stdout[-3000:]}{told.stderr[-3000:]}{logs}"
    alert = '"type": "alert.test"'
    assert alert in logs["told.log"]
    for host in ("north", "south"):
        assert "Traceback" not in logs[f"{host}.log"]


def _typed(commands: str, folder: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """In a group of its own, which is gone afterwards, whatever became of it. What it says goes into files, for what
    runs on in the background would keep a pipe open."""
    out, err = folder / "out", folder / "err"
    with out.open("w") as says, err.open("w") as complains:
        typing = subprocess.Popen(
            ["bash", "-c", commands], cwd=folder, env=environ, stdout=says, stderr=complains, start_new_session=True
        )
        try:
            code = typing.wait(SECONDS_MAX)
        except subprocess.TimeoutExpired:
            code = 124
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(typing.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(commands, code, out.read_text(), err.read_text())
