"""Credential -> caller: who is let in, who gets a fresh token, who is refused."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.adapters.memory import MemoryRecords
from gateway.core.callers import ANONYMOUS
from gateway.core.caps import Cap
from gateway.core.grants import Grant, OwnCap, Scope, Terms
from gateway.core.keyring import Keyring
from gateway.core.limits import Rate
from gateway.core.money import Money
from gateway.core.pricing import Price
from gateway.core.refusals import TokenOutOfScope, UnknownToken
from gateway.core.routes import Route, Server, Upstream
from gateway.core.secrets import Secret
from gateway.core.tokens import Genuine, Peppers, TokenMint, digest, pepper_id
from gateway.flows import identify
from gateway.flows.cap import AccountCaps
from gateway.flows.follow import Aliases
from gateway.flows.freeze import Freezes
from gateway.flows.identify import Callers
from gateway.ports import TokenRow
from tests.fakes import FakeClock, SeededRandomness
from tests.flows.test_serve import FakeExchange

PEPPER = Secret("p" * 40)
OLDER_PEPPER = Secret("o" * 40)
PAID = Route("paid", "/paid/", Upstream("toy", (Server("http", "toy", 80),)), Price(Money.parse("0.002 usd")))
FREE = Route("free", "/free/", Upstream("toy", (Server("http", "toy", 80),)), Price(Money.zero("usd")))
HTML = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}


class Door:
    def __init__(self) -> None:
        self.clock, self.records = FakeClock(), MemoryRecords()
        self.mint = TokenMint(Keyring([Secret("k" * 40)]), "test")
        self.peppers = Peppers([PEPPER, OLDER_PEPPER])
        self.freezes = Freezes(book=self.records, clock=self.clock, report=lambda *_, **__: None)
        self.aliases = Aliases(book=self.records.aliases, clock=self.clock, report=lambda *_, **__: None)
        self.caps = AccountCaps(book=self.records.caps, clock=self.clock, zone="UTC", root=self.aliases.root)
        self.callers = Callers(
            mint=self.mint,
            peppers=self.peppers,
            credentials=self.records,
            frozen=self.freezes,
            clock=self.clock,
            randomness=SeededRandomness(),
            header="X-Api-Key",
            cookie_names=("gateway_token",),
            caps=self.caps,
            aliases=self.aliases,
        )

    def token(self) -> str:
        fresh = self.callers.fresh().fresh
        assert fresh is not None
        return fresh.reveal()

    def mint_account(self, token: str) -> str:
        genuine = self.mint.recognise(token)
        assert genuine is not None
        return genuine.account

    def record(self, token: str, pepper: Secret = PEPPER, **row: Any) -> None:
        self.records.tokens[digest(pepper, token)] = TokenRow(
            **{"account": "acct_recorded", "revoked": False, "expires_ms": None, **row}
        )


@pytest.fixture
def door() -> Door:
    return Door()


def coming(headers: dict[str, str] | None = None, **cookies: str) -> FakeExchange:
    lower = {name.lower(): value for name, value in (headers or {}).items()}
    return FakeExchange("/", headers=lower | (headers or {}), cookies=cookies)


async def test_who_has_no_credential_gets_a_fresh_token_where_it_costs_something(door: Door) -> None:
    caller = await door.callers.identify(coming(), PAID)
    assert caller.fresh is not None
    assert caller.account.startswith("acct_")
    assert await door.callers.identify(coming(), FREE) == ANONYMOUS


async def test_the_account_of_an_unpaid_token_is_always_the_same(door: Door) -> None:
    fresh = await door.callers.identify(coming(), PAID)
    assert fresh.fresh is not None
    again = await door.callers.identify(coming({"Authorization": f"Bearer {fresh.fresh.reveal()}"}), PAID)
    assert again.account == fresh.account
    assert again.fresh is None
    assert not again.on_record


async def test_a_token_on_record_opens_the_account_on_record(door: Door) -> None:
    token = door.token()
    door.record(token)
    for exchange in (
        coming({"X-Api-Key": token}),
        coming({"X-Api-Key": f"Bearer {token}"}),
        coming(gateway_token=token),
    ):
        caller = await door.callers.identify(exchange, PAID)
        assert (caller.account, caller.on_record) == ("acct_recorded", True)


async def test_on_free_routes_a_token_is_recognised_once_while_it_is_remembered(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = tokens = [door.token() for _ in range(3)]
    accounts = {token: door.mint_account(token) for token in tokens}
    recognised: list[str] = []
    recognise = TokenMint.recognise

    def recognises(mint: TokenMint, token: str) -> Genuine | None:
        recognised.append(token)
        return recognise(mint, token)

    monkeypatch.setattr(TokenMint, "recognise", recognises)
    monkeypatch.setattr(identify, "_GLANCED_AT_MAX", 2)
    for token in (one, one, two, one, three, two, one):  # the third takes the place of the first
        assert (await door.callers.identify(coming({"X-Api-Key": token}), FREE)).account == accounts[token]
    assert recognised == [one, two, three, one]
    door.callers.forget_all()
    await door.callers.identify(coming({"X-Api-Key": one}), FREE)
    assert recognised == [one, two, three, one, one]


async def test_what_was_seen_on_a_free_route_says_nothing_where_something_is_paid(door: Door) -> None:
    token = door.token()
    door.record(token, revoked=True)
    shown = coming({"X-Api-Key": token})
    assert (await door.callers.identify(shown, FREE)).account == door.mint_account(token)
    with pytest.raises(UnknownToken):
        await door.callers.identify(shown, PAID)


@pytest.mark.parametrize("row", [{"revoked": True}, {"expires_ms": 1_800_000_000_000}])
async def test_a_revoked_or_expired_token_is_refused(door: Door, row: dict[str, Any]) -> None:
    token = door.token()
    door.record(token, **row)
    with pytest.raises(UnknownToken):
        await door.callers.identify(coming({"Authorization": f"Bearer {token}"}), PAID)


async def test_a_token_expires_at_its_time_and_not_before(door: Door) -> None:
    token = door.token()
    door.record(token, expires_ms=door.clock.ms + 1)
    assert (await door.callers.identify(coming({"X-Api-Key": token}), PAID)).on_record
    door.clock.pass_seconds(0.001)
    with pytest.raises(UnknownToken):
        await door.callers.identify(coming({"X-Api-Key": token}), PAID)


@pytest.mark.parametrize("text", ["", "x", "fb_test_", "fb_test_0000" + "A" * 40, "ÿ" * 52, "fb_live_0000" + "A" * 40])
async def test_what_is_not_ours_is_refused_where_it_costs_something(door: Door, text: str) -> None:
    exchange = coming({"Authorization": f"Bearer {text}"})
    if text:
        with pytest.raises(UnknownToken):
            await door.callers.identify(exchange, PAID)
    assert await door.callers.identify(exchange, FREE) == ANONYMOUS


async def test_a_persons_stale_cookie_is_as_good_as_none_and_a_programs_is_refused(door: Door) -> None:
    person = coming(HTML, gateway_token="fb_test_0000" + "A" * 40)
    assert (await door.callers.identify(person, PAID)).fresh is not None
    with pytest.raises(UnknownToken):
        await door.callers.identify(coming(gateway_token="fb_test_0000" + "A" * 40), PAID)


async def test_a_genuine_cookie_counts_beside_somebody_elses_bearer(door: Door) -> None:
    token = door.token()
    exchange = coming({"Authorization": "Bearer for-the-upstream"}, gateway_token=token)
    assert (await door.callers.identify(exchange, PAID)).account == door.mint_account(token)


async def test_what_was_remembered_is_forgotten_when_money_arrives(door: Door) -> None:
    token = door.token()
    exchange = coming({"X-Api-Key": token})
    assert not (await door.callers.identify(exchange, PAID)).on_record
    door.record(token)
    assert not (await door.callers.identify(exchange, PAID)).on_record, "it is remembered"
    door.callers.forget(digest(PEPPER, token))
    assert (await door.callers.identify(exchange, PAID)).on_record


async def test_a_token_is_known_under_an_older_pepper(door: Door) -> None:
    token = door.token()
    door.record(token, OLDER_PEPPER)
    assert (await door.callers.identify(coming({"X-Api-Key": token}), PAID)).account == "acct_recorded"


async def test_a_token_that_was_revoked_under_an_older_pepper_stays_revoked(door: Door) -> None:
    token = door.token()
    door.record(token, OLDER_PEPPER, revoked=True)
    door.record(token)
    with pytest.raises(UnknownToken):
        await door.callers.identify(coming({"X-Api-Key": token}), PAID)


async def test_a_row_under_an_older_pepper_is_noticed_when_it_is_written(door: Door) -> None:
    token = door.token()
    exchange = coming({"X-Api-Key": token})
    assert not (await door.callers.identify(exchange, PAID)).on_record
    door.record(token, OLDER_PEPPER)
    door.callers.forget(digest(OLDER_PEPPER, token))
    assert (await door.callers.identify(exchange, PAID)).on_record


@pytest.mark.parametrize("pepper", [PEPPER, OLDER_PEPPER])
async def test_what_is_written_of_one_token_leaves_the_others_remembered(door: Door, pepper: Secret) -> None:
    """Each payment writes a row; with two peppers everybody would be read anew after each."""
    mine, others = door.token(), door.token()
    for token in (mine, others):
        await door.callers.identify(coming({"X-Api-Key": token}), PAID)
    for token in (mine, others):
        door.record(token)
    door.callers.forget(digest(pepper, mine))
    found = [await door.callers.identify(coming({"X-Api-Key": token}), PAID) for token in (mine, others)]
    assert [caller.on_record for caller in found] == [True, False]
    door.callers.forget(digest(pepper, others))
    assert (await door.callers.identify(coming({"X-Api-Key": others}), PAID)).on_record


async def test_a_token_moves_to_the_newest_pepper_when_it_is_used(door: Door) -> None:
    token = door.token()
    door.record(token, OLDER_PEPPER, account="acct_recorded")
    assert (await door.callers.identify(coming({"X-Api-Key": token}), PAID)).account == "acct_recorded"
    [(found, row)] = door.records.tokens.items()
    assert found == digest(PEPPER, token)
    assert (row.account, row.key_id) == ("acct_recorded", token[8:12])


async def test_a_row_of_before_a_rotation_of_peppers_is_found_after_it(door: Door) -> None:
    token, newest = door.token(), Secret("n" * 40)
    door.record(token)
    assert (await door.callers.identify(coming({"X-Api-Key": token}), PAID)).on_record
    door.peppers.renew([newest, PEPPER])
    door.callers.forget_all()
    caller = await door.callers.identify(coming({"X-Api-Key": token}), PAID)
    assert (caller.account, caller.token_digest) == ("acct_recorded", digest(newest, token))
    assert caller.pepper_id == pepper_id(newest)
    assert list(door.records.tokens) == [digest(newest, token)]


async def test_what_is_on_record_stays_remembered_when_others_may_have_recorded(door: Door) -> None:
    known, new = door.token(), door.token()
    door.record(known)
    for token in (known, new):
        await door.callers.identify(coming({"X-Api-Key": token}), PAID)
    door.record(new)
    del door.records.tokens[digest(PEPPER, known)]
    door.callers.forget_unrecorded()
    for token in (known, new):
        assert (await door.callers.identify(coming({"X-Api-Key": token}), PAID)).on_record


async def test_a_caller_carries_the_caps_of_its_account_from_the_moment_they_are_set(door: Door) -> None:
    token = door.token()
    before = await door.callers.identify(coming({"X-Api-Key": token}), PAID)
    assert before.caps == ()
    await door.caps.set(before.account, "day", Money.parse("5.00 usd"))
    caller = await door.callers.identify(coming({"X-Api-Key": token}), PAID)
    assert [(cap.node, cap.period) for cap in caller.caps] == [(before.account, "day")]
    await door.caps.remove(before.account, "day")
    assert await door.callers.identify(coming({"X-Api-Key": token}), PAID) == before


async def test_who_has_moved_to_another_account_carries_the_caps_of_that_one(door: Door) -> None:
    caller = await door.callers.identify(coming({"X-Api-Key": door.token()}), PAID)
    into = "acct_" + "3c" * 16
    await door.caps.set(caller.account, "day", Money.parse("5.00 usd"))
    await door.caps.set(into, "month", Money.parse("9.00 usd"))
    capped = replace(caller, caps=door.caps.of(caller.account))
    assert await door.callers.moved(capped) is None
    await door.records.aliases.add_alias(caller.account, into, why="one person", now_ms=door.clock.now_ms())
    moved = await door.callers.moved(capped)
    assert moved is not None
    assert [(cap.node, cap.period) for cap in moved.caps] == [(into, "month")]


# --- tokens that were made for an account that is there ---------------------------------------------------------------


def issued(door: Door) -> str:
    return door.mint.mint(now_ms=door.clock.now_ms(), random=bytes(12), issued=True).reveal()


async def test_an_issued_token_is_good_only_if_it_is_on_record(door: Door) -> None:
    token = issued(door)
    with pytest.raises(UnknownToken):
        await door.callers.identify(coming({"X-Api-Key": token}), PAID)
    assert await door.callers.identify(coming({"X-Api-Key": token}), FREE) == ANONYMOUS
    door.record(token)
    for route in (FREE, PAID):
        caller = await door.callers.identify(coming({"X-Api-Key": token}), route)
        assert (caller.account, caller.on_record) == ("acct_recorded", True)


def narrow(created_ms: int, **rest: Any) -> Grant:
    terms = Terms(Scope(frozenset({"other"})))
    return Grant(f"tok_{created_ms}", "acct_recorded", created_ms, terms=terms, **rest)


async def test_a_narrowed_token_stays_so_when_a_payment_put_it_down_under_another_pepper(door: Door) -> None:
    token = issued(door)
    door.record(token, OLDER_PEPPER, line=(narrow(5),))
    door.record(token, PEPPER, line=(Grant("tok_9", "acct_recorded", 9),))
    with pytest.raises(TokenOutOfScope):
        await door.callers.identify(coming({"X-Api-Key": token}), PAID)


async def test_a_change_of_a_parent_is_looked_up_anew_and_nothing_else_is(door: Door) -> None:
    token, other = issued(door), door.token()
    parent = Grant("tok_1", "acct_recorded", 1)
    door.record(token, line=(Grant("tok_2", "acct_recorded", 2, parent="tok_1"), parent))
    door.record(other, line=(Grant("tok_3", "acct_recorded", 3),))
    for one in (token, other):
        assert (await door.callers.identify(coming({"X-Api-Key": one}), PAID)).on_record
    door.record(token, line=(Grant("tok_2", "acct_recorded", 2, parent="tok_1"), replace(parent, revoked_ms=7)))
    door.record(other, line=(Grant("tok_3", "acct_recorded", 3, revoked_ms=7),))
    door.callers.forget_grants(["tok_1", "tok_none"])
    with pytest.raises(UnknownToken):
        await door.callers.identify(coming({"X-Api-Key": token}), PAID)
    assert (await door.callers.identify(coming({"X-Api-Key": other}), PAID)).on_record
    assert door.callers.used() == ["tok_2", "tok_3"]
    assert door.callers.used() == []


async def test_a_token_ends_when_the_first_of_its_line_does(door: Door) -> None:
    token, now = issued(door), door.clock.now_ms()
    ends = (now + 50, now + 10, None)
    line = tuple(Grant(f"tok_{n}", "acct_recorded", n, expires_ms=end) for n, end in enumerate(ends))
    door.record(token, line=line)
    caller = await door.callers.identify(coming({"X-Api-Key": token}), PAID)
    assert caller.is_narrowed
    door.clock.pass_seconds(0.010)
    with pytest.raises(UnknownToken):
        await door.callers.identify(coming({"X-Api-Key": token}), PAID)


async def test_a_caller_carries_the_caps_and_limits_of_its_line_its_own_first(door: Door) -> None:
    token = issued(door)
    cap, rate = Money(5, "usd"), Rate(3, 60, "3/minute")
    line = tuple(
        Grant(f"tok_{n}", "acct_recorded", n, terms=Terms(rates=(rate,), caps=(OwnCap("day", cap, n),))) for n in (1, 2)
    )
    door.record(token, line=line)
    caller = await door.callers.identify(coming({"X-Api-Key": token}), PAID)
    assert caller.caps == tuple(Cap(f"tok_{n}", "day", cap, since_ms=n) for n in (1, 2))
    assert [limit.key for limit in caller.limits] == ["tok_1 3/minute", "tok_2 3/minute"]
    assert caller.scope is None
