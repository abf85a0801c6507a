"""Stripe Connect: accounts that we have made for owners, with either of Stripe's APIs.

An account is a recipient: it may be sent money (the capability of transfers) and takes none from anybody else; Stripe
gathers what it needs of its owner on its own pages and shows them its Express dashboard, and fees and losses are the
platform's. Each carries a name that we gave it (`metadata`), by which one is found whose making was not answered.

https://docs.stripe.com/api/v2/core/accounts and https://docs.stripe.com/api/accounts
"""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from gateway.adapters.stripe.cards import mapping
from gateway.adapters.stripe.payments import StripePayments
from gateway.core.owning import AccountStatus, AccountWish, Api, OwnerAccount, Standing
from gateway.core.payments import Event
from gateway.core.refusals import PaymentServiceUnavailable
from gateway.ports import ConnectRefused

if TYPE_CHECKING:
    from stripe import StripeClient

NAME = "farebox_account"
"""Under which metadata an account has the name that we gave it."""
_ID = re.compile(r"acct_[A-Za-z0-9]{1,64}")
_INCLUDE = ["configuration.recipient", "identity", "requirements"]
_CLOSED = "v2.core.account.closed"
_THIN = "v2.core.account"
_OUT_OF_REACH = frozenset(("account_invalid", "not_found"))
"""What Stripe says of an account that was disconnected from the key's own."""
_PAGE, _ACCOUNTS_MAX = 100, 100_000


class StripeConnect:
    """Implements `ports.Connects`, by the calls of `payments`."""

    def __init__(self, payments: StripePayments) -> None:
        self._payments = payments

    async def open_account(self, wish: AccountWish, *, idempotency_key: str, key: str) -> Standing:
        options: Any = {"idempotency_key": idempotency_key}
        if wish.api == "v2":
            asked: Any = _asked_of_v2(wish, key)
            made = await self._certainly(lambda stripe: stripe.v2.core.accounts.create_async(asked, options))
            return _read_v2(made)
        asked_v1: Any = _asked_of_v1(wish, key)
        made = await self._certainly(lambda stripe: stripe.v1.accounts.create_async(asked_v1, options))
        return _read_v1(made)

    async def find_opened(self, api: Api, *, key: str) -> Standing | None:
        count = 0
        async for account in self._all(api):
            count += 1
            if mapping(account.get("metadata")).get(NAME) == key:
                return await self._looked_up(api, str(account.get("id")))
            if count >= _ACCOUNTS_MAX:
                raise PaymentServiceUnavailable()  # whether there is one is not known
        return None

    async def standing(self, account: OwnerAccount) -> Standing:
        assert account.standing is not None
        return await self._looked_up(account.api, account.standing.account)

    async def _looked_up(self, api: Api, id: str) -> Standing:
        try:
            if api == "v2":
                more: Any = {"include": _INCLUDE}
                found = await self._payments.ask(lambda stripe: stripe.v2.core.accounts.retrieve_async(id, more))
            else:
                found = await self._payments.ask(lambda stripe: stripe.v1.accounts.retrieve_async(id))
        except PaymentServiceUnavailable as unavailable:
            if _code(unavailable.__cause__) in _OUT_OF_REACH:
                return Standing(id, "deauthorised")
            raise
        if found is None:
            return Standing(id, "deauthorised")
        return _read_v2(found) if api == "v2" else _read_v1(found)

    async def account_link(self, account: OwnerAccount, *, return_url: str, refresh_url: str) -> str:
        assert account.standing is not None
        urls = {"return_url": return_url, "refresh_url": refresh_url}
        to: Any = {"account": account.standing.account}
        if account.api == "v2":
            case: Any = {"type": "account_onboarding", "account_onboarding": urls}
            asked = {**to, "use_case": case}
            made = await self._certainly(lambda stripe: stripe.v2.core.account_links.create_async(asked))
        else:
            asked = {**to, "type": "account_onboarding", **urls}
            made = await self._certainly(lambda stripe: stripe.v1.account_links.create_async(asked))
        return str(made.url)

    def account_notice(self, event: Event) -> str | None:
        if event.type.startswith(_THIN):
            found = event.object.get("id")
        elif event.type.startswith("account."):
            found = event.account
        else:
            return None
        return found if isinstance(found, str) and _ID.fullmatch(found) else None

    async def cannot_connect(self) -> str | None:
        asked: Any = {"limit": 1}
        try:
            await self._certainly(lambda stripe: stripe.v1.accounts.list_async(asked))
        except ConnectRefused as refused:
            return f"stripe: this account is not enabled for Connect, or its key may not use it ({refused})"
        return None

    async def _all(self, api: Api) -> Any:
        asked: Any = {"limit": _PAGE}
        if api == "v2":
            page = await self._payments.ask(lambda stripe: stripe.v2.core.accounts.list_async(asked))
        else:
            page = await self._payments.ask(lambda stripe: stripe.v1.accounts.list_async(asked))
        while page is not None:
            for account in page.data:
                yield account.to_dict()
            page = await self._following(api, page)

    async def _following(self, api: Api, page: Any) -> Any:
        if api == "v2":
            url = page.next_page_url
            return await self._payments.ask(lambda stripe: _page_at(stripe, url)) if url else None
        if not page.has_more or not page.data:
            return None
        asked: Any = {"limit": _PAGE, "starting_after": page.data[-1].id}
        return await self._payments.ask(lambda stripe: stripe.v1.accounts.list_async(asked))

    async def _certainly(self, question: Any) -> Any:
        """What Stripe surely has not done is told apart from what it may have."""
        import stripe

        try:
            made = await self._payments.ask(question)
        except PaymentServiceUnavailable as unavailable:
            error = unavailable.__cause__
            if isinstance(error, stripe.InvalidRequestError | stripe.PermissionError):
                raise ConnectRefused(_code(error) or str(error.http_status)) from None
            raise
        if made is None:
            raise ConnectRefused("resource_missing")
        return made


async def _page_at(stripe: "StripeClient", url: str) -> Any:
    answer = await stripe.raw_request_async("get", url)
    return stripe.deserialize(answer, api_mode="V2")


def _code(error: object) -> str | None:
    """The code of Stripe's answer; the SDK itself does not keep that of every kind."""
    code = mapping(mapping(getattr(error, "json_body", None)).get("error")).get("code")
    return code if isinstance(code, str) else None


def _asked_of_v2(wish: AccountWish, key: str) -> dict[str, Any]:
    transfers = {"stripe_balance": {"stripe_transfers": {"requested": True}}}
    return {
        "configuration": {"recipient": {"capabilities": transfers}},
        "contact_email": wish.email,
        "dashboard": "express",
        "defaults": {"responsibilities": {"fees_collector": "application", "losses_collector": "application"}},
        "display_name": wish.name,
        "identity": {"country": wish.country.lower()},
        "include": _INCLUDE,
        "metadata": {NAME: key},
    }


def _asked_of_v1(wish: AccountWish, key: str) -> dict[str, Any]:
    return {
        "business_profile": {"name": wish.name},
        "capabilities": {"transfers": {"requested": True}},
        "controller": {
            "fees": {"payer": "application"},
            "losses": {"payments": "application"},
            "requirement_collection": "stripe",
            "stripe_dashboard": {"type": "express"},
        },
        "country": wish.country,
        **({"email": wish.email} if wish.email else {}),
        "metadata": {NAME: key},
    }


def _read_v1(found: Any) -> Standing:
    """An account of the first API. Raises PaymentServiceUnavailable for what cannot be read."""
    told = found.to_dict()
    needs = mapping(told.get("requirements"))
    due = _names((*_list(needs.get("past_due")), *_list(needs.get("currently_due"))))
    transfers = mapping(told.get("capabilities")).get("transfers") == "active"
    why = str(needs.get("disabled_reason") or "")
    waits = bool(_list(needs.get("pending_verification"))) or why in (
        "under_review",
        "requirements.pending_verification",
    )
    status: AccountStatus = "enabled" if transfers else "pending" if waits and not due else "restricted"
    if why.startswith("rejected."):
        status = "rejected"
    return Standing(_id(told), status, due, transfers, told.get("payouts_enabled") is True, _country(told))


def _read_v2(found: Any) -> Standing:
    """One of the second. The same."""
    told = found.to_dict()
    recipient = mapping(mapping(told.get("configuration")).get("recipient"))
    balance = mapping(mapping(recipient.get("capabilities")).get("stripe_balance"))
    state = mapping(balance.get("stripe_transfers")).get("status")
    entries = _list(mapping(told.get("requirements")).get("entries"))
    due = _names(mapping(one).get("description") for one in entries if _is_due(mapping(one)))
    status: AccountStatus = "restricted"
    if told.get("closed") is True:
        status = "deauthorised"
    elif state == "active":
        status = "enabled"
    elif state == "rejected":
        status = "rejected"
    elif state == "pending" and not due:
        status = "pending"
    payouts = mapping(balance.get("payouts")).get("status") == "active"
    country = _country(mapping(told.get("identity")))
    return Standing(_id(told), status, due, status == "enabled", payouts, country)


def _is_due(entry: Mapping[str, Any]) -> bool:
    deadline = mapping(entry.get("minimum_deadline")).get("status")
    return entry.get("awaiting_action_from") == "user" and deadline in ("currently_due", "past_due")


def _names(found: Iterable[object]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(name)[:200] for name in found))


def _list(found: object) -> list[Any]:
    return list(found) if isinstance(found, list | tuple) else []


def _country(told: Mapping[str, Any]) -> str:
    return str(told.get("country") or "").upper()[:2]


def _id(told: Mapping[str, Any]) -> str:
    id = told.get("id")
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise PaymentServiceUnavailable()
    return id
