"""`gateway incident open|note|list|plan|close`: what is open since when, and what is to be said about it.

Everything is on the trail; see `core/incidents`. Whoever acts in an incident names it with --incident, or it is the
only one that is open.
"""

import json
import secrets
from pathlib import Path
from typing import Any

import click

from gateway.adapters.personal import AffectedRecords
from gateway.adapters.system import SystemClock
from gateway.cli.payments import moment
from gateway.cli.records import Records, fail, opened, plain_reason, read_with_records, run, write_down
from gateway.core import incidents
from gateway.core.incidents import CLOSE, FACT, NOTE, OPEN, Incident
from gateway.core.keyring import Keyring
from gateway.core.trail import NEWEST, Step

_AT_ONCE = 1_000
_ID_BYTES = 6


def open_incident(config: Path, kind: str, note: str, *, as_json: bool) -> None:
    settings, note = read_with_records(config), plain_reason(note)
    id = f"inc_{secrets.token_hex(_ID_BYTES)}"

    async def begin() -> Incident:
        async with opened(settings) as here:
            await write_down(settings, here, OPEN, id, reason=note, kind=kind)
            return (await known(here))[id]

    found = run(begin())
    if as_json:
        click.echo(json.dumps(_told(found)))
        return
    told_by = moment(found.notify_by_ms)
    click.echo(f"{id}  open: {kind}. If it concerns personal data, the authority is told by {told_by}")
    click.echo(f"  what to do, by whom: gateway incident plan {id}")


def note_incident(config: Path, id: str, note: str, *, as_json: bool) -> None:
    _add(config, id, NOTE, plain_reason(note), as_json=as_json)


def close_incident(config: Path, id: str, note: str, *, as_json: bool) -> None:
    _add(config, id, CLOSE, plain_reason(note), as_json=as_json)


def _add(config: Path, id: str, action: str, note: str, *, as_json: bool) -> None:
    settings = read_with_records(config)

    async def add() -> Incident:
        async with opened(settings) as here:
            found = (await known(here)).get(id)
            if found is None:
                raise ValueError(f"{id}: there is no such incident")
            if found.closed_ms is not None:
                raise ValueError(f"{id} was closed {moment(found.closed_ms)}; open another one")
            await write_down(settings, here, action, id, reason=note)
            return (await known(here))[id]

    found = run(add())
    click.echo(json.dumps(_told(found)) if as_json else f"{id}  {'closed' if found.closed_ms else 'noted'}")


def list_incidents(config: Path, *, as_json: bool) -> None:
    settings, now_ms = read_with_records(config), SystemClock().now_ms()

    async def look() -> list[Incident]:
        async with opened(settings) as here:
            return list((await known(here)).values())

    found = run(look())
    if as_json:
        click.echo(json.dumps([_told(one) for one in found]))
        return
    for one in found:
        stands = f"closed {moment(one.closed_ms)}" if one.closed_ms else incidents.clock(one, now_ms=now_ms)
        click.echo(f"{one.id}  {one.kind}, opened {moment(one.opened_ms)}; {stands}: {one.note}")
    if not found:
        click.echo("there was none")


def show_plan(config: Path, id: str | None, *, review: bool, notices: Path | None, affected: Path | None) -> None:
    """As Markdown; the notices go to a folder, each with mode 0600, for they name who is told."""
    settings, now_ms = read_with_records(config), SystemClock().now_ms()

    async def look() -> tuple[Incident | None, list[Step], dict[str, list[str]]]:
        async with opened(settings) as here:
            found, steps = await chosen(here, id), await steps_of_incidents(here)
            accounts = _accounts_in(affected) if affected else []
            if accounts and found is not None:
                facts = {FACT: found.id, "accounts": str(len(accounts))}
                await write_down(settings, here, "incident.notices", found.id, **facts)
            contacts = await AffectedRecords(here.ask, Keyring(settings.secrets.sealing_keys)).contacts(accounts)
            return found, steps, {account: contacts.get(account, []) for account in accounts}

    found, steps, contacts = run(look())
    if (review or notices) and found is None:
        fail("say which incident: none is open, or several are", code=2)
    if found is not None and review:
        click.echo(incidents.review(found, incidents.timeline(steps, found.id)))
    else:
        click.echo(incidents.plan(found, now_ms=now_ms))
    if found is not None and notices is not None:
        written = _write_notices(found, notices, contacts, now_ms=now_ms)
        click.echo(f"{written} notices are in {notices}; send them by hand")


def _write_notices(incident: Incident, folder: Path, contacts: dict[str, list[str]], *, now_ms: int) -> int:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    reached = sum(1 for addresses in contacts.values() if addresses)
    texts = {"authority.md": incidents.notice_to_authority(
        incident, accounts=len(contacts), contacts=reached, now_ms=now_ms)}  # fmt: skip
    for account, addresses in contacts.items():
        letter = incidents.letter_to_holder(incident, account=account)
        texts |= {f"{account}.txt": "".join(f"To: {one}\n" for one in addresses) + letter} if addresses else {}
    for name, text in texts.items():
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(text)
    return len(texts)


def _accounts_in(path: Path) -> list[str]:
    """Those that `incident affected --json` wrote."""
    try:
        return [str(one["account"]) for one in json.loads(path.read_text())["accounts"]]
    except (OSError, ValueError, KeyError, TypeError):
        fail(f"{path} is not what `gateway incident affected --json` writes", code=2)


async def steps_of_incidents(here: Records) -> list[Step]:
    """The whole trail from the first incident on. Raises RecordsUnavailable."""
    first = NEWEST
    while older := await here.trail.steps_before(first, count=_AT_ONCE, action=OPEN):
        first = older[-1].number
    found: list[Step] = []
    after = first - 1
    while first != NEWEST and (page := await here.trail.steps_after(after, count=_AT_ONCE)):
        found += page
        after = page[-1].number
    return found


async def known(here: Records) -> dict[str, Incident]:
    """Every incident there was. Raises RecordsUnavailable."""
    return incidents.told_by(await steps_of_incidents(here))


async def chosen(here: Records, id: str | None) -> Incident | None:
    """The one that is named, or the only one that is open. Raises RecordsUnavailable, ValueError."""
    there = await known(here)
    if id is not None:
        if id not in there:
            raise ValueError(f"{id}: there is no such incident")
        return there[id]
    still = [one for one in there.values() if one.closed_ms is None]
    return still[0] if len(still) == 1 else None


def _told(one: Incident) -> dict[str, Any]:
    return {
        "id": one.id,
        "kind": one.kind,
        "note": one.note,
        "opened": moment(one.opened_ms),
        "notify_by": moment(one.notify_by_ms),
        "closed": moment(one.closed_ms) if one.closed_ms else None,
        "conclusion": one.conclusion or None,
    }
