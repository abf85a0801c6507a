"""The commands about money: `audit`, `balance`, `credit`, `debit`.

Reading needs no running gateway: the books are a file. Writing goes through whoever keeps them: the running gateway, by
its admin listener, or this command itself when no gateway runs (the lock file tells).
"""

import asyncio
import json
import re
import secrets
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from gateway.adapters.sqlite.archive import SqliteArchive
from gateway.adapters.sqlite.audit import AuditRefused, Report, Since, audit
from gateway.adapters.sqlite.ledger import accept_head
from gateway.adapters.system import SystemClock
from gateway.app import HEAD_KEY_PURPOSE, ledger_store
from gateway.app.stores import credit_lines
from gateway.cli.admin import ask
from gateway.cli.configuration import read
from gateway.cli.hosts import accept_there, audit_database, visiting_keeper
from gateway.cli.progress import Progress
from gateway.cli.records import Scribe, aliases_of, opened
from gateway.core.caps import is_cap
from gateway.core.ids import RequestId
from gateway.core.keyring import Keyring
from gateway.core.ledger import Credit, Reversal
from gateway.core.money import written
from gateway.core.refusals import LedgerUnavailable, RecordsUnavailable
from gateway.core.secrets import Secret
from gateway.core.trail import Act
from gateway.flows.follow import FollowingDesk
from gateway.flows.keep import Keeper
from gateway.ports import Desk, EntryLines, RequestUnknown, StoreDamaged, StoreFailed, StoreForbidden, StoreLocked
from gateway.settings import Settings, forms
from gateway.web.by_hand import RefTaken, credited, debited, made_before, manual_credit, manual_debit, read_reason
from gateway.web.status import UNKNOWN, entry_facts, refunded

if TYPE_CHECKING:  # an extra
    from gateway.adapters.postgres.audit import Report as DatabaseReport

Entry = TypeVar("Entry", Credit, Reversal)
_HOURS = {"h": 1, "d": 24}


def audit_books(config: Path, store: str | None, head: Path | None, *, since: str | None = None, as_json: bool) -> None:
    """`gateway audit`: exit code 1 when something was found."""
    settings = read(config, make_secrets=False)
    try:
        begin = None if since is None else read_since(since, now_ms=SystemClock().now_ms())
    except ValueError as error:
        _fail(f"--since: {error}", code=2)
    if there := _database(store):
        audit_database(replace(settings, store_url=Secret(there)), head, begin, as_json=as_json)
    if settings.store_url is not None and store is None:
        audit_database(settings, head, begin, as_json=as_json)
    path = _file(store, settings)
    try:
        report = audit(
            path,
            head_key=head_keys(settings) or None,
            head_path=head,
            since=begin,
            progress=Progress("audited {} of {} batches"),
        )
    except AuditRefused as refused:
        _fail(str(refused))
    check_there_were_some(report, begin)
    if as_json:
        click.echo(json.dumps({"clean": report.clean, **asdict(report)}, indent=2))
    else:
        print_report(report, path)
    sys.exit(0 if report.clean else 1)


def check_there_were_some(report: "Report | DatabaseReport", since: Since | None) -> None:
    """A proof from a batch on that is not there proves nothing. From a time on there may have been none."""
    if since is not None and since.batch is not None and report.clean and not report.batches:
        _fail(f"--since: the books end before batch {since.batch:,}: nothing was proved", code=2)


def accept_books(config: Path, store: str | None) -> None:
    """`gateway audit --accept-head`: what ends here from now on counts as the end."""
    settings = read(config, make_secrets=False)
    keys = head_keys(settings)
    if not keys:
        _fail("there is no sealing key to sign with; put secrets/sealing_key back")
    if _database(store):
        _fail("--accept-head signs the books of this host's own configuration, not of another --store", code=2)
    if settings.store_url is not None and store is None:
        accept_there(settings, keys[0])
        return
    path = _file(store, settings)
    try:
        seq = accept_head(path, keys[0])
    except StoreForbidden as forbidden:
        _fail(str(forbidden))
    except (StoreLocked, sqlite3.Error, OSError) as error:
        _fail(f"{path}: {error}")
    click.echo(f"{path}: accepted as it ends, with batch {seq}", err=True)


def _file(store: str | None, settings: Settings) -> Path:
    path = Path(store) if store else settings.store_path
    if path.is_dir():
        _fail(f"{path} is a folder; name the file of the books in it", code=2)
    return path


def _database(store: str | None) -> str | None:
    """The address in --store, if it is one of a database."""
    try:
        return forms.database(store or "")
    except ValueError as error:
        _fail(f"--store: {error}", code=2)


def head_keys(settings: Settings) -> list[bytes]:
    """The keys that may have signed the chain's head; none before the first start."""
    if not settings.secrets.sealing_keys:
        return []
    return [key.subkey(HEAD_KEY_PURPOSE) for key in Keyring(settings.secrets.sealing_keys).keys]


def print_report(report: "Report | DatabaseReport", path: Path | str) -> None:
    """A report for people."""
    click.echo(f"{path}")
    click.echo(
        f"  batches {report.batches:,}, records {report.records:,}, credits {report.credits:,}, accounts"
        f" {report.accounts:,}"
    )
    for unit in sorted(unit for unit in report.totals if not is_cap(unit)):
        total = report.totals[unit]
        credit, spent, available = (written(micros) for micros in (total.credited, total.spent, total.available))
        owed = f" - {written(total.debt)} owed" if total.debt else ""
        click.echo(f"  {unit}: {credit} credited - {spent} spent{owed} = {available}")
    for unit, micros in sorted(report.left_owners.items()):
        click.echo(f"  {unit}: {written(micros)} paid out to owners or clawed back from them")
    if report.folded:
        click.echo(f"  transfers {report.transfers:,}, of {report.folded:,} batches; the books sum to zero")
    if report.voided:
        requests = "1 request" if report.voided == 1 else f"{report.voided:,} requests"
        click.echo(f"  {requests} given away after crashes")
    click.echo(f"  head of the chain: {report.head}")
    for finding in report.findings:
        click.echo(f"  {click.style('FOUND', fg='red')}  {finding}")
    if report.more:
        click.echo(f"  … and {report.more:,} more")
    for unproved in report.unproved:
        click.echo(f"  not looked at: {unproved}")
    click.echo(f"  {_verdict(report)}")


def _verdict(report: "Report | DatabaseReport") -> str:
    if report.clean:
        upon = f", from batch {report.first_batch:,} on and upon the earlier ones as they stand"
        if report.first_batch == 1:  # of several hosts: some were pruned, others not
            upon = ", upon what is named above as it stands"
        return f"clean: the chain holds and every sum is right{upon if report.unproved else ''}"
    if report.first_bad_batch is None:
        return "NOT CLEAN, though no batch is bad: what is named above disagrees with them"
    return f"NOT CLEAN; the first bad batch is {report.first_bad_batch}"


def read_since(text: str, *, now_ms: int) -> Since:
    """A batch's number, hours or days ago, or a date and time (UTC where it does not say). Raises ValueError."""
    if re.fullmatch(r"[0-9]{1,18}", text):
        return Since(batch=int(text))
    if ago := re.fullmatch(r"([0-9]{1,6})([hd])", text):
        return Since(at_ms=now_ms - int(ago[1]) * _HOURS[ago[2]] * 3_600_000)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no batch's number, no time like 2026-01-31T08:00, and no 24h or 7d") from None
    at_ms = int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)
    if at_ms > now_ms:
        raise ValueError(f"{text} is still to come")
    return Since(at_ms=at_ms)


def give_credit(
    config: Path,
    account: str,
    amount: str,
    *,
    reason: str,
    ref: str | None,
    expires: str | None,
    priority: int,
    as_json: bool,
) -> None:
    """`gateway credit`."""
    purse = {"priority": priority} | ({"expires": expires} if expires is not None else {})
    credit, done = _by_hand(
        config, "credit", manual_credit, credited, account, amount, reason=reason, ref=ref, more=purse
    )
    if as_json:
        click.echo(json.dumps(done))
    elif done["credited"]:
        click.echo(f"{account}  +{credit.amount}  balance {done['available']}  ({credit.ref})")
    else:
        click.echo(f"{account}  nothing added: {credit.ref} was credited before; balance {done['available']}")


def take_debit(config: Path, account: str, amount: str, *, reason: str, ref: str | None, as_json: bool) -> None:
    """`gateway debit`."""
    debit, done = _by_hand(config, "debit", manual_debit, debited, account, amount, reason=reason, ref=ref)
    if as_json:
        click.echo(json.dumps(done))
    elif done["debited"]:
        click.echo(f"{account}  -{debit.amount}  balance {done['available']}  ({debit.ref})")
    else:
        click.echo(f"{account}  nothing taken: there is an entry {debit.ref}; balance {done['available']}")


def refund_request(config: Path, request: str, *, reason: str, as_json: bool) -> None:
    """`gateway ledger refund`."""
    settings = read(config, make_secrets=True)
    try:
        id, reason = RequestId.parse(request), read_reason(reason)
    except ValueError as error:
        _fail(str(error), code=2)

    async def give_back(here: _Here) -> dict[str, Any]:
        await here.write(Act("operator", "operator", "request.refund", str(id), "command", reason))
        return await refunded(here.desk, id, reason)

    done = asyncio.run(_do(settings, give_back, f"/requests/{id}/refund", {"reason": reason}))
    if as_json:
        click.echo(json.dumps(done))
    for given in () if as_json else done["refunded"]:
        click.echo(f"{id}  {given['account']}  +{given['amount']}")
    if not as_json and not done["refunded"]:
        click.echo(f"{id}  nothing given back: it cost nothing, or was refunded before")


def _by_hand(
    config: Path,
    verb: str,
    make: Callable[..., Entry],
    move: Callable[[Desk, Entry], Awaitable[dict[str, Any]]],
    account: str,
    amount: str,
    *,
    reason: str,
    ref: str | None,
    more: Mapping[str, object] | None = None,
) -> tuple[Entry, dict[str, Any]]:
    """An operator's entry, made and moved; with what became of it. `more` is told of it."""
    settings, more = read(config, make_secrets=True), more or {}
    try:
        ref, now = ref or secrets.token_hex(8), SystemClock().now_ms()
        entry = make(account, amount, ref=ref, reason=reason, now_ms=now, **more)
    except ValueError as error:
        _fail(str(error), code=2)
    if not entry.amount.named and entry.amount.currency != settings.currency:
        _fail(f"amount: this gateway's currency is {settings.currency}", code=2)
    body = {"ref": ref, "amount": str(entry.amount), "reason": entry.reason, **more}
    path = f"/accounts/{entry.account}/{verb}"
    act = Act("operator", "operator", f"account.{verb}", account, "command", entry.reason, entry_facts(entry))

    async def moved(here: _Here) -> dict[str, Any]:
        before = await made_before(here.desk, here.lines, entry, here.root)
        if before is not None:
            return before
        await here.write(act)
        return await move(here.desk, entry)

    return entry, asyncio.run(_do(settings, moved, path, body))


@dataclass(frozen=True, slots=True)
class _Here:
    """The books, their lines and the trail, where no gateway keeps them. An old account is found as the one it is."""

    desk: Desk
    lines: EntryLines
    root: Callable[[str], str]
    write: Callable[[Act], Awaitable[None]]


async def _do(
    settings: Settings, work: Callable[[_Here], Awaitable[dict[str, Any]]], path: str, body: dict[str, Any]
) -> dict[str, Any]:
    """With our own keeper if the books are free, else through the gateway that keeps them, which writes it down.

    Those in a database are always free: whoever comes waits for its turn, and only then is the act on the trail.
    """
    if settings.store_url is not None:
        keeper = visiting_keeper(settings)
    else:
        store = ledger_store(settings.store_path, Keyring(settings.secrets.sealing_keys))
        keeper = Keeper(store, SystemClock(), archive=SqliteArchive(settings.store_path))
    try:
        await keeper.open()
    except StoreLocked as locked:
        if settings.store_url is not None:
            _fail(str(locked))
        return await _ask_gateway(settings, path, body)
    except (StoreDamaged, StoreFailed) as error:
        _fail(str(error))
    try:
        async with _here(settings, keeper) as here:
            return await work(here)
    except RefTaken as taken:
        _fail(str(taken), code=1)
    except RequestUnknown as unknown:
        _fail(f"{unknown}: {UNKNOWN}")
    except (ValueError, NotImplementedError, StoreFailed) as error:
        _fail(str(error))
    except (LedgerUnavailable, RecordsUnavailable):
        _fail("the books or the records cannot be written just now")
    finally:
        await keeper.close()


@asynccontextmanager
async def _here(settings: Settings, keeper: Keeper) -> AsyncIterator[_Here]:
    async with opened(settings) as records:
        aliases, scribe = await aliases_of(records), Scribe(settings, records)
        yield _Here(FollowingDesk(keeper, aliases), credit_lines(settings), aliases.root, scribe.write)


async def _ask_gateway(settings: Settings, path: str, body: dict[str, Any]) -> dict[str, Any]:
    status, content = await ask(settings, path, body)
    if status != 200:
        refused = f"the gateway refused: {content.get('detail') or content.get('code')}"
        _fail(refused, code=1 if content.get("code") == "ref_taken" else 3)
    return content


def _fail(words: str, *, code: int = 3) -> NoReturn:
    click.echo(f"gateway: {words}", err=True)
    sys.exit(code)
