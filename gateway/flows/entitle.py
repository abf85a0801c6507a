"""A subscription of a plan -> a licence, a signed proof of it that works without asking.

Who has one is known by three roads, in any order and any number of times: the webhook of the checkout that began it,
the page after that checkout if the webhook is late, and the provider's own list of customers where neither came (or
the subscription is older than this gateway). What is written down is the customer, whose wallet it is, and the
address: sealed, and by a keyed digest, to be found again.

A licence is issued for one customer. Renewed, it stays that customer's, whatever address they say they have by then:
the provider lets a customer change it without a proof, and by that alone nobody gets to another's licence. Who proves
that a mailbox is theirs (`flows/restore.py`) gets the best of what belongs to its address. A checkout says which
address its customer had by then, whenever it is looked at again; and nothing is kept anew of who was erased since.

Whether the plan counts is what its subscription's newest event says (`flows/subscribe.py`): so of a subscription that
was cancelled, a renewed licence says `proActive: false`. Routes ask for no licence's word: their prices go by the plan.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from gateway.core import references
from gateway.core.jwts import NotAccepted
from gateway.core.keyring import Keyring, NotOurs, UnknownKey
from gateway.core.licences import (
    ADDRESS_PURPOSE,
    KIND,
    Arrival,
    Customer,
    Held,
    Licensee,
    Terms,
    address_name,
    chosen,
    claims,
)
from gateway.core.money import MICROS_PER_UNIT
from gateway.core.payments import Event
from gateway.core.references import Reference
from gateway.core.refusals import NoLicence, UnknownToken
from gateway.core.tokens import Peppers
from gateway.core.trail import ERASURE, NEWEST, Act
from gateway.ports import (
    Clock,
    KnowsSubscribers,
    Ledger,
    LicenseeBook,
    LicenseeRow,
    Randomness,
    ReadsLicences,
    Roots,
    Signs,
    Subscriptions,
    TrailBook,
    Witnesses,
)


class Entitle:
    """Implements `ports.Hears` and `ports.Entitles`."""

    def __init__(
        self,
        *,
        terms: Terms,
        provider: KnowsSubscribers,
        book: LicenseeBook,
        subscriptions: Subscriptions,
        roots: Roots,
        ledger: Ledger,
        signs: Signs,
        reads: ReadsLicences,
        derived: Callable[[str], str],
        keyring: Keyring,
        peppers: Peppers,
        witness: Witnesses,
        trail: TrailBook,
        live: bool,
        clock: Clock,
        randomness: Randomness,
        report: Callable[..., None],
    ) -> None:
        self.terms = terms
        self._provider = provider
        self._book = book
        self._subscriptions = subscriptions
        self._roots = roots
        self._ledger = ledger
        self._signs = signs
        self._reads = reads
        self._derived = derived
        self._keyring = keyring
        self._peppers = peppers
        self._witness = witness
        self._trail = trail
        self._live = live
        self._clock = clock
        self._randomness = randomness
        self._report = report

    # --- who has one --------------------------------------------------------------------------------------------------

    async def heard(self, event: Event) -> bool:
        arrival, customer = self._provider.arrival(event), self._provider.customer(event)
        if arrival is not None and arrival.customer.live == self._live:
            await self._arrived(arrival)
            return True
        if customer is not None and customer.live == self._live:
            return await self._changed(customer)
        return False

    async def came_back(self, session: str) -> tuple[Reference, str] | None:
        """Whose wallet the checkout was for, and who its customer is; None if it began no licence that we know of.

        Raises PaymentServiceUnavailable, RecordsUnavailable.
        """
        arrival = await self._provider.arrival_of(session, now_seconds=self._now())
        reference = await self._arrived(arrival) if arrival is not None else None
        if arrival is None or reference is None or arrival.customer.live != self._live:
            return None
        if arrival.subscription is not None:
            found = replace(arrival.subscription.found, account=reference.account)
            await self._subscriptions.keep_subscription(found)
        return reference, arrival.customer.id

    async def _arrived(self, arrival: Arrival) -> Reference | None:
        try:
            reference = references.unseal(self._keyring, arrival.reference or "")
        except (NotOurs, UnknownKey):
            self._report("a licence names no account", customer=arrival.customer.id)
            return None
        if await self._is_forgotten(reference.account, arrival.customer.at * 1000):
            return None
        await self._keep(arrival.customer, reference.account)
        return reference

    async def _changed(self, customer: Customer) -> bool:
        known = await self._book.find_licensee(customer.id)
        if known is None:
            return False
        await self._keep(customer, known.account)
        if (customer.email or "").lower() != self._address(known).lower():
            await self._book.drop_codes(customer.id)  # they went to a mailbox that is not theirs any more
        return True

    async def _keep(self, customer: Customer, account: str) -> None:
        """Without an address nobody restores it; what was kept of one before goes."""
        email = customer.email or f"nobody {customer.id}"
        key_id, sealed = self._keyring.seal(ADDRESS_PURPOSE, email.encode(), nonce=self._randomness.bytes(12))
        digest, pepper_id = self._peppers.digest(address_name(email)), self._peppers.newest_id
        await self._book.keep_licensee(
            LicenseeRow(customer.id, account, digest, pepper_id, key_id, sealed, customer.at)
        )

    async def learn(self, email: str) -> None:
        for customer in await self._provider.customers_of(email, now_seconds=self._now()):
            if customer.live != self._live or (customer.email or "").lower() != email.lower():
                continue
            for notice, marked in await self._provider.subscriptions_at(customer.id, now_seconds=self._now()):
                if notice.found.price not in self.terms.prices:
                    continue
                account = self._account(notice.reference, customer.id, marked=marked)
                if account is not None and not await self._is_forgotten(account):
                    await self._subscriptions.keep_subscription(replace(notice.found, account=account))
                    await self._keep(customer, account)

    async def _is_forgotten(self, account: str, at_ms: int = 0) -> bool:
        """Whether who had it was erased since: by what they did before, nobody is known again."""
        root = self._roots.root(account)
        erased = await self._trail.steps_before(NEWEST, count=1, object=root, action=ERASURE)
        return any(step.at_ms >= at_ms for step in erased)

    def _account(self, reference: str | None, customer: str, *, marked: bool) -> str | None:
        """Whose a subscription is that was found: nobody's who did not begin it as a licence, if it names anybody."""
        if reference is None:
            return self._derived(customer)
        if not marked:
            return None
        with suppress(NotOurs, UnknownKey):
            return references.unseal(self._keyring, reference).account
        return None

    # --- what they have -----------------------------------------------------------------------------------------------

    async def of_address(self, email: str) -> list[Held]:
        digests = self._peppers.digests(address_name(email))
        return [held for row in await self._book.find_licensees(digests) for held in await self._of(row)]

    async def of_customer(self, customer: str) -> list[Held]:
        known = await self._book.find_licensee(customer)
        return await self._of(known) if known is not None else []

    async def _of(self, row: LicenseeRow) -> list[Held]:
        email = self._address(row)
        if row.pepper_id != self._peppers.newest_id:
            await self._keep(Customer(row.customer, email, row.at, self._live), row.account)
        licensee = Licensee(row.customer, self._roots.root(row.account), email, row.at)
        found = await self._subscriptions.subscriptions_of(row.account)
        return [Held(licensee, one) for one in found if one.customer == row.customer]

    def _address(self, row: LicenseeRow) -> str:
        try:
            return self._keyring.open(ADDRESS_PURPOSE, row.key_id, row.sealed).decode()
        except (NotOurs, UnknownKey):
            return f"nobody {row.customer}"

    # --- licences -----------------------------------------------------------------------------------------------------

    async def licence_of(self, customer: str, why: str) -> tuple[str, Held]:
        """A new licence of just this customer. Raises NoLicence, RecordsUnavailable, LedgerUnavailable."""
        row = await self._book.find_licensee(customer)
        held = chosen(await self._of(row), self.terms) if row is not None else None
        if held is None:
            raise NoLicence()
        return await self.issue(held, why), held

    async def refresh(self, licence: str) -> tuple[str, Held]:
        """A new one for one that is genuine, whether or not it is over.

        Raises UnknownToken, NoLicence, RecordsUnavailable, LedgerUnavailable.
        """
        try:
            said: Mapping[str, Any] = self._reads.read(licence, even_ended=True)
        except NotAccepted:
            raise UnknownToken() from None
        return await self.licence_of(str(said["customerId"]), "renewed")

    async def issue(self, held: Held, why: str) -> str:
        """Raises RecordsUnavailable, LedgerUnavailable."""
        account, customer = held.licensee.account, held.licensee.customer
        left = (await self._ledger.balance(account, self.terms.credit)).available.micros
        id = self._randomness.bytes(12).hex()
        facts = {"id": id, "subscription": held.subscription.id, "state": held.subscription.state}
        await self._witness.write(Act(account, "consumer", "licence.issue", customer, "api", why, facts))
        said = claims(held, self.terms, credits=max(0, left // MICROS_PER_UNIT), now_seconds=self._now(), id=id)
        return self._signs.sign(said, kind=KIND)

    def _now(self) -> int:
        return self._clock.now_ms() // 1000
