"""`gateway incident bundle` and `gateway incident verify`: evidence, signed, with whose hands it was in.

What is put together is read, nothing is changed. No secret is in it, and no e-mail address: the trail and the logs
have ids, and the configuration is told without its secrets. Each look at a bundle is on the trail, too, so the trail
tells through whose hands it went.
"""

import asyncio
import importlib.metadata
import io
import json
import os
import platform
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from gateway import __version__
from gateway.adapters.system import SystemClock, SystemFile
from gateway.app.stores import HEAD_KEY_PURPOSE, head_path, trail_head_path
from gateway.cli.admin import login
from gateway.cli.incident import chosen, steps_of_incidents
from gateway.cli.ledger import moment_of
from gateway.cli.payments import moment
from gateway.cli.records import Records, fail, opened, read_with_records, run, write_down
from gateway.cli.trail import verified
from gateway.core import incidents
from gateway.core.evidence import MADE, MANIFEST, Manifest, findings, manifest
from gateway.core.incidents import FACT, Incident
from gateway.core.keyring import Keyring
from gateway.core.redaction import redacted
from gateway.core.trail import NEWEST, Step, excerpt_problem
from gateway.settings import Settings
from gateway.settings.plain import plain

_AT_ONCE = 1_000
_BEFORE_MS = 7 * 86_400_000
"""How long before the incident the evidence begins, if nothing is said."""
_FILE_BYTES_MAX = 1 << 30
_AUDIT_SECONDS_MAX = 3600


@dataclass(frozen=True, slots=True)
class _Span:
    begin_ms: int
    end_ms: int

    def has(self, at_ms: int) -> bool:
        return self.begin_ms <= at_ms < self.end_ms


def make_bundle(
    config: Path,
    out: Path,
    *,
    begin: str | None,
    end: str | None,
    incident: str | None,
    logs: tuple[Path, ...],
    as_json: bool,
) -> None:
    settings, now_ms = read_with_records(config), SystemClock().now_ms()
    if out.exists():
        fail(f"{out} is there already; evidence is not written over", code=2)
    keyring = Keyring(settings.secrets.sealing_keys)

    async def gather() -> Manifest:
        async with opened(settings) as here:
            found = await chosen(here, incident)
            usual = found.opened_ms - _BEFORE_MS if found is not None else now_ms - _BEFORE_MS
            span = _Span(moment_of(begin, "--from", usual), moment_of(end, "--to", now_ms + 1))
            files = {**await _of_records(settings, here, span, found), **_of_files(settings, config, span, logs)}
            custody = {"by": f"operator:{login()}", "host": settings.host_name, "at": moment(now_ms)}
            custody |= {"from": moment(span.begin_ms), "to": moment(span.end_ms), "incident": found.id if found else ""}
            made = manifest(files, custody, keyring)
            facts = {FACT: found.id} if found is not None else {}
            await write_down(settings, here, MADE, made.hash, files=str(len(files)), **facts)
            await asyncio.to_thread(_write, out, {**files, MANIFEST: made.text().encode()})
            return made

    made = run(gather())
    told = {"file": str(out), "hash": made.hash, "files": sorted(made.told["files"]), "custody": made.told["custody"]}
    click.echo(json.dumps(told) if as_json else f"{out}  {len(told['files'])} files, {made.hash}; it is on the trail")


def verify_bundle(config: Path, file: Path, *, as_json: bool) -> None:
    """Exit code 1 if it is not as it was made. That it was looked at goes on the trail."""
    settings = read_with_records(config)
    keyring = Keyring(settings.secrets.sealing_keys)
    try:
        files = _read(file)
        made = Manifest.read(files.pop(MANIFEST, b"").decode())
    except (OSError, ValueError, tarfile.TarError) as error:
        fail(f"{file}: {error}", code=1)

    async def look() -> tuple[list[str], list[dict[str, str]]]:
        async with opened(settings) as here:
            on_trail = await here.trail.steps_before(NEWEST, count=_AT_ONCE, object=made.hash)
            noted = [made.hash] if any(step.act.action == MADE for step in on_trail) else []
            wrong = findings(made, files, keyring, noted=noted) + _of_excerpt(files, keyring)
            await write_down(settings, here, "incident.verify", made.hash, found=f"{len(wrong)} wrong")
            hands = [
                {"at": moment(step.at_ms), "by": step.act.actor, "did": step.act.action} for step in reversed(on_trail)
            ]
            return wrong, hands

    wrong, hands = run(look())
    told = {"clean": not wrong, "hash": made.hash, "wrong": wrong, "custody": made.told["custody"], "hands": hands}
    if as_json:
        click.echo(json.dumps(told))
    else:
        for line in wrong:
            click.echo(f"wrong: {line}", err=True)
        click.echo(f"{file}  {'NOT as it was made' if wrong else 'as it was made'}; {made.hash}")
        for hand in hands:
            click.echo(f"  {hand['at']}  {hand['by']}  {hand['did']}")
    sys.exit(1 if wrong else 0)


# --- what is in it ----------------------------------------------------------------------------------------------------


async def _of_records(settings: Settings, here: Records, span: _Span, found: Incident | None) -> dict[str, bytes]:
    steps, before = await _excerpt(here, span)
    verdict, ending = await verified(settings, trail_head_path(settings))
    problem = verdict.problem() or ending
    story = incidents.timeline(await steps_of_incidents(here), found.id) if found is not None else []
    return {
        "trail.jsonl": "".join(f"{json.dumps(_step(step))}\n" for step in steps).encode(),
        "trail.json": _json({"before": before.hex(), "entries": verdict.entries, "problem": problem}),
        "timeline.txt": "".join(f"{line}\n" for line in story).encode(),
    }


async def _excerpt(here: Records, span: _Span) -> tuple[list[Step], bytes]:
    """The entries of that time, and the hash of the one before them."""
    found: list[Step] = []
    before, after = bytes(32), 0
    while page := await here.trail.steps_after(after, count=_AT_ONCE):
        after = page[-1].number
        for step in page:
            if span.has(step.at_ms):
                found.append(step)
            elif not found:
                before = step.hash
            else:
                return found, before  # an excerpt has no gaps
    return found, before


def _of_files(settings: Settings, config: Path, span: _Span, logs: tuple[Path, ...]) -> dict[str, bytes]:
    heads = {"trail.head": trail_head_path(settings), "books.head": _books_head(settings)}
    ring = Keyring(settings.secrets.sealing_keys)
    versions = {"gateway": __version__, "python": sys.version, "system": platform.platform()}
    packages = {one.name: one.version for one in importlib.metadata.distributions()}
    return {
        **{name: content for name, path in heads.items() if (content := SystemFile(path).read()) is not None},
        "audit.json": _audited(config),
        "configuration.json": _json(plain(settings)),
        "versions.json": _json({**versions, "packages": dict(sorted(packages.items()))}),
        "keys.json": _json({"sealing_keys": [key.id for key in ring.keys], "signs_books_as": HEAD_KEY_PURPOSE}),
        "log.jsonl": "".join(_lines(settings, span, logs)).encode(),
    }


def _books_head(settings: Settings) -> Path:
    beside = settings.store_path.with_name(f"{settings.store_path.name}.head")
    return head_path(settings) if settings.store_url is not None else beside


def _audited(config: Path) -> bytes:
    """What `gateway audit` says of the books, as it says it."""
    command = [sys.executable, "-m", "gateway", "audit", "--config", str(config), "--json"]
    done = subprocess.run(command, capture_output=True, timeout=_AUDIT_SECONDS_MAX, check=False)  # noqa: S603 -- ours
    return done.stdout or _json({"clean": None, "problem": redacted(done.stderr.decode("utf-8", "replace"))})


def _lines(settings: Settings, span: _Span, more: tuple[Path, ...]) -> Iterator[str]:
    """Those of that time, of our log file and what was put aside of it, and of files that are named."""
    file = settings.log.file
    ours = sorted([*file.parent.glob(f"{file.name}.[0-9]*"), file]) if file is not None else []
    begin, end = moment(span.begin_ms)[:19], moment(span.end_ms)[:19]
    for path in [*ours, *more]:
        try:
            with path.open(encoding="utf-8", errors="replace") as opened_file:
                yield from (redacted(line) for line in opened_file if begin <= _at(line) <= end)
        except OSError as error:
            fail(f"{path}: {error.strerror}")


def _at(line: str) -> str:
    """When it was written; a line without a time is of no time."""
    try:
        return str(json.loads(line)["timestamp"])[:19]
    except (ValueError, KeyError, TypeError):
        return ""


def _of_excerpt(files: Mapping[str, bytes], keyring: Keyring) -> list[str]:
    """Whether the trail's part is one chain, each signed by us; proved by itself."""
    try:
        steps = [_step_of(line) for line in files["trail.jsonl"].decode().splitlines()]
        before = bytes.fromhex(json.loads(files["trail.json"])["before"])
    except (KeyError, ValueError, TypeError):
        return ["the trail's part cannot be read"]
    problem = excerpt_problem(before, steps, keyring)
    return [problem] if problem else []


def _step(step: Step) -> dict[str, Any]:
    return {"number": step.number, "content": step.content, "hash": step.hash.hex(), "key_id": step.key_id,
            "mac": step.mac.hex()}  # fmt: skip


def _step_of(line: str) -> Step:
    told = json.loads(line)
    hash, mac = bytes.fromhex(told["hash"]), bytes.fromhex(told["mac"])
    return Step(int(told["number"]), str(told["content"]), hash, str(told["key_id"]), mac)


def _json(content: object) -> bytes:
    return json.dumps(content, indent=1, sort_keys=True, default=str).encode()


# --- the archive ------------------------------------------------------------------------------------------------------


def _write(out: Path, files: Mapping[str, bytes]) -> None:
    """Whole, or not at all; for nobody's eyes but its owner's."""
    beside = out.with_name(f"{out.name}.new")
    with os.fdopen(os.open(beside, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            for name, content in sorted(files.items()):
                about = tarfile.TarInfo(name)
                about.size, about.mode = len(content), 0o600
                archive.addfile(about, io.BytesIO(content))
        file.flush()
        os.fsync(file.fileno())
    beside.rename(out)


def _read(path: Path) -> dict[str, bytes]:
    """Raises OSError, TarError, ValueError for what no bundle of ours has."""
    files: dict[str, bytes] = {}
    with tarfile.open(path, mode="r:gz") as archive:
        for about in archive:
            content = archive.extractfile(about)
            if content is None or about.size > _FILE_BYTES_MAX or about.name in files:
                raise ValueError(f"{about.name}: no bundle of ours has this")
            files[about.name] = content.read()
    return files
