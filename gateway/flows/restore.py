"""A device was lost: whoever proves that the mailbox is theirs gets the licence on another one.

An address alone proves nothing, for everybody knows it; so a code goes to it, good for ten minutes, once. Whether
there is a licence of an address is nobody's business: what is answered is said before anything is looked up, and the
looking up, the provider's list among it, is done afterwards. So neither words, status nor time tell, and each address
and each client may ask a few times an hour, by which nobody's mailbox is flooded either.

With `proof: none` the address is enough, for those who accept that: then everybody gets anybody's licence.

Each restore is counted by its customer. More devices in a month than anybody has is worth a look: it is reported, once.
"""

import asyncio
from collections.abc import Callable
from typing import Literal

from gateway.core import licences
from gateway.core.letters import licence_letter
from gateway.core.licences import CODE_BYTES, CODE_MS, Held, Terms, chosen, code_name, new_code
from gateway.core.limits import Rate, network
from gateway.core.refusals import BadRequest, NoLicence, RateLimited
from gateway.core.tokens import Peppers
from gateway.core.trail import Act
from gateway.ports import Clock, Entitles, HolderPages, LicenseeBook, Mails, Randomness, RateLimits, Witnesses

Proof = Literal["code", "none"]
_MONTH_MS = 30 * 86_400_000
_AT_ONCE = 100


class Restore:
    """Brings licences to other devices. `devices` is how many in a month are nothing to wonder about."""

    def __init__(
        self,
        *,
        terms: Terms,
        proof: Proof,
        entitles: Entitles,
        book: LicenseeBook,
        mails: Mails | None,
        portal: HolderPages | None,
        limits: RateLimits,
        per_address: Rate,
        per_client: Rate,
        devices: int,
        peppers: Peppers,
        witness: Witnesses,
        clock: Clock,
        randomness: Randomness,
        report: Callable[..., None],
    ) -> None:
        self.proof = proof
        self._terms = terms
        self._entitles = entitles
        self._book = book
        self._mails = mails
        self._portal = portal
        self._limits = limits
        self._per_address = per_address
        self._per_client = per_client
        self._devices = devices
        self._peppers = peppers
        self._witness = witness
        self._clock = clock
        self._randomness = randomness
        self._report = report
        self._under_way: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """What is under way is given up: whoever waits for a letter asks again."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def settled(self) -> None:
        """Returns when nothing is under way."""
        while self._under_way:
            await asyncio.gather(*self._under_way, return_exceptions=True)

    # --- asking -------------------------------------------------------------------------------------------------------

    async def ask(self, typed: str, peer: str) -> None:
        """A code goes to this address, if it has a licence; nobody is told. Raises BadRequest, RateLimited."""
        email = await self._admitted(typed, peer)
        if len(self._under_way) < _AT_ONCE:
            task = asyncio.create_task(self._send(email), name="restore a licence")
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        else:
            self._report("too many restores at once; one was not looked at")

    async def at_once(self, typed: str, peer: str) -> Held:
        """Whose licence it is, without a proof. Raises NoLicence, BadRequest, RateLimited and what asking raises."""
        held, _ = await self._find(await self._admitted(typed, peer))
        if held is None:
            raise NoLicence()
        await self._count(held)
        return held

    async def _admitted(self, typed: str, peer: str) -> str:
        email = licences.address(typed)
        if email is None:
            raise BadRequest("email: an e-mail address was expected")
        subject = self._peppers.digest(licences.address_name(email)).hex()[:32]
        asked = ((self._per_client, f"-/restores {network(peer)}"), (self._per_address, f"-/restores {subject}"))
        for rate, name in asked:
            stand = await self._limits.hit(rate, name)
            if not stand.allowed:
                raise RateLimited(policy=rate.text, retry_after_seconds=max(1, stand.reset_seconds))
        return email

    async def _send(self, email: str) -> None:
        try:
            held, others = await self._find(email)
            if held is None or self._mails is None:
                return
            code = await self.new_code(held.licensee.customer)
            urls = [await self._portal.portal_url(other.licensee.customer) for other in others] if self._portal else []
            letter = licence_letter(self._randomness.bytes(12).hex(), code, urls)
            await self._mails.mail(letter, held.licensee.email)
        except Exception as error:  # nobody awaits this task: it must not end unheard
            self._report("a licence could not be restored", why=type(error).__name__)

    async def _find(self, email: str) -> tuple[Held | None, list[Held]]:
        """The licence of an address, and what is paid for besides: by the records, and where they know of none that
        counts, by what the provider knows.
        """
        known = await self._entitles.of_address(email)
        held = chosen(known, self._terms)
        if held is None or held.subscription.state not in self._terms.counts:
            await self._entitles.learn(email)
            known = await self._entitles.of_address(email)
            held = chosen(known, self._terms)
        others = licences.duplicates(known, held, self._terms) if held is not None else []
        for other in others:
            both = {"customer": other.licensee.customer, "subscription": other.subscription.id}
            self._report("a second subscription of one licence is paid for", **both)
        return held, others

    # --- codes --------------------------------------------------------------------------------------------------------

    async def new_code(self, customer: str) -> str:
        """A code that brings this customer's licence to a device, once. Raises RecordsUnavailable."""
        code, now = new_code(self._randomness.bytes(CODE_BYTES)), self._clock.now_ms()
        await self._book.add_code(self._peppers.digest(code_name(code)), customer, until_ms=now + CODE_MS, now_ms=now)
        return code

    async def said(self, code: str) -> Held:
        """Whose code it is. Raises NoLicence, RecordsUnavailable."""
        digests = self._peppers.digests(code_name(code))
        customer = await self._book.take_code(digests, now_ms=self._clock.now_ms())
        mine = await self._entitles.of_customer(customer) if customer is not None else []
        held = chosen(mine, self._terms)
        if held is None:
            raise NoLicence()
        await self._count(held)
        return held

    async def _count(self, held: Held) -> None:
        account, customer, now = held.licensee.account, held.licensee.customer, self._clock.now_ms()
        facts = {"subscription": held.subscription.id}
        await self._witness.write(
            Act(account, "consumer", "licence.restore", customer, "api", f"by {self.proof}", facts)
        )
        count = await self._book.count_restore(customer, now_ms=now, since_ms=now - _MONTH_MS)
        if count == self._devices + 1:
            self._report("a licence was restored on many devices", customer=customer, account=account, devices=count)
