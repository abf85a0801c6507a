"""What an operator moves by hand: how it is read, and what is told of it, by commands and by the admin listener."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from gateway.core.ledger import CREDIT_CHARS_MAX, Credit, Reversal
from gateway.core.money import Money, MoneySyntax
from gateway.core.purses import PLAIN, Purse, purse_named
from gateway.core.redaction import redacted
from gateway.ports import Desk, EntryLines

Entry = TypeVar("Entry", Credit, Reversal)


class RefTaken(Exception):
    """The ref is that of another entry; the message has both. One ref is one entry, for ever."""


def manual_credit(
    account: str,
    amount: str,
    *,
    ref: str,
    reason: str,
    now_ms: int,
    expires: str | None = None,
    priority: int = 0,
) -> Credit:
    """A credit by an operator's hand. Raises ValueError with the field's name.

    With `expires` (a date, or a date and time, of UTC where it does not say) or a `priority` it goes into a purse of
    its own: promotion credit, spent before what was paid if its number is lower or it ends.
    """
    return _manual(Credit, account, amount, ref, reason, _purse(expires, priority, now_ms))


def manual_debit(account: str, amount: str, *, ref: str, reason: str, now_ms: int) -> Reversal:
    """A debit by an operator's hand. Raises ValueError with the field's name."""
    return _manual(Reversal, account, amount, ref, reason, PLAIN)


async def made_before(
    ledger: Desk, lines: EntryLines, entry: Credit | Reversal, root: Callable[[str], str]
) -> dict[str, Any] | None:
    """What an operator is told of an entry that the books have already; None if it is yet to be made.

    Asked before anything is on the trail, so that nothing stands there that never happened. A hand that slips must not
    make debts of accounts that are not there, either: ValueError. Raises RefTaken, LedgerUnavailable, StoreFailed.
    """
    takes = isinstance(entry, Reversal)
    if takes and not await ledger.funded(*entry.key):
        raise ValueError(f"account: nobody ever paid {entry.amount.currency} into {entry.account}")
    found = await lines.entry_of(entry.ref)
    if found is None:
        return None
    wanted, holder = -entry.amount if takes else entry.amount, purse_named(found.account)[0]
    if (found.amount, root(holder)) != (wanted, root(entry.account)):
        raise RefTaken(f"ref: the books have {entry.ref} of {found.amount} for {holder}, not of {wanted}")
    balance = await ledger.balance(entry.account, entry.amount.currency)
    told = {"account": entry.account, "debited" if takes else "credited": False, "available": str(balance.available)}
    return {**told, **purse_told(entry.purse)}


async def credited(ledger: Desk, credit: Credit) -> dict[str, Any]:
    """Add it; what an operator is told. Raises LedgerUnavailable, ValueError."""
    new = await ledger.credit(credit)
    balance = await ledger.balance(credit.account, credit.amount.currency)
    told = {"account": credit.account, "credited": new, "available": str(balance.available)}
    return {**told, **purse_told(credit.purse)}


async def debited(ledger: Desk, debit: Reversal) -> dict[str, Any]:
    """The same of a debit."""
    new = await ledger.reverse(debit)
    balance = await ledger.balance(*debit.key)
    return {"account": debit.account, "debited": new, "available": str(balance.available)}


def read_reason(reason: object) -> str:
    """What is kept for ever, in the books or on the trail. Raises ValueError with the field's name.

    Nothing takes out of a chain what it holds, so what has the shape of somebody's address, a token or a card does not
    come in, through whichever door.
    """
    if not isinstance(reason, str):
        raise ValueError("reason: it is a text")
    if not reason.strip():
        raise ValueError("reason: say why, for the books")
    if len(reason) > CREDIT_CHARS_MAX or not reason.isprintable():
        raise ValueError(f"reason: is unprintable or longer than {CREDIT_CHARS_MAX} characters")
    if redacted(reason) != reason:
        raise ValueError("reason: it is kept for ever: say it without addresses, tokens and cards")
    return reason.strip()


def is_account(text: str) -> bool:
    """Whether it has the form of an account's id."""
    return re.fullmatch("acct_[0-9a-f]{32}", text) is not None


def check_account(text: str) -> None:
    """Raises ValueError unless it has."""
    if not is_account(text):
        raise ValueError(f"account: {text!r} is not an account id: acct_ and 32 hexadecimal digits")


def purse_told(purse: Purse) -> Mapping[str, object]:
    """What is said of a purse that is not the plain one."""
    if purse == PLAIN:
        return {}
    return {"priority": purse.priority} | ({"expires": _written(purse.expires_ms)} if purse.expires_ms else {})


def _written(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _purse(expires: object, priority: object, now_ms: int) -> Purse:
    if isinstance(priority, bool) or not isinstance(priority, int):
        raise ValueError("priority: it is a whole number; the plain purse has 0, and lower ones are spent first")
    expires_ms = 0
    if expires is not None:
        try:
            moment = datetime.fromisoformat(str(expires))
        except ValueError:
            raise ValueError(f"expires: {expires!r} is no date; write 2027-01-31 or 2027-01-31T12:00") from None
        expires_ms = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
        if expires_ms <= now_ms:
            raise ValueError(f"expires: {expires} is over")
    try:
        return Purse(priority, expires_ms)
    except ValueError as error:
        raise ValueError(f"priority, expires: {error}") from None


def _manual(kind: type[Entry], account: str, amount: str, ref: str, reason: str, purse: Purse) -> Entry:
    check_account(account)
    if not all(isinstance(text, str) for text in (amount, ref)):
        raise ValueError("amount, ref: each is a text")
    reason = read_reason(reason)
    try:
        money = Money.parse_grant(amount)
    except MoneySyntax as error:
        raise ValueError(f"amount: {error}") from None
    if money.micros <= 0:
        raise ValueError(f"amount: a {kind.__name__.lower()} is more than nothing")
    try:
        return kind(f"manual:{ref}", account, money, "manual" if purse == PLAIN else "grant", reason, purse)
    except ValueError as error:
        raise ValueError(f"ref: {error}") from None
