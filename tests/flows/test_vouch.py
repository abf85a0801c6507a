"""A token of an outside provider is verified once, until it expires; and who it speaks of has one account for good."""

import json
from typing import Any

import pytest

from gateway.core.jwts import Issuer, KeySet
from gateway.core.keyring import Keyring
from gateway.core.secrets import Secret
from gateway.core.tokens import TokenMint
from gateway.flows import vouch
from gateway.flows.vouch import Vouch
from tests.fakes import FakeClock
from tests.providers import Provider, public_jwk


class Known:
    """Implements `ports.KeySets` with what a provider has; counts."""

    def __init__(self, who: Provider) -> None:
        self.who = who
        self.asked = 0

    async def find(self, key_id: str | None, algorithm: str) -> Any:
        self.asked += 1
        keys = [public_jwk(key, kid) for kid, key in self.who.keys.items()]
        return KeySet.parse(json.dumps({"keys": keys}).encode()).find(key_id, algorithm)


class Door:
    def __init__(self, **more: Any) -> None:
        self.who = Provider(url="https://clerk.example")
        issuer = Issuer("clerk", "https://clerk.example", frozenset(("RS256",)), **more)
        self.keys, self.clock, self.told = Known(self.who), FakeClock(), [""]
        self.clock.ms = self.who.claims("x")["iat"] * 1000
        self.vouch = Vouch(
            [issuer], {"clerk": self.keys}, clock=self.clock, memory_key=b"k" * 32,
            report=lambda event, why: self.told.append(why),
        )  # fmt: skip

    async def enter(self, token: str, issuers: list[str] | None = None) -> str | None:
        person = await self.vouch.known({"authorization": f"Bearer {token}"}, {}, issuers)
        return person.subject if person else None


async def test_a_token_is_verified_once_until_it_expires_and_all_of_it_counts() -> None:
    door = Door()
    token = door.who.token("ann")
    for _ in range(5):
        assert await door.enter(token) == "ann"
    assert door.keys.asked == 1
    assert await door.enter(token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB")) is None
    assert door.told[-1] == "its signature is not its issuer's"
    assert await door.enter(token, ["other"]) is None, "remembered, but not for this route"
    door.clock.pass_seconds(69.9)
    assert await door.enter(token) == "ann"
    door.clock.pass_seconds(0.1)
    assert await door.enter(token) is None
    assert door.told[-1] == "it has expired"


async def test_what_was_used_longest_ago_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vouch, "_REMEMBERED_MAX", 2)
    door = Door()
    one, two, three = (door.who.token(name) for name in ("one", "two", "three"))
    for token in (one, two, one, three, one):
        await door.enter(token)
    assert door.keys.asked == 3
    await door.enter(two)
    assert door.keys.asked == 4


async def test_what_is_not_good_is_not_remembered_and_says_why_to_the_operator_alone() -> None:
    door = Door()
    token = door.who.token("ann", iss="https://other.example")
    assert await door.enter(token) is None
    assert await door.enter(door.who.token("ann", exp=1)) is None
    assert door.keys.asked == 0, "nor are keys asked for"
    assert not any("ann" in why or token in why for why in door.told)
    assert len(door.vouch._remembered) == 0


async def test_a_header_of_ones_own_holds_it_with_or_without_a_scheme() -> None:
    door = Door(header="x-session", cookie="__session")
    token = door.who.token("ann")
    for headers, cookies in (
        ({"x-session": token}, {}), ({"x-session": f"bearer  {token} "}, {}),
        ({"x-session": "junk"}, {"__session": token}),
    ):  # fmt: skip
        assert await door.vouch.known(headers, cookies, None) is not None
    assert await door.vouch.known({"authorization": f"Bearer {token}"}, {}, None) is None


def test_an_account_stays_the_same_while_a_payment_for_it_can_be_under_way() -> None:
    def account(*keys: str) -> str:
        return TokenMint(Keyring([Secret(key * 40) for key in keys]), "test").outside("outside\0clerk\0ann").account

    assert account("a") == account("b", "a") == account("c", "b", "a")
    assert account("a") != account("b"), "by when no link of before can be opened"


def test_who_is_vouched_for_is_told_apart_by_issuer_and_subject() -> None:
    mint = TokenMint(Keyring([Secret("k" * 40)]), "test")
    names = [f"outside\0{issuer}\0{subject}" for issuer in ("a", "b") for subject in ("ann", "bob")]
    assert len({mint.outside(name).account for name in names}) == 4
