"""Recognising a payer: cut off anywhere, by several processes, with other keys; and never when it proves nothing."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.adapters.memory import MemoryRecords
from gateway.core.callers import Caller
from gateway.core.keyring import Keyring
from gateway.core.money import Money
from gateway.core.payers import Payer
from gateway.core.payments import Payment
from gateway.core.references import Reference
from gateway.core.refusals import BadRequest, PaymentServiceUnavailable, RecordsUnavailable
from gateway.core.secrets import Secret
from gateway.core.tokens import Peppers
from gateway.flows.follow import Aliases
from gateway.flows.log_in import CODE_MS, GRACE_MS, LogIn, Mode, Welcome, Who
from tests.fakes import FakeClock, SeededRandomness, Trail

OLD, NEW, THIRD = (f"acct_{letter * 32}" for letter in "123")
CARD, LINK = Payer("card", "f1"), Payer("link", "Ann@Example.org")
HOUR = 3600


class Provider:
    """Says who paid what."""

    def __init__(self) -> None:
        self.payers: dict[str, Payer] = {}
        self.open: set[str] = set()
        self.away = False

    async def payer_of(self, session: str) -> Payer | None:
        if self.away:
            raise PaymentServiceUnavailable()
        return self.payers.get(session)

    async def is_open(self, session: str) -> bool:
        return session in self.open


class Told:
    """The outbox; it may be away."""

    def __init__(self) -> None:
        self.told: dict[str, tuple[str, Mapping[str, Any]]] = {}
        self.away = False

    async def put(self, type: str, account: str, content: Mapping[str, Any], *, cause: str, now_ms: int) -> bool:
        if self.away:
            raise RecordsUnavailable()
        return self.told.setdefault(cause, (account, content)) is not None


class Desk:
    """One shop's records and clock, at which any number of processes recognise payers."""

    def __init__(self, mode: Mode = "same_browser") -> None:
        self.mode: Mode = mode
        self.records, self.clock, self.provider, self.outbox = MemoryRecords(), FakeClock(), Provider(), Told()
        self.keyring, self.peppers = Keyring([Secret("k" * 40)]), Peppers([Secret("p" * 40)])
        self.randomness = SeededRandomness()
        self.trail = Trail()
        self.log_in = self.process()

    def process(self) -> LogIn:
        report = lambda *_, **__: None  # noqa: E731
        return LogIn(
            mode=self.mode,
            payments=self.provider,
            book=self.records.payers,
            aliases=Aliases(book=self.records.aliases, clock=self.clock, report=report),
            outbox=self.outbox,  # type: ignore[arg-type]
            keyring=self.keyring,
            peppers=self.peppers,
            clock=self.clock,
            randomness=self.randomness,
            report=report,
            witness=self.trail,
        )

    async def back(
        self,
        number: int,
        account: str,
        payer: Payer | None,
        who: Who = "own",
        *,
        code: str | None = None,
        late: int = 0,
    ) -> Welcome:
        """A browser comes back from checkout `number`, which was for this account and paid by this payer."""
        session = f"cs_test_{number}"
        if payer is not None:
            self.provider.payers[session] = payer
        payment = Payment(session, Money.parse("5.00 usd"), "r", settled=True, live=False)
        expires = self.clock.now_ms() // 1000 + HOUR - late
        return await self.log_in.came_back(
            payment, Reference(account, bytes([number]) * 32, "0000", expires), who, code
        )

    async def counts(self) -> None:
        self.clock.pass_seconds(GRACE_MS / 1000)
        await self.log_in.settle()

    async def joined(self) -> dict[str, str]:
        return {row.account: row.into for row in await self.records.aliases.aliases_after(0)}


async def met(desk: Desk, payer: Payer = CARD) -> None:
    """This payer has paid for the old wallet."""
    await desk.back(1, OLD, payer)
    await desk.counts()


@pytest.mark.parametrize("payer", [CARD, LINK])
async def test_the_same_payer_joins_the_new_wallet_to_the_old(payer: Payer) -> None:
    desk = Desk()
    await met(desk, payer)
    again = Payer("link", "ann@example.org ") if payer is LINK else payer
    welcome = await desk.back(2, NEW, again)
    assert (welcome.state, welcome.joining) == ("waiting", True)
    await desk.counts()
    assert await desk.joined() == {NEW: OLD}
    assert desk.outbox.told == {"joined cs_test_2": (OLD, {"joined": NEW, "by": payer.kind})}
    assert (await desk.back(2, NEW, again)).state == "joined"


async def test_nothing_counts_before_its_time() -> None:
    desk = Desk()
    await met(desk)
    await desk.back(2, NEW, CARD)
    desk.clock.pass_seconds((GRACE_MS - 1) / 1000)
    await desk.log_in.settle()
    assert await desk.joined() == {}
    desk.clock.pass_seconds(0.001)
    await desk.log_in.settle()
    assert await desk.joined() == {NEW: OLD}


async def test_cut_off_after_the_alias_the_owner_is_told_all_the_same() -> None:
    desk = Desk()
    await met(desk)
    await desk.back(2, NEW, CARD)
    desk.outbox.away = True
    with pytest.raises(RecordsUnavailable):
        await desk.counts()
    assert await desk.joined() == {NEW: OLD}
    desk.outbox.away = False
    desk.log_in = desk.process()
    await desk.log_in.settle()
    assert list(desk.outbox.told) == ["joined cs_test_2"]
    assert (await desk.back(2, NEW, CARD)).state == "joined"


async def test_several_processes_settle_it_once() -> None:
    desk = Desk()
    await met(desk)
    for number, account in ((2, NEW), (3, THIRD)):
        await desk.back(number, account, CARD)
    desk.clock.pass_seconds(GRACE_MS / 1000)
    await asyncio.gather(*(desk.process().settle() for _ in range(4)))
    assert await desk.joined() == {NEW: OLD, THIRD: OLD}
    assert len(desk.outbox.told) == 2


async def test_two_new_payers_at_once_are_one() -> None:
    """Neither is known when they come back; whoever is written down first is the one that was there before."""
    desk = Desk()
    await desk.back(1, OLD, CARD)
    await desk.back(2, NEW, CARD)
    await desk.counts()
    assert await desk.joined() == {NEW: OLD}


async def test_peppers_rotate_and_the_digest_moves_to_the_newest() -> None:
    desk = Desk()
    await met(desk)
    for letter in "qrs":
        desk.peppers.renew([Secret(letter * 40), *(secret for _, secret in desk.peppers._held)][:2])
        assert (await desk.back(ord(letter), f"acct_{letter.encode().hex() * 16}", CARD)).joining
        await desk.counts()
    assert len(await desk.joined()) == 3
    assert list(desk.records.payers.rows) == [desk.peppers.digest(CARD.name)]


async def test_a_sealing_key_that_went_in_between_recognises_nobody() -> None:
    desk = Desk()
    await met(desk)
    await desk.back(2, NEW, CARD)
    desk.keyring.renew([Secret("n" * 40)])
    await desk.counts()
    assert await desk.joined() == {}


async def test_only_the_address_that_mail_needs_is_kept_and_that_sealed() -> None:
    desk = Desk()
    await met(desk, CARD)
    await desk.back(2, NEW, LINK)
    await desk.counts()
    kept = [sealed for _, sealed in desk.records.payers.rows.values()]
    assert kept[0] is None
    assert kept[1] is not None
    assert b"example" not in kept[1][1].lower()
    assert all(row.sealed is None for row in desk.records.payers.homecomings.values()), "nothing is left of what waited"


async def test_an_old_reference_recognises_nobody() -> None:
    desk = Desk()
    await met(desk)
    assert await desk.back(2, NEW, CARD, late=HOUR + 1) == Welcome()
    await desk.counts()
    assert await desk.joined() == {}


async def test_a_payment_that_tells_nobody_is_nobodys() -> None:
    desk = Desk()
    assert (await desk.back(1, OLD, None)).state == "nobody"
    await desk.counts()
    assert desk.records.payers.rows == {}


async def test_who_has_a_token_and_not_the_cookie_makes_nothing_count() -> None:
    desk = Desk()
    await met(desk)
    assert await desk.back(2, NEW, CARD, "holder") == Welcome()
    assert (await desk.back(2, NEW, CARD)).joining, "and stands in nobody's way"


@pytest.mark.parametrize("order", [("own", "stranger"), ("stranger", "own"), ("own", "holder", "stranger")])
async def test_a_second_browser_makes_it_count_for_nobody(order: tuple[Who, ...]) -> None:
    desk = Desk()
    await met(desk)
    for who in order:
        await desk.back(2, NEW, CARD, who)
    await desk.counts()
    assert await desk.joined() == {}


async def test_who_comes_before_it_is_paid_makes_it_count_for_nobody() -> None:
    desk = Desk()
    await met(desk)
    desk.provider.open.add("cs_test_2")
    await desk.log_in.came_early("cs_test_2")
    await desk.log_in.came_early("cs_test_9")
    assert await desk.records.payers.find_homecoming("cs_test_9") is None
    await desk.back(2, NEW, CARD)
    await desk.counts()
    assert await desk.joined() == {}


async def test_a_wallet_with_a_payer_is_taken_into_none() -> None:
    desk = Desk()
    await met(desk)
    await desk.back(2, NEW, Payer("card", "f2"))
    await desk.counts()
    await desk.back(3, NEW, CARD)
    await desk.counts()
    assert await desk.joined() == {}


async def test_a_frozen_wallet_is_not_found() -> None:
    desk = Desk()
    await met(desk)
    await desk.records.add_freeze(OLD, frozen=True, reason="why", now_ms=1)
    await desk.back(2, NEW, CARD)
    await desk.counts()
    assert await desk.joined() == {}
    assert desk.outbox.told == {}


# --- codes ------------------------------------------------------------------------------------------------------------


async def shown(desk: Desk) -> str:
    code = (await desk.back(2, NEW, CARD, "stranger")).code
    assert code is not None
    return code


async def test_a_code_counts_when_its_beginner_says_it() -> None:
    desk = Desk("on")
    await met(desk)
    code = await shown(desk)
    await desk.counts()
    assert await desk.joined() == {}
    await desk.log_in.say(Caller(NEW), f" {code[:4].lower()}-{code[4:]} ")
    assert (await desk.back(2, NEW, CARD, "stranger", code=code)).code is None
    await desk.counts()
    assert await desk.joined() == {NEW: OLD}


@pytest.mark.parametrize("wrong", ["account", "code", "late", "twice", "other browser", "switched off"])
async def test_a_code_is_good_for_its_beginner_once_and_ten_minutes(wrong: str) -> None:
    desk = Desk("on")
    await met(desk)
    code, who = await shown(desk), Caller(THIRD if wrong == "account" else NEW)
    if wrong == "late":
        desk.clock.pass_seconds(CODE_MS / 1000 + 1)
    if wrong == "twice":
        await desk.log_in.say(who, code)
    if wrong == "other browser":
        assert (await desk.back(2, NEW, CARD, "stranger")).code is None
    if wrong == "switched off":
        desk.mode = "same_browser"
    with pytest.raises(BadRequest):
        await desk.process().say(who, "A" * 16 if wrong == "code" else code)


async def test_of_many_who_say_a_code_at_once_one_does() -> None:
    desk = Desk("on")
    await met(desk)
    code = await shown(desk)
    said = await asyncio.gather(*(desk.log_in.say(Caller(NEW), code) for _ in range(9)), return_exceptions=True)
    assert sum(one is None for one in said) == 1
