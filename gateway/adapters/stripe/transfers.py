"""Transfers to owners' accounts: what is asked for, and how answers, events and the balance are read.

A payout is a transfer (https://docs.stripe.com/api/transfers/create) whose `transfer_group` is the payout's key, and so
is its idempotency key, until it was refused because the balance did not cover it: Stripe repeats a refusal to the same
key. The group is how it is found again, however long ago it was sent: Stripe forgets idempotency keys after a
day. What went on from there to an owner's bank is a payout of the connected account, whose events name that account.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

from gateway.core.held import SOURCES, Source
from gateway.core.money import Money, from_minor, to_minor
from gateway.core.payments import Event
from gateway.core.payouts import Payout, PayoutEvent, SentOn, TransferNotice
from gateway.core.refusals import PaymentServiceUnavailable
from gateway.ports import BalanceLine, TransferRefused

TYPES: Final = frozenset(("transfer.created", "transfer.updated", "transfer.reversed"))
"""The events that Stripe lists; `transfer.paid` is of older versions, and is read where it comes."""
_EVENTS: Final[Mapping[str, PayoutEvent]] = {
    "transfer.created": "created",
    "transfer.updated": "created",
    "transfer.reversed": "reversed",
    "transfer.paid": "paid",
}
_KEY = "farebox_payout"
_OF = "farebox_payout_of"
_TRANSFER_ID = re.compile(r"tr_[A-Za-z0-9_]{1,200}")
_PAGE = 100
_CODE_CHARS_MAX = 100

Ask = Callable[[Callable[[Any], Any]], Awaitable[Any]]
Pages = Callable[[Callable[[Any, Mapping[str, str]], Any]], AsyncIterator[dict[str, Any]]]


class StripeTransfers:
    """Implements `ports.Transfers`, by the calls of `StripePayments`."""

    def __init__(self, ask: Ask, pages: Pages, scope: Callable[[], str]) -> None:
        self._ask = ask
        self._pages = pages
        self._scope = scope

    @property
    def scope(self) -> str:
        return self._scope()

    async def transfer(self, payout: Payout) -> TransferNotice:
        asked, key = asked_for(payout), {"idempotency_key": payout.asked_as}
        made = await self._certainly(lambda stripe: stripe.v1.transfers.create_async(asked, key))
        return _readable(made)

    async def find_transfer(self, key: str) -> TransferNotice | None:
        group: Any = {"transfer_group": key, "limit": _PAGE}
        async for item in self._pages(lambda stripe, more: stripe.v1.transfers.list_async({**group, **more})):
            if (item.get("metadata") or {}).get(_KEY) == key:
                return _readable(item)
        return None

    async def reverse_transfer(self, payout: Payout, amount: Money) -> TransferNotice:
        id = payout.transfer
        if id is None:
            raise TransferRefused("it has no transfer")
        asked: Any = {"amount": to_minor(amount), "metadata": {_KEY: payout.key}}
        key: Any = {"idempotency_key": f"{payout.key}-back-{payout.back}"}
        await self._certainly(lambda stripe: stripe.v1.transfers.reversals.create_async(id, asked, key))
        found = await self._ask(lambda stripe: stripe.v1.transfers.retrieve_async(id))
        if found is None:
            raise PaymentServiceUnavailable()
        return _readable(found.to_dict())

    async def _certainly(self, question: Callable[[Any], Any]) -> Mapping[str, Any]:
        """What Stripe answers. Raises TransferRefused for what it says no to, and not for what is not known."""
        import stripe

        try:
            made = await self._ask(question)
        except PaymentServiceUnavailable as unavailable:
            error = unavailable.__cause__
            # Another call with this key is under way: what becomes of it is not known.
            if isinstance(error, stripe.InvalidRequestError | stripe.PermissionError | stripe.CardError):
                raise TransferRefused(str(error.code or "refused")[:_CODE_CHARS_MAX]) from error
            raise
        if made is None:
            raise TransferRefused("resource_missing")
        found: Mapping[str, Any] = made.to_dict()
        return found

    def transfer_notice(self, event: Event) -> TransferNotice | None:
        kind = _EVENTS.get(event.type)
        if kind is None or event.account or _KEY not in (event.object.get("metadata") or {}):
            return None
        return notice_of(event.object, kind)

    def sent_on(self, event: Event) -> SentOn | None:
        if not event.type.startswith("payout.") or not event.account:
            return None
        return sent_on_of(event.object, event.account, event.created)

    async def balance_lines(self, *, begin: int, end: int) -> AsyncIterator[BalanceLine]:
        asked: Any = {"created": {"gte": begin, "lt": end}, "limit": _PAGE}
        pages = self._pages(lambda stripe, more: stripe.v1.balance_transactions.list_async({**asked, **more}))
        async for item in pages:
            yield line_of(item)

    async def transfers_between(self, *, begin: int, end: int) -> AsyncIterator[TransferNotice]:
        asked: Any = {"created": {"gte": begin, "lt": end}, "limit": _PAGE}
        async for item in self._pages(lambda stripe, more: stripe.v1.transfers.list_async({**asked, **more})):
            if _KEY in (item.get("metadata") or {}):
                yield _readable(item)

    async def balance(self) -> list[Money]:
        found = await self._ask(lambda stripe: stripe.v1.balance.retrieve_async())
        if found is None:
            raise PaymentServiceUnavailable()
        sums: dict[str, Money] = {}
        told = found.to_dict()
        for part in (*told.get("available", ()), *told.get("pending", ())):
            money = from_minor(int(part["amount"]), str(part["currency"]))
            sums[money.currency] = sums.get(money.currency, Money.zero(money.currency)) + money
        return [sums[currency] for currency in sorted(sums)]


def asked_for(payout: Payout) -> dict[str, Any]:
    """What Stripe is asked for."""
    return {
        "amount": to_minor(payout.amount),
        "currency": payout.unit,
        "destination": payout.account,
        "description": f"Payout {payout.id}",
        "transfer_group": payout.key,
        "metadata": {_KEY: payout.key, _OF: payout.source},
    }


def notice_of(transfer: Mapping[str, Any], event: PayoutEvent) -> TransferNotice:
    """A transfer as Stripe describes it. Raises ValueError."""
    id, key, currency = transfer.get("id"), (transfer.get("metadata") or {}).get(_KEY), transfer.get("currency")
    amount, reversed = transfer.get("amount"), transfer.get("amount_reversed")
    if not (isinstance(id, str) and _TRANSFER_ID.fullmatch(id) and isinstance(key, str) and isinstance(currency, str)):
        raise ValueError("the transfer has no id, key or currency")
    if not (_is_amount(amount) and _is_amount(reversed)):
        raise ValueError("the transfer has no amount")
    told, to = transfer["metadata"].get(_OF), transfer.get("destination")
    source: Source | None = next((one for one in SOURCES if one == told), None)
    account = to if isinstance(to, str) else ""
    money = from_minor(amount, currency), from_minor(reversed, currency)  # type: ignore[arg-type]
    return TransferNotice(key, id, event, *money, account, source)


def sent_on_of(payout: Mapping[str, Any], account: str, at: int) -> SentOn:
    """A connected account's payout. Raises ValueError."""
    id, status, currency = payout.get("id"), payout.get("status"), payout.get("currency")
    amount, arrives = payout.get("amount"), payout.get("arrival_date")
    if not (isinstance(id, str) and isinstance(status, str) and isinstance(currency, str)):
        raise ValueError("the payout has no id, status or currency")
    if not (isinstance(amount, int) and isinstance(arrives, int)):
        raise ValueError("the payout has no amount or day")
    error = payout.get("failure_code")
    told = str(error)[:_CODE_CHARS_MAX] if error else None
    return SentOn(id[:255], account, from_minor(amount, currency), status[:40], arrives * 1000, at * 1000, told)


def line_of(item: Mapping[str, Any]) -> BalanceLine:
    """A balance transaction."""
    currency = str(item["currency"])
    amount, fee, net = (from_minor(int(item[name]), currency) for name in ("amount", "fee", "net"))
    id, type, source = str(item["id"]), str(item["type"]), str(item.get("source") or "")
    return BalanceLine(
        id, type, source, amount, fee, net, int(item["created"]), str(item.get("reporting_category") or type)
    )


def _readable(transfer: Mapping[str, Any]) -> TransferNotice:
    """As an answer: what cannot be read is an answer that did not come."""
    try:
        return notice_of(transfer, "reversed" if transfer.get("reversed") else "created")
    except ValueError as error:
        raise PaymentServiceUnavailable() from error


def _is_amount(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
