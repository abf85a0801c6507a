"""How owners' accounts at the payment provider stand, and so whether owners can be paid.

What the provider sends is a hint and no more: whatever an event says, the account is looked up, and what is found is
written down, unless a later look was written down before. So events may come twice, late and in any order, and a forged
hint would only make us look. What is missed is found by a daily look at every account.

An account that is out of our reach (disconnected, closed) takes no money; what is sold goes on being due.
"""

import asyncio
from collections.abc import Callable, Mapping

from gateway.core.owning import OwnerAccount, PayoutAccount, payable
from gateway.core.payments import Event
from gateway.core.refusals import PaymentServiceUnavailable
from gateway.core.trail import Act, Origin
from gateway.ports import Clock, Connects, OwnerBook, Witnesses

LOOK_SECONDS = 3600.0
_OLD_MS = 24 * 3_600_000
_AT_ONCE = 100


class FollowAccounts:
    """Implements `ports.Hears` and `ports.PayoutAccounts`. `configured` are accounts that the operator has set."""

    def __init__(
        self,
        configured: Mapping[str, str],
        *,
        book: OwnerBook,
        connects: Connects | None,
        witness: Witnesses,
        live: bool,
        clock: Clock,
        report: Callable[..., None],
    ) -> None:
        self._configured = configured
        self._book = book
        self._connects = connects
        self._witness = witness
        self._live = live
        self._clock = clock
        self._report = report
        self._looking: dict[str, asyncio.Lock] = {}

    async def payable(self, owner: str) -> PayoutAccount:
        return payable(self._configured.get(owner), await self.of(owner))

    async def of(self, owner: str) -> OwnerAccount | None:
        """What is on record. Raises RecordsUnavailable."""
        return await self._book.find_account(owner, live=self._live)

    # --- looking ------------------------------------------------------------------------------------------------------

    async def heard(self, event: Event) -> bool:
        """Raises PaymentServiceUnavailable, RecordsUnavailable."""
        id = self._connects.account_notice(event) if self._connects is not None else None
        kept = await self._book.owner_of_account(id, live=self._live) if id is not None else None
        if kept is None:
            return False
        await self.look(kept, "webhook")
        return True

    async def look(self, account: OwnerAccount, origin: Origin) -> OwnerAccount:
        """Ask how it stands, and write it down. Raises PaymentServiceUnavailable, RecordsUnavailable."""
        async with self._looking.setdefault(account.owner, asyncio.Lock()):  # a change is told of several times at once
            return await self._look(await self.of(account.owner) or account, origin)

    async def _look(self, account: OwnerAccount, origin: Origin) -> OwnerAccount:
        assert self._connects is not None
        asked_ms = self._clock.now_ms()
        stands = await self._connects.standing(account)
        if stands.status != account.status:
            facts = {"account": stands.account, "before": account.status, "status": stands.status}
            act = Act("stripe", "provider", "owner.account.status", account.owner, origin, facts=facts)
            await self._witness.write(act)
            self._report("an owner's account stands otherwise", level="info", owner=account.owner, **facts)
        now_ms = self._clock.now_ms()
        await self._book.keep_standing(account, stands, asked_ms=asked_ms, now_ms=now_ms)
        return await self.of(account.owner) or account

    async def look_round(self) -> None:
        """Look at those that nobody looked at for a day. Raises RecordsUnavailable."""
        before_ms = self._clock.now_ms() - _OLD_MS
        for account in await self._book.unchecked(live=self._live, before_ms=before_ms, count=_AT_ONCE):
            try:
                await self.look(account, "start")
            except PaymentServiceUnavailable:
                return  # the next round finds it back, or does not

    # --- what its owner has to give -----------------------------------------------------------------------------------

    async def link(self, account: OwnerAccount, *, return_url: str, refresh_url: str) -> str:
        """Where they give it, once. Raises ConnectRefused, PaymentServiceUnavailable."""
        assert self._connects is not None
        return await self._connects.account_link(account, return_url=return_url, refresh_url=refresh_url)
