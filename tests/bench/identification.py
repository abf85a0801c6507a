"""What it adds to a request to find out who is calling: microseconds of CPU, by what it brings.

    python -m tests.bench.identification [--count N]

A token of ours and a token of an outside provider, each as it is from its second request on, and the latter as it is
the first time, with what of that is the signature alone. Nobody is asked for keys, and nothing is looked up.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence

import jwt

from gateway.adapters.memory import MemoryRecords
from gateway.adapters.system import SystemClock, SystemRandomness
from gateway.core import jwts
from gateway.core.jwts import Issuer, KeySet
from gateway.core.keyring import Keyring
from gateway.core.money import Money
from gateway.core.pricing import Price
from gateway.core.routes import Route, Server, Upstream
from gateway.core.secrets import Secret
from gateway.core.tokens import Peppers, TokenMint
from gateway.flows.freeze import Freezes
from gateway.flows.identify import Callers
from gateway.flows.vouch import Vouch
from tests.flows.test_serve import FakeExchange
from tests.providers import Provider, public_jwk, rsa_key

ISSUER = Issuer("clerk", "https://clerk.example", frozenset(("RS256",)), cookie="__session")
_ROUTE = Route("paid", "/paid/", Upstream("toy", (Server("http", "toy", 80),)), Price(Money.parse("0.002 usd")))


class Keys:
    """Implements `ports.KeySets`: they are there."""

    def __init__(self) -> None:
        self._set = KeySet.parse(json.dumps({"keys": [public_jwk(rsa_key(1), "ins_1")]}).encode())

    async def find(self, key_id: str | None, algorithm: str) -> jwt.PyJWK | None:
        return self._set.find(key_id, algorithm)


def callers(*, outside: bool) -> Callers:
    records, clock, randomness = MemoryRecords(), SystemClock(), SystemRandomness()
    vouch = Vouch([ISSUER], {"clerk": Keys()}, clock=clock, memory_key=b"k" * 32, report=_unheard)
    return Callers(
        mint=TokenMint(Keyring([Secret("k" * 40)]), "test"),
        peppers=Peppers([Secret("p" * 40)]),
        credentials=records,
        frozen=Freezes(book=records, clock=clock, report=_unheard),
        clock=clock,
        randomness=randomness,
        header="Authorization",
        cookie_names=("gateway_token",),
        vouches=vouch if outside else None,
    )


async def measured(count: int) -> dict[str, float]:
    """Microseconds of CPU for each."""
    ours, theirs, who = callers(outside=False), callers(outside=True), Provider(url="https://clerk.example")
    token = ours.fresh().fresh
    assert token is not None
    bearing = [f"Bearer {who.token('user_ann', jti=str(number), exp=2**31)}" for number in range(count)]
    opaque = [f"Bearer {token.reveal()}"] * count
    await each(ours, opaque[:1])
    await each(theirs, [f"Bearer {who.token('user_ann', exp=2**31)}"])  # a first one makes the key
    return {
        "a token of ours": await each(ours, opaque),
        "an RS256 JWT, first seen": await each(theirs, bearing),
        "of that, its signature": signatures(bearing),
        "an RS256 JWT, seen before": await each(theirs, bearing[:1] * count),
    }


async def each(door: Callers, values: Sequence[str]) -> float:
    exchanges = [FakeExchange("/paid/x", headers={"Authorization": value, "authorization": value}) for value in values]

    async def all_of_them() -> None:
        for exchange in exchanges:
            await door.identify(exchange, _ROUTE)

    return await _micros(all_of_them, len(values))


def signatures(values: Sequence[str]) -> float:
    tokens = [jwts.read(value.partition(" ")[2]) for value in values]
    key = jwt.PyJWK(public_jwk(rsa_key(1), "ins_1"), "RS256")
    before = time.process_time()
    for token in tokens:
        jwts.check_signature(token, ISSUER, key)
    return (time.process_time() - before) / len(tokens) * 1e6


async def _micros(work: Callable[[], Awaitable[None]], count: int) -> float:
    before = time.process_time()
    await work()
    return (time.process_time() - before) / count * 1e6


def _unheard(*_: object, **__: object) -> None:
    """Nothing goes wrong here."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=5000)
    for what, micros in asyncio.run(measured(parser.parse_args(arguments).count)).items():
        print(f"{what:28} {micros:8.1f} µs")


if __name__ == "__main__":
    main()
