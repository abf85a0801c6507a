"""For owners who sign in: how their account at Stripe stands, and how somebody comes to act for an owner.

`POST` and `GET /-/api/v1/stripe/connect-account`, `/-/owners/connect/return` and `refresh`, `/-/owners/join`.

Only a session counts: a token is there to spend, and whoever has one must not say where an owner's money goes. For who
acts for no owner, nothing is here. A link to Stripe's own page is made when it is asked for, opens once, and is good
for minutes; Stripe sends whoever comes with an old one back to `refresh`, which makes a fresh one.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from aiohttp import web

from gateway.core.indented import indented
from gateway.core.limits import Rate
from gateway.core.owning import OwnerAccount, PayoutAccount, told
from gateway.core.refusals import NoRoute, PaymentServiceUnavailable, RateLimited, TokenOutOfScope
from gateway.core.sign_ins import Provider
from gateway.flows.belong import Belong
from gateway.flows.follow_accounts import FollowAccounts
from gateway.flows.onboard import Onboard
from gateway.flows.stay import Stays, is_session
from gateway.ports import ConnectRefused, RateLimits
from gateway.web.answers import OwnAnswer
from gateway.web.templates import Templates
from gateway.web.visitors import Visitors

JOIN_PATH = "/-/owners/join"
RETURN_PATH = "/-/owners/connect/return"
REFRESH_PATH = "/-/owners/connect/refresh"
ACCOUNT_PATH = "/-/api/v1/stripe/connect-account"
OLDER_ACCOUNT_PATH = "/api/v1/stripe/connect-account"
_CALLS = Rate(60, 3600, "60/hour")
"""How often Stripe is asked something for one owner who looks at their account."""


class OwnerPlace:
    """The handlers. Without `onboard`, no accounts are opened here."""

    def __init__(
        self,
        *,
        templates: Templates,
        visitors: Visitors,
        stays: Stays,
        belong: Belong,
        accounts: FollowAccounts,
        onboard: Onboard | None,
        sign_ins: Sequence[Provider],
        limits: RateLimits,
        public_url: str,
    ) -> None:
        self._templates = templates
        self._visitors = visitors
        self._stays = stays
        self._belong = belong
        self._accounts = accounts
        self._onboard = onboard
        self._sign_ins = sign_ins
        self._limits = limits
        self._public_url = public_url

    async def who(self, request: web.Request) -> tuple[str, str]:
        """Who asks, and for which owner. Raises UnknownToken, TokenOutOfScope, NoRoute."""
        caller = await self._visitors.holder(request)
        if not is_session(caller):
            raise TokenOutOfScope()
        user = await self._stays.user_of(caller)
        owner = await self._belong.owner_of(user.id) if user is not None else None
        if user is None or owner is None:
            raise NoRoute()
        return user.id, owner

    # --- for programs -------------------------------------------------------------------------------------------------

    async def account(self, request: web.Request) -> web.StreamResponse:
        """Both, by the method: for the address that other systems have it at."""
        return await (self.begin(request) if request.method == "POST" else self.tell(request))

    async def begin(self, request: web.Request) -> web.StreamResponse:
        """`POST /-/api/v1/stripe/connect-account`: there is to be an account; how it stands.

        Raises UnknownToken, TokenOutOfScope, NoRoute.
        """
        user, owner = await self.who(request)
        assert self._onboard is not None
        await self._onboard.begin(owner, user)
        content = await self._told(owner)
        waits = content["account"] is None
        return _json(content, status=202 if waits else 200)

    async def tell(self, request: web.Request) -> web.StreamResponse:
        """`GET` of the same. Raises UnknownToken, TokenOutOfScope, NoRoute."""
        _, owner = await self.who(request)
        return _json(await self._told(owner))

    async def _told(self, owner: str) -> dict[str, Any]:
        kept, payable = await self._accounts.of(owner), await self._accounts.payable(owner)
        link = None
        if kept is not None and _wants(kept) and await self._may_ask(owner):
            try:
                link = await self._link(kept)
            except (ConnectRefused, PaymentServiceUnavailable):
                link = None  # how it stands is told all the same
        known: dict[str, Any] = {"owner": owner, **told(kept), "link": link, "payable": payable.reason is None}
        if kept is None and payable.account is not None:
            known |= {"status": "configured", "account": payable.account}
        return known

    async def _link(self, kept: OwnerAccount) -> str:
        urls = {"return_url": self._public_url + RETURN_PATH, "refresh_url": self._public_url + REFRESH_PATH}
        return await self._accounts.link(kept, **urls)

    async def fresh_link(self, owner: str) -> str:
        """To where Stripe is given what it still needs; back to how it stands, if nothing is due.

        Raises RateLimited, PaymentServiceUnavailable, RecordsUnavailable.
        """
        kept = await self._accounts.of(owner)
        if kept is None or not _wants(kept):
            return RETURN_PATH
        if not await self._may_ask(owner):
            raise RateLimited(policy=_CALLS.text, retry_after_seconds=60)
        try:
            return await self._link(kept)
        except ConnectRefused:
            await self._accounts.look(kept, "page")  # it may be out of reach by now
            return RETURN_PATH

    async def stands(self, owner: str) -> tuple[OwnerAccount | None, PayoutAccount, bool]:
        """Their account, where they are paid, and whether Stripe wants something. Raises RecordsUnavailable."""
        kept, payable = await self._accounts.of(owner), await self._accounts.payable(owner)
        return kept, payable, kept is not None and _wants(kept)

    async def _may_ask(self, owner: str) -> bool:
        return (await self._limits.hit(_CALLS, f"connect {owner}")).allowed

    # --- pages --------------------------------------------------------------------------------------------------------

    async def returned(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/owners/connect/return`: back from Stripe. Raises UnknownToken, TokenOutOfScope, NoRoute."""
        _, owner = await self.who(request)
        kept = await self._accounts.of(owner)
        if kept is not None and kept.standing is not None and await self._may_ask(owner):
            with suppress(PaymentServiceUnavailable):  # what is on record is shown, and Stripe tells of what changed
                kept = await self._accounts.look(kept, "page")
        payable = await self._accounts.payable(owner)
        wants = kept is not None and _wants(kept)
        return self._page(
            "connect.html", owner=owner, kept=kept, payable=payable, again=REFRESH_PATH if wants else None
        )

    async def refresh(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/owners/connect/refresh`: on to Stripe, by a fresh link; back, if nothing is due.

        Raises UnknownToken, TokenOutOfScope, NoRoute, RateLimited, PaymentServiceUnavailable.
        """
        _, owner = await self.who(request)
        return OwnAnswer(status=303, headers={"Location": await self.fresh_link(owner)})

    # --- joining ------------------------------------------------------------------------------------------------------

    async def invited(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/owners/join?invite=`: it changes nothing. Raises BadRequest, TokenOutOfScope."""
        code = request.query.get("invite", "")
        owner = await self._belong.invitation(code)
        caller = await self._visitors.whole(request)
        back = quote(f"{JOIN_PATH}?invite={quote(code, safe='')}", safe="/")
        signed_in = caller is not None and is_session(caller)
        mark = self._visitors.mark(caller) if caller is not None and signed_in else None
        page = {"owner": owner, "invite": code, "mark": mark, "back": back, "sign_ins": self._sign_ins}
        return self._page("join.html", joined=False, **page)

    async def join(self, request: web.Request) -> web.StreamResponse:
        """`POST` to the same address: who is signed in acts for the owner from now on.

        Raises UnknownToken, TokenOutOfScope, BadRequest.
        """
        caller = await self._visitors.holder(request)
        fields = await self._visitors.form(request, caller)
        user = await self._stays.user_of(caller) if is_session(caller) else None
        if user is None:
            raise TokenOutOfScope()
        owner = await self._belong.join(user.id, fields.get("invite", ""))
        if self._onboard is not None:
            await self._onboard.begin(owner, user.id)
        return self._page("join.html", joined=True, owner=owner, connects=self._onboard is not None)

    def _page(self, name: str, **values: Any) -> OwnAnswer:
        return OwnAnswer(text=self._templates.render(name, **values), content_type="text/html")


def _wants(kept: OwnerAccount) -> bool:
    """Whether its owner can do something about it."""
    return kept.status == "restricted" or (
        kept.status == "enabled" and kept.standing is not None and bool(kept.standing.due)
    )


def _json(content: dict[str, Any], status: int = 200) -> OwnAnswer:
    return OwnAnswer(status=status, text=indented(content), content_type="application/json")
