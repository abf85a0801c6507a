"""`gateway doctor`: what is wrong here, and which file, setting or command mends it.

It mends nothing, also where it could: a file is not brought up to date to be looked into. The records in a PostgreSQL
are, as by every command that opens them. No secret is read but the keys that prove the trail.
What it asks of a gateway that runs is what that one says of itself.
"""

import asyncio
import http.client
import json
import os
import shutil
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import click

from gateway import settings as configuration
from gateway.adapters.sqlite.ledger import lock_books
from gateway.adapters.sqlite.migrations import MigrationRefused
from gateway.adapters.sqlite.rights import MEND, missing_right
from gateway.adapters.system import SystemClock
from gateway.app.stores import records_path, trail_head_path
from gateway.cli.configuration import read
from gateway.cli.currency import money_elsewhere
from gateway.cli.records import Records, opened
from gateway.cli.trail import verified
from gateway.cli.upgrading import plan_stores
from gateway.core.readiness import age
from gateway.core.refusals import RecordsUnavailable
from gateway.ports import KeysDiffer, StoreDamaged, StoreFailed, StoreForbidden, StoreLocked
from gateway.settings import Settings

DISK_BYTES_MIN = 512 * 1024**2
CLOCK_MS_MAX = 60_000
_SECONDS_MAX = 5.0
_OTHERS = stat.S_IRWXG | stat.S_IRWXO

_MENDS = {
    "ledger": "see the gateway's log; is the disk full, or another program at the store?",
    "webhooks": "gateway webhooks list",
    "provider": "stripe.secret_key, stripe.api_url: can this machine reach it? See `gateway check --online`",
    "limits": "limits.storage: is that server up?",
    "issuers": "identity.issuers: can this machine reach their keys?",
    "upstreams": "upstreams: are their servers up?",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `mend` names the file, setting or command that mends what is wrong."""

    part: str
    state: Literal["well", "note", "wrong"]
    what: str
    mend: str = ""


def examine(config: Path, *, as_json: bool) -> None:
    """Exit code 1 if anything needs a hand; 2, with every mistake, if the configuration is wrong."""
    settings = read(config, make_secrets=False)
    findings = asyncio.run(_examined(settings))
    ill = any(finding.state == "wrong" for finding in findings)
    if as_json:
        click.echo(json.dumps({"ok": not ill, "findings": [asdict(finding) for finding in findings]}))
    else:
        for finding in findings:
            click.echo(f"{finding.state:5}  {finding.part}: {finding.what}")
            if finding.mend:
                click.echo(f"       mend: {finding.mend}")
    sys.exit(1 if ill else 0)


async def _examined(settings: Settings) -> list[Finding]:
    found = [Finding("configuration", "note", note) for note in configuration.notes(settings)]
    found += [*_modes(settings), *_disk(settings), *_rights(settings), *_files(settings), *_gateway(settings)]
    if (elsewhere := await asyncio.to_thread(money_elsewhere, settings)) is not None:
        found.insert(0, Finding("configuration", "note", elsewhere))
    if any(finding.part in ("files", "rights") and finding.state == "wrong" for finding in found):
        return found  # to open the records would bring them up to date; or cannot be
    return [*found, *[finding async for finding in _records(settings)]]


def _modes(settings: Settings) -> Iterator[Finding]:
    """Who besides us may read what nobody else should."""
    private = [settings.secrets_path, *sorted(settings.secrets_path.glob("*"))]
    if settings.store_url is None:
        store, kept = settings.store_path, records_path(settings.store_path)
        private += [Path(f"{path}{end}") for path in (store, kept) for end in ("", "-wal", "-shm")]
    there = [path for path in private if path.exists()]
    bad = [path for path in there if path.stat().st_mode & _OTHERS]
    for path in bad:
        mode = "700" if path.is_dir() else "600"
        now = stat.S_IMODE(path.stat().st_mode)
        yield Finding("modes", "wrong", f"{path}: others may use it ({now:o})", f"chmod {mode} {path}")
    if not bad:
        yield Finding("modes", "well", f"{len(there)} files and folders are ours alone")


def _disk(settings: Settings) -> Iterator[Finding]:
    folder = settings.secrets_path.parent
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    what = f"{free // 1024**2:,} MiB are free at {folder}"
    if free < DISK_BYTES_MIN:
        yield Finding("disk", "wrong", what, "free some; `gateway db prune` drops old batches, see retention")
    else:
        yield Finding("disk", "well", what)


def _rights(settings: Settings) -> Iterator[Finding]:
    """Whether we, who ask, may write what the gateway writes."""
    if (words := _missing(settings)) is not None:
        yield Finding("rights", "wrong", words, MEND)


def _missing(settings: Settings) -> str | None:
    if settings.store_url is not None:
        return None
    store = settings.store_path
    return missing_right(store) or missing_right(records_path(store))


def _files(settings: Settings) -> Iterator[Finding]:
    """Whether the files are there, and of this version; of what we may not open, it is not known."""
    if _missing(settings) is not None:
        return
    if settings.store_url is not None:
        yield Finding("files", "note", "the store is a database", "gateway db migrate --dry-run says what is pending")
        return
    try:
        for path, upgrade in plan_stores(settings).items():
            if upgrade is None:
                yield Finding("files", "note", f"{path}: not there yet", "gateway run makes it")
            elif upgrade.migrations:
                yield Finding("files", "wrong", f"{path}: {len(upgrade.migrations)} migrations are pending", _MIGRATE)
            else:
                yield Finding("files", "well", f"{path}: up to date")
    except (MigrationRefused, sqlite3.Error, OSError) as error:
        yield Finding("files", "wrong", str(error), "put a backup back, or the gateway that made it")


_MIGRATE = "gateway db migrate, or start the gateway anew"


def _gateway(settings: Settings) -> Iterator[Finding]:
    """Whether it answers, and what it says of itself; else, who has the books."""
    host, port = settings.admin
    connection = http.client.HTTPConnection(host, port, timeout=_SECONDS_MAX)
    try:
        connection.request("GET", "/healthz")
        checks: dict[str, Any] = json.loads(connection.getresponse().read())["checks"]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        yield _nobody(settings, f"nobody answers at {host}:{port} ({type(error).__name__})")
        return
    finally:
        connection.close()
    yield Finding("gateway", "well", f"it answers at {host}:{port}")
    for name, check in checks.items():
        if name == "webhooks" or check["ok"]:
            continue  # what the records say of them is looked at here, too
        yield Finding(name, "wrong", str(check["why"]), _MENDS.get(name, "see the gateway's log"))


def _nobody(settings: Settings, what: str) -> Finding:
    if settings.store_url is None and settings.store_path.exists():
        try:
            os.close(lock_books(settings.store_path))
        except StoreForbidden:
            pass  # which is told above
        except (StoreLocked, OSError):
            return Finding("gateway", "wrong", f"{what}, but somebody has the books", "admin: is it that gateway's?")
    return Finding("gateway", "wrong", what, "gateway run")


async def _records(settings: Settings) -> AsyncIterator[Finding]:
    if not settings.secrets.sealing_keys or (
        settings.store_url is None and not records_path(settings.store_path).exists()
    ):
        yield Finding("records", "note", "no gateway has run here yet", "gateway run")
        return
    try:
        async with opened(settings) as here:
            async for finding in _kept(settings, here):
                yield finding
    except KeysDiffer as differ:
        yield Finding("keys", "wrong", str(differ), "copy the folder `secrets` of a host that serves")
    except (StoreDamaged, StoreFailed, RecordsUnavailable, OSError) as error:
        words = str(error) or "they cannot be read"
        yield Finding("records", "wrong", words, "put a backup of the records back, or see that their server is up")


async def _kept(settings: Settings, here: Records) -> AsyncIterator[Finding]:
    inbox, last = await here.inbox_standing(), await here.trail.last_step()
    ahead = max(inbox.newest_ms or 0, last.at_ms if last else 0) - SystemClock().now_ms()
    if ahead > CLOCK_MS_MAX:
        yield Finding(
            "clock", "wrong", f"the newest entry is {age(ahead / 1000)} ahead of it", "set this machine's clock"
        )
    else:
        yield Finding("clock", "well", "no entry is ahead of it")
    verdict, ending = await verified(settings, trail_head_path(settings))
    problem = verdict.problem() or ending
    if problem:
        yield Finding("trail", "wrong", problem, "gateway audit verify; compare with a backup")
    else:
        yield Finding("trail", "well", f"{verdict.entries:,} entries, each as it was written")
    if inbox.parked:
        yield Finding(
            "webhooks", "wrong", f"{inbox.parked} are parked", "gateway payments parked, gateway webhooks list"
        )
    failed = await here.outbox.entries("failed", count=100)
    if failed:
        many = f"{len(failed)}{' or more' if len(failed) == 100 else ''}"
        yield Finding("notices", "wrong", f"{many} could not be delivered", "gateway notices replay --failed")
