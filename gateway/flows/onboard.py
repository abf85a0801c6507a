"""An owner gets an account at the payment provider, without being asked for anything and without a hand of ours.

Whoever signs in and acts for an owner has a job put down, and the job makes the account. What it asks for, and under
which key, is on record before it asks; so whoever goes on after a crash asks with the same words and key, and the
provider answers with the same account. The provider forgets keys after a day: an attempt that was begun long ago, or
that it refused once, is looked for among the accounts that are there before anything is asked again.

An account of one mode is nothing in the other: an operator who goes live has new ones made.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gateway.core.jobs import GiveUp, Job, TryLater
from gateway.core.keyring import Keyring, NotOurs, UnknownKey
from gateway.core.owning import WISH_PURPOSE, AccountWish, OwnerAccount, Standing
from gateway.core.refusals import PaymentServiceUnavailable
from gateway.core.sign_ins import opened_profile
from gateway.core.tokens import Peppers
from gateway.core.trail import Act
from gateway.ports import (
    ActsFor,
    Clock,
    ConnectRefused,
    Connects,
    Jobs,
    OwnerBook,
    People,
    Randomness,
    Witnesses,
)

ONBOARD = "onboard"
PROVIDER = "stripe"
_FRESH_MS = 3_600_000
"""So long after it was begun, the provider still knows an attempt by its key."""


class Onboard:
    """Does jobs of the kind `onboard`. `wishes` says what is asked for each owner, but for the address.

    An owner who is not among them, for the operator has set an account of theirs, gets none.
    """

    def __init__(
        self,
        wishes: Mapping[str, AccountWish],
        *,
        acts_for: ActsFor,
        book: OwnerBook,
        people: People,
        jobs: Jobs,
        connects: Connects,
        keyring: Keyring,
        peppers: Peppers,
        witness: Witnesses,
        live: bool,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self._wishes = wishes
        self._acts_for = acts_for
        self._book = book
        self._people = people
        self._jobs = jobs
        self._connects = connects
        self._keyring = keyring
        self._peppers = peppers
        self._witness = witness
        self._live = live
        self._clock = clock
        self._randomness = randomness

    # --- beginning ----------------------------------------------------------------------------------------------------

    async def welcomed(self, user: str) -> None:
        """Somebody has signed in. Raises RecordsUnavailable."""
        owner = await self._acts_for.owner_of(user)
        if owner is not None:
            await self.begin(owner, user)

    async def begin(self, owner: str, user: str) -> None:
        """There is to be an account of theirs; nothing, if there is one. Harmless to repeat.

        Raises RecordsUnavailable.
        """
        kept = await self._book.find_account(owner, live=self._live)
        if owner not in self._wishes or (kept is not None and kept.standing is not None):
            return
        mode = "live" if self._live else "test"
        cause, now_ms = f"{ONBOARD} {mode} {user} {owner}", self._clock.now_ms()
        id = f"job_{self._peppers.digest(cause)[:10].hex()}"
        if not await self._jobs.put_job(ONBOARD, user, PROVIDER, id=id, cause=cause, now_ms=now_ms):
            await self._jobs.again_job(id, now_ms=now_ms)

    # --- the job ------------------------------------------------------------------------------------------------------

    async def do(self, job: Job, note: Callable[[Mapping[str, Any]], Awaitable[None]]) -> None:
        """Raises GiveUp, TryLater, RecordsUnavailable."""
        owner = await self._acts_for.owner_of(job.user)
        if owner is None or owner not in self._wishes:
            raise GiveUp("they act for no owner who gets an account here")
        begun = await self._begun(owner, job.user)
        if begun.standing is not None:
            return
        if begun.sealed is None:
            begun = await self._asked_anew(begun, job.user)
        await note({"owner": owner, "attempt": begun.attempt})  # what follows may take long
        try:
            await self._make(begun)
        except PaymentServiceUnavailable:
            raise TryLater("stripe cannot be asked") from None

    async def _begun(self, owner: str, user: str) -> OwnerAccount:
        """What is on record of it, and was before anything is asked."""
        kept = await self._book.find_account(owner, live=self._live)
        if kept is not None:
            return kept
        now_ms, wish = self._clock.now_ms(), await self._wish(owner, user)
        facts = {"api": wish.api, "country": wish.country}
        await self._witness.write(Act(user, "owner", "owner.account.open", owner, "page", facts=facts))
        sealed, key = self._sealed(owner, wish), self._randomness.bytes(12).hex()
        times = (now_ms, now_ms, now_ms)
        return await self._book.begin_account(OwnerAccount(owner, self._live, wish.api, key, 1, *times, sealed=sealed))

    async def _asked_anew(self, begun: OwnerAccount, user: str) -> OwnerAccount:
        """The last attempt was refused: another, with what is asked for by now."""
        wish = await self._wish(begun.owner, user)
        sealed = self._sealed(begun.owner, wish)
        await self._book.ask_again(begun, wish.api, sealed, now_ms=self._clock.now_ms())
        kept = await self._book.find_account(begun.owner, live=self._live)
        if kept is None or kept.sealed is None:
            raise TryLater("somebody else is at it")
        return kept

    async def _wish(self, owner: str, user: str) -> AccountWish:
        who, wish = await self._people.user(user), self._wishes[owner]
        email = opened_profile(self._keyring, who.id, who.key_id, who.profile).email if who is not None else ""
        if wish.api == "v2" and not email:
            raise GiveUp("their provider told no e-mail address, and Stripe makes no account without one")
        return AccountWish(wish.api, wish.country, wish.name, email)

    def _sealed(self, owner: str, wish: AccountWish) -> tuple[str, bytes]:
        nonce = self._randomness.bytes(12)
        return self._keyring.seal(WISH_PURPOSE, wish.text().encode(), nonce=nonce, about=owner)

    async def _make(self, begun: OwnerAccount) -> None:
        assert begun.sealed is not None
        wish: AccountWish | None
        try:
            wish = AccountWish.read(self._keyring.open(WISH_PURPOSE, *begun.sealed, about=begun.owner))
        except (NotOurs, UnknownKey):
            wish = None  # the key that sealed it is gone
        old = begun.attempt > 1 or self._clock.now_ms() - begun.created_ms > _FRESH_MS
        made = await self._connects.find_opened(begun.api, key=begun.key) if old else None
        if made is None and wish is None:
            await self._book.ask_again(begun, begun.api, None, now_ms=self._clock.now_ms())
            raise TryLater("what was asked for cannot be read any more, and is asked anew")
        if made is None:
            assert wish is not None
            made = await self._opened(begun, wish)
        await self._book.keep_made(begun, made, now_ms=self._clock.now_ms())

    async def _opened(self, begun: OwnerAccount, wish: AccountWish) -> Standing:
        try:
            key = begun.idempotency_key
            return await self._connects.open_account(wish, idempotency_key=key, key=begun.key)
        except ConnectRefused as refused:
            # Its answer is remembered under this key: another attempt takes another.
            await self._book.ask_again(begun, begun.api, None, now_ms=self._clock.now_ms())
            raise GiveUp(f"stripe refused to make the account: {refused}") from None
