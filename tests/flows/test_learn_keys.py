"""Keys of an issuer: kept as long as it says, fetched once for all who wait, and again for a name that is unknown."""

import asyncio
import json
from typing import Any

import jwt
import pytest

from gateway.core.jwts import Issuer
from gateway.core.refusals import IdentityUnavailable
from gateway.flows.learn_keys import LearnKeys
from gateway.ports import Document, NotFetched
from tests.providers import public_jwk, rsa_key

ISSUER = Issuer("clerk", "https://clerk.example", frozenset(("RS256",)), jwks_url="https://clerk.example/keys")


class Publisher:
    """Implements `ports.Documents`; what it has, and how often it was asked, is for the test to see."""

    def __init__(self) -> None:
        self.kids = ["a"]
        self.keep: float | None = None
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fault: NotFetched | None = None
        self.others: dict[str, Any] = {}
        self.now = 1000.0
        self.told: list[dict[str, Any]] = []

    async def fetch(self, url: str) -> Document:
        self.asked.append(url)
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        if url in self.others:
            return Document(json.dumps(self.others[url]).encode(), None)
        keys = {"keys": [public_jwk(rsa_key(1), kid) for kid in self.kids]}
        return Document(json.dumps(keys).encode(), self.keep)

    def learns(self, issuer: Issuer = ISSUER) -> LearnKeys:
        return LearnKeys(
            issuer, documents=self, now=lambda: self.now, report=lambda event, **told: self.told.append(told)
        )


async def test_they_are_asked_for_once_by_all_who_wait_and_a_leaver_ends_nothing() -> None:
    publisher = Publisher()
    publisher.gate.clear()
    learns = publisher.learns()
    waiting = [asyncio.create_task(learns.find("a", "RS256")) for _ in range(50)]
    while not publisher.asked:
        await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    publisher.gate.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert all(isinstance(key, jwt.PyJWK) for key in found[1:])
    assert len(publisher.asked) == 1


@pytest.mark.parametrize(("said", "kept"), [(None, 600), (0, 30), (5, 30), (3600, 3600), (10**9, 86_400)])
async def test_they_are_kept_as_long_as_is_said_within_bounds(said: float | None, kept: float) -> None:
    publisher = Publisher()
    publisher.keep = said
    learns = publisher.learns()
    await learns.find("a", "RS256")
    publisher.now += kept - 0.1
    await learns.find("a", "RS256")
    assert len(publisher.asked) == 1
    publisher.now += 0.1
    publisher.kids = ["b"]
    assert await learns.find("a", "RS256") is None, "it was taken back"
    assert await learns.find("b", "RS256") is not None


async def test_an_unknown_name_has_them_fetched_at_most_every_half_minute() -> None:
    publisher = Publisher()
    learns = publisher.learns()
    assert await learns.find("a", "RS256") is not None
    publisher.kids = ["a", "b"]
    assert await learns.find("b", "RS256") is not None, "at once, the first time"
    for number in range(20):
        assert await learns.find(f"made up {number}", "RS256") is None
    assert len(publisher.asked) == 2
    publisher.now += 29.9
    await learns.find("c", "RS256")
    assert len(publisher.asked) == 2
    publisher.now += 0.1
    publisher.kids = ["c"]
    assert await learns.find("c", "RS256") is not None
    assert len(publisher.asked) == 3


async def test_whoever_comes_while_a_new_key_is_on_its_way_waits_for_it() -> None:
    publisher = Publisher()
    learns = publisher.learns()
    await learns.find("a", "RS256")
    publisher.kids = ["b"]
    publisher.gate.clear()
    waiting = [asyncio.create_task(learns.find("b", "RS256")) for _ in range(10)]
    while len(publisher.asked) < 2:
        await asyncio.sleep(0)
    publisher.gate.set()
    assert None not in await asyncio.gather(*waiting)
    assert len(publisher.asked) == 2


async def test_older_keys_stay_good_while_none_can_be_had() -> None:
    publisher = Publisher()
    learns = publisher.learns()
    await learns.find("a", "RS256")
    publisher.fault = NotFetched("it answered 502")
    publisher.now += 599
    assert await learns.find("z", "RS256") is None
    assert str(learns.state) == "known", "they are as young as they may be, though new ones cannot be had"
    publisher.asked.pop()
    publisher.told.clear()
    publisher.now += 32
    assert str(learns.state) == "stale"
    for _ in range(20):
        assert await learns.find("a", "RS256") is not None
    assert len(publisher.asked) == 2, "and it is not asked with every request"
    assert publisher.told == [{"issuer": "clerk", "why": "it answered 502"}]
    publisher.now += 30
    publisher.fault, publisher.kids = None, ["b"]
    assert await learns.find("b", "RS256") is not None
    publisher.now += 601
    assert learns.fetches == {"fetched": 2, "failed": 2}
    assert learns.age_seconds == 601
    assert str(learns.state) == "known", "old, and nobody has tried to fetch them since"


async def test_without_any_nobody_is_recognised_and_it_is_tried_again_soon() -> None:
    publisher = Publisher()
    publisher.fault = NotFetched("TimeoutError")
    learns = publisher.learns()
    assert str(learns.state) == "not asked for yet"
    for _ in range(5):
        with pytest.raises(IdentityUnavailable):
            await learns.find("a", "RS256")
    assert str(learns.state) == "missing"
    assert (learns.fetches, learns.age_seconds) == ({"fetched": 0, "failed": 1}, None)
    assert len(publisher.asked) == 1
    publisher.now += 2
    publisher.fault = None
    assert await learns.find("a", "RS256") is not None


async def test_an_issuer_says_itself_where_they_are_and_only_of_itself() -> None:
    publisher, oidc = Publisher(), Issuer("own", "https://login.example/", frozenset(("RS256",)))
    where = "https://login.example/.well-known/openid-configuration"
    answers: list[Any] = [
        {"issuer": "https://evil.example", "jwks_uri": "https://keys.example/"},
        {"issuer": oidc.url},
        {"issuer": oidc.url, "jwks_uri": 7},
        [],
    ]
    for said in answers:
        publisher.others[where] = said
        with pytest.raises(IdentityUnavailable):
            await publisher.learns(oidc).find("a", "RS256")
    publisher.others[where] = {"issuer": oidc.url, "jwks_uri": "https://keys.example/"}
    assert await publisher.learns(oidc).find("a", "RS256") is not None
    assert publisher.asked[-2:] == [where, "https://keys.example/"]


async def test_closing_ends_what_is_on_its_way() -> None:
    publisher = Publisher()
    publisher.gate.clear()
    learns = publisher.learns()
    waiting = asyncio.create_task(learns.find("a", "RS256"))
    while not publisher.asked:
        await asyncio.sleep(0)
    await learns.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
