"""`gateway payouts …`: what leaves owners, by hand and to look at. Most of it also happens by itself while it runs.

Looking needs no running gateway. What writes to the books goes through whoever keeps them.
"""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click

from gateway.adapters.payouts import RecordedPayouts
from gateway.adapters.system import SystemClock
from gateway.app.office import Office
from gateway.app.stores import owners_money
from gateway.cli.configuration import read
from gateway.cli.payments import NoEntries, books, fail, moment, office, run
from gateway.cli.reconcile import seconds_of
from gateway.cli.records import opened, plain_reason, read_with_records, write_down
from gateway.cli.records import run as run_records
from gateway.core.money import Money
from gateway.core.payouts import PAYOUT_STATES, Payout, PayoutState, SentOn, read_payout_id
from gateway.flows.compare_payouts import PayoutDifference, compare_payouts
from gateway.flows.pay_out import PayOut, Prospect
from gateway.ports import OnHold, TransferRefused
from gateway.settings import Settings

STATES = PAYOUT_STATES


@asynccontextmanager
async def _paying(settings: Settings, *, writes: bool) -> AsyncIterator[tuple[Office, PayOut]]:
    """Who pays, opened and closed again. Raises ValueError where nobody is paid."""
    if settings.payouts is None:
        raise ValueError("nobody is paid here: set `payouts`")
    if not writes:
        async with office(settings, NoEntries()) as here:
            yield here, _payer(here)
        return
    async with books(settings) as entries, office(settings, entries) as here:
        yield here, _payer(here)


def _payer(here: Office) -> PayOut:
    assert here.pay_out is not None
    return here.pay_out


def run_payouts(config: Path, *, owner: str | None, dry_run: bool, as_json: bool) -> None:
    """`gateway payouts run`: exit code 1 if the provider refused one."""
    settings = _read(config)

    async def look() -> list[Prospect]:
        async with _paying(settings, writes=False) as (_, payer):
            return await payer.prospects(owner)

    async def pay() -> list[Payout]:
        async with _paying(settings, writes=True) as (here, payer):
            facts = {"owner": owner} if owner else {}
            await write_down(settings, here.records, "payout.run", "payouts", **facts)
            return await payer.run(owner)

    if dry_run:
        prospects = run(look())
        _print([_told_prospect(one) for one in prospects], [_said_prospect(one) for one in prospects], as_json=as_json)
        return
    paid = run(pay())
    _print([told(one) for one in paid], [said(one) for one in paid], as_json=as_json)
    sys.exit(1 if any(one.state in ("failed", "returned") for one in paid) else 0)


def list_payouts(config: Path, *, owner: str | None, state: str | None, limit: int, as_json: bool) -> None:
    """`gateway payouts list`: the newest first; and who is on hold."""
    settings = read_with_records(config)

    async def look() -> tuple[list[Payout], list[OnHold]]:
        async with opened(settings) as here:
            book = RecordedPayouts(here.ask)
            wanted: PayoutState | None = next((one for one in PAYOUT_STATES if one == state), None)
            return await book.list_payouts(owner=owner, state=wanted, count=limit), await book.holds()

    found, holds = run_records(look())
    if as_json:
        on_hold = [{"owner": one.owner, "reason": one.reason, "since": moment(one.since_ms)} for one in holds]
        click.echo(json.dumps({"payouts": [told(one) for one in found], "on_hold": on_hold}))
        return
    for one in found:
        click.echo(said(one))
    for hold in holds:
        click.echo(f"{hold.owner}  on hold since {moment(hold.since_ms)}: {hold.reason}")
    if not found and not holds:
        click.echo("there are none")


def show_payout(config: Path, id: str, *, as_json: bool) -> None:
    """`gateway payouts show`: also what went on from its account to the owner's bank."""
    settings = read_with_records(config)
    key = _id(id)

    async def look() -> tuple[Payout | None, list[SentOn]]:
        async with opened(settings) as here:
            book = RecordedPayouts(here.ask)
            found = await book.find_payout(*key)
            return found, [] if found is None else await book.sent_on([found.account], 10)

    found, sent = run_records(look())
    if found is None:
        fail(f"there is no payout {id}")
    more = [_told_sent(one) for one in sent]
    lines = [said(found), f"  key {found.key}, of hours before {moment(found.before_ms)}, up to fold {found.fold}"]
    lines += [f"  to the bank: {one['amount']}, {one['status']}, {one['arrives']}" for one in more]
    if as_json:
        click.echo(json.dumps({**told(found), "to_bank": more}))
    else:
        click.echo("\n".join(lines))


def hold_owner(config: Path, owner: str, *, reason: str, held: bool, as_json: bool) -> None:
    """`gateway payouts hold` and `gateway payouts resume`."""
    settings = read_with_records(config)
    reason = plain_reason(reason)
    if owner not in settings.owners:
        fail(f"there is no owner {owner} in the configuration", code=2)

    async def change() -> bool:
        async with opened(settings) as here:
            book = RecordedPayouts(here.ask)
            action = "payout.hold" if held else "payout.resume"
            await write_down(settings, here, action, owner, reason=reason)
            if held:
                return await book.hold_owner(owner, reason, now_ms=SystemClock().now_ms())
            return await book.resume_owner(owner)

    changed = run_records(change())
    if as_json:
        click.echo(json.dumps({"owner": owner, "on_hold": held, "changed": changed}))
    else:
        stands = "on hold" if held else "paid as usual"
        click.echo(f"{owner}  {stands}" + ("" if changed else ", as before"))


def reverse_payout(config: Path, id: str, *, reason: str, dry_run: bool, as_json: bool) -> None:
    """`gateway payouts reverse`: exit code 1 if the provider will not."""
    settings, key = _read(config), _id(id)
    reason = plain_reason(reason)

    async def reverse() -> Payout:
        async with _paying(settings, writes=not dry_run) as (here, payer):
            found = await RecordedPayouts(here.records.ask).find_payout(*key)
            if found is None or found.state not in ("created", "paid"):
                raise ValueError(f"{id}: there is nothing to fetch back: {found.state if found else 'no such payout'}")
            return found if dry_run else await payer.reverse(found, reason)

    try:
        found = run(reverse())
    except TransferRefused as refused:
        click.echo(f"gateway: Stripe will not reverse {id}: {refused}", err=True)
        sys.exit(1)
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, **told(found)}))
    elif dry_run:
        left = Money(found.micros - found.back, found.unit)
        click.echo(f"{id}  {left} would be fetched back from {found.account}")
    else:
        click.echo(said(found))


def reconcile_payouts(config: Path, *, begin: str, end: str | None, dry_run: bool, as_json: bool) -> None:
    """`gateway payouts reconcile`: exit code 1 if a difference is left."""
    first = seconds_of(begin, "--from")
    last = seconds_of(end, "--to") if end is not None else SystemClock().now_ms() // 1000 + 1
    settings = _read(config)

    async def compare() -> tuple[int, list[tuple[PayoutDifference, bool]], dict[str, Money]]:
        async with _paying(settings, writes=not dry_run) as (here, payer):
            book, transfers = RecordedPayouts(here.records.ask), here.payments.transfers
            compared, found = 0, []
            money = owners_money(settings)
            async for one in compare_payouts(transfers, book, money, prefix=payer.prefix, begin=first, end=last):
                compared += 1
                if one is not None:
                    healed = not dry_run and one.notice is not None and await payer.believe(one.notice)
                    found.append((one, healed and await _agrees(one, book)))
            fees: dict[str, Money] = {}
            async for line in transfers.balance_lines(begin=first, end=last):
                unit = line.fee.currency
                fees[unit] = fees.get(unit, Money.zero(unit)) + line.fee
            return compared, found, fees

    compared, found, fees = run(compare())
    left = sum(not healed for _, healed in found)
    if as_json:
        differences = [{**_told_difference(one), "healed": healed} for one, healed in found]
        told_fees = {unit: str(fee) for unit, fee in sorted(fees.items())}
        click.echo(
            json.dumps({"compared": compared, "dry_run": dry_run, "differences": differences, "fees": told_fees})
        )
    else:
        for one, healed in found:
            sums = f"sent {one.sent or 'nothing'}, booked {one.booked or 'nothing'}"
            click.echo(f"{one.payout}  {one.what}: {sums}" + ("; mended" if healed else ""))
        for _, fee in sorted(fees.items()):
            click.echo(f"fees of Stripe: {fee}")
        click.echo(f"{compared} payouts compared, {len(found)} differences, {left} left")
    sys.exit(1 if left else 0)


async def _agrees(one: PayoutDifference, book: RecordedPayouts) -> bool:
    """Whether it does now that the provider was believed."""
    assert one.notice is not None
    payout = await book.payout_of(one.notice.key)
    if payout is None or payout.state in ("planned", "written", "sending", "failed", "returned"):
        return False
    return payout.amount == one.notice.amount and payout.came_back == one.notice.reversed.micros


def told(payout: Payout) -> dict[str, Any]:
    """A payout for programs."""
    return {
        "id": payout.id,
        "owner": payout.owner,
        "amount": str(payout.amount),
        "of": payout.source,
        "state": payout.state,
        "account": payout.account,
        "transfer": payout.transfer,
        "came_back": str(Money(payout.came_back, payout.unit)),
        "created": moment(payout.created_ms),
        "changed": moment(payout.changed_ms),
        "tries": payout.tries,
        "waits": payout.waits,
        "error": payout.error,
    }


def said(payout: Payout) -> str:
    """And for people."""
    back = f", {Money(payout.came_back, payout.unit)} came back" if payout.came_back else ""
    why = f": {payout.error}" if payout.error else ""
    return f"{payout.id}  {payout.amount}  to {payout.account}  {payout.state}{back}  {moment(payout.created_ms)}{why}"


def _told_prospect(one: Prospect) -> dict[str, Any]:
    standing = one.standing
    sums = ("due", "paid_out", "clawed_back", "held_back", "reserved")
    return {
        "owner": standing.owner,
        "unit": standing.unit,
        "of": standing.source,
        **{name: str(Money(getattr(standing, name), standing.unit)) for name in sums},
        "pays": str(one.amount),
        "account": one.account.account,
        "why_not": one.why_not,
    }


def _said_prospect(one: Prospect) -> str:
    told = _told_prospect(one)
    pays = f"would be paid {told['pays']} to {told['account']}" if one.amount else f"nothing: {one.why_not}"
    waits = f"held back {told['held_back']}, reserved {told['reserved']}"
    of = ", was held" if one.standing.source == "proceeds" else ""
    return f"{told['owner']}  due {told['due']}{of} ({waits})  {pays}"


def _told_sent(one: SentOn) -> dict[str, Any]:
    arrives = moment(one.arrives_ms)[:10]
    return {"id": one.id, "amount": str(one.amount), "status": one.status, "arrives": arrives, "error": one.error}


def _told_difference(one: PayoutDifference) -> dict[str, Any]:
    amounts = {"sent": str(one.sent) if one.sent else None, "booked": str(one.booked) if one.booked else None}
    return {"payout": one.payout, "what": one.what, **amounts}


def _print(told: list[dict[str, Any]], said: list[str], *, as_json: bool) -> None:
    click.echo(json.dumps(told) if as_json else "\n".join(said) or "nothing is payable")


def _read(config: Path) -> Settings:
    return read(config, make_secrets=False)


def _id(text: str) -> tuple[str, str, int]:
    try:
        return read_payout_id(text)
    except ValueError as error:
        fail(str(error), code=2)
