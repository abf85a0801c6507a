"""`gateway erase`: what is kept of the person behind an account is erased, for good; the books stay as they are."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from gateway.adapters.jobs import JobBook
from gateway.adapters.personal import Erasure, kept
from gateway.adapters.sqlite.records import SqliteRecords
from gateway.adapters.system import SystemClock, SystemRandomness
from gateway.cli.accounts import available
from gateway.cli.payments import moment
from gateway.cli.progress import taking_its_time
from gateway.cli.records import Records, Scribe, aliases_of, fail, opened, plain_reason, read_for, run, unheard
from gateway.core.keyring import Keyring
from gateway.flows.erase import ChargesWait, ChargeUnderWay, Erase, Erased
from gateway.flows.follow import Aliases
from gateway.flows.freeze import Freezes
from gateway.settings import Settings

ELSEWHERE = (
    "backups of the records that were made before hold what they held: let them end, or erase again after a restore",
    "logs hold ids of accounts and tokens, for as long as they are kept",
    "the provider has what was typed at its checkout: --at-stripe has it forget the customers",
    "a database that many hosts share keeps a log of its own, and copies on standbys",
)


def erase_account(
    config: Path, account: str, *, reason: str, at_stripe: bool, waive: bool, dry_run: bool, as_json: bool
) -> None:
    """Exit code 1 if something had to be left for now."""
    settings = read_for(config, account)
    if at_stripe and settings.stripe is None:
        fail("stripe is not configured: nobody can be asked there", code=2)
    reason = plain_reason(reason)

    async def do() -> tuple[list[str], Erased]:
        async with opened(settings) as here:
            aliases = await aliases_of(here)
            root = aliases.root(account)
            names, erase = aliases.names(root), _erase(settings, here, aliases)
            if dry_run:
                return names, await erase.look(root, names)
            async with taking_its_time("erasing, and making the files anew"):
                return names, await erase.now(root, names, reason, at_provider=at_stripe, waive=waive)

    try:
        names, done = run(do())
    except ChargeUnderWay:
        fail("a charge of a saved card is under way: try again when it is known what became of it", code=1)
    except ChargesWait as wait:
        fail(f"fees wait for this person: {wait}; let them be paid, or give them up with --waive-charges", code=1)
    left = str(available(settings, *names))
    told = _told(account, names, done, left=left, at_stripe=at_stripe, dry_run=dry_run)
    if as_json:
        click.echo(json.dumps(told))
    else:
        _say(told)
    is_left = done.events_open or done.unscrubbed.foreign or done.unscrubbed.held
    sys.exit(1 if is_left and not dry_run else 0)


def _erase(settings: Settings, here: Records, aliases: Aliases) -> Erase:
    clock, shared = SystemClock(), not isinstance(here, SqliteRecords)
    keyring = Keyring(settings.secrets.sealing_keys)
    return Erase(
        personal=Erasure(here, keyring, SystemRandomness(), shared=shared),
        tokens=here.grants,
        freezes=Freezes(book=here.freezes, clock=clock, report=unheard, root=aliases.root),
        trail=here.trail,
        jobs=JobBook(here.ask, shared=shared),
        witness=Scribe(settings, here),
        clock=clock,
    )


def _told(account: str, names: list[str], done: Erased, *, left: str, at_stripe: bool, dry_run: bool) -> dict[str, Any]:
    return {
        "account": account,
        "accounts": names,
        "erased": not dry_run,
        "erased_before": moment(done.before_ms) if done.before_ms is not None else None,
        "tokens_ended": done.tokens,
        "rows": {name: count for name, count in done.rows.items() if count},
        "events_redacted": done.events,
        "events_left": list(done.events_open),
        "customers_at_stripe": list(done.customers),
        "stripe_is_asked": at_stripe and not dry_run,
        "charges_waiting" if dry_run else "charges_waived": list(done.charges),
        "balance_left": left,
        "files_hold": {"not_ours": list(done.unscrubbed.foreign), "in_use": list(done.unscrubbed.held)},
        "kept": [{"what": names, "why": why} for why, names in kept().items()],
        "elsewhere": list(ELSEWHERE),
    }


def _say(told: dict[str, Any]) -> None:
    account, would = told["account"], not told["erased"]
    if told["erased_before"]:
        click.echo(f"{account}  was erased before, {told['erased_before']}")
    rows = sum(told["rows"].values())
    ended, redacted_now = told["tokens_ended"], told["events_redacted"]
    verb = "would be erased" if would else "is erased"
    click.echo(f"{account}  {verb}: {rows} rows, {ended} tokens and sessions ended, {redacted_now} events redacted")
    for name, count in told["rows"].items():
        click.echo(f"  {name.replace('_', ' ')}: {count}")
    for id in told["events_left"]:
        click.echo(f"  left for now: {id} is still to be acted on; settle it, then erase again")
    for customer in told["customers_at_stripe"]:
        asked = "is asked to forget" if told["stripe_is_asked"] else "still knows (--at-stripe)"
        click.echo(f"  Stripe {asked} {customer}")
    for id in told["charges_waiting" if would else "charges_waived"]:
        click.echo(f"  the fee {id} waits for this person: --waive-charges gives it up" if would else f"  waived: {id}")
    click.echo(f"  balance left: {told['balance_left']}; the account is frozen")
    if foreign := told["files_hold"]["not_ours"]:
        click.echo(f"  the files of {', '.join(foreign)} hold what was deleted: erase again with the login of")
        click.echo("  the tables' owner, the one of `gateway db migrate`, or let it run VACUUM FULL of them")
    if held := told["files_hold"]["in_use"]:
        click.echo(f"  the files of {', '.join(held)} hold what was deleted, for a transaction that began before (a")
        click.echo("  backup, or a session that idles in one: pg_stat_activity tells): erase again when it is over")
    for one in told["kept"]:
        click.echo(f"  kept: {', '.join(one['what']).replace('_', ' ')}: {one['why']}")
    for line in told["elsewhere"]:
        click.echo(f"  elsewhere: {line}")
