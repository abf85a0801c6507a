"""Connections that end leave nothing to the garbage collector, which looks seldom."""

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.cli.stage import Stage
from tests.callers import Funded, funded
from tests.conftest import StageMaker
from tests.relay.scenes import callers_connected, connected, request, reset, toy_upstream, under_way, until

TIMES = 10
_BY_USE = {"per": {"answer_bytes": "0.000001 usd"}, "maximum": "0.01 usd"}
PRICES = {"paid": "0.01 usd", "used": _BY_USE, "sliced": {**_BY_USE, "slice": "0.000002 usd"}}
"""By the name of their route."""


@contextmanager
def collected() -> Iterator[Counter[str]]:
    """What of the relay's there was in cycles, by its type."""
    found: Counter[str] = Counter()
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        kinds = [type(one) for one in gc.garbage]
        found.update(kind.__name__ for kind in kinds if kind.__module__.startswith("gateway."))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def leave(stage: Stage, caller: Funded, how: str, route: str) -> None:
    """One connection, from its beginning to its end."""
    async with connected(stage.url) as wire:
        if how == "at once":
            return
        if how in ("in wait", "in an answer"):
            wire.send(request(f"/{route}/silent" if how == "in wait" else f"/{route}/drip", caller))
            await until(lambda: under_way(stage))
        else:
            paths = {"of our own": "/-/me", "after a refusal": "/paid/refused"}
            wire.send(request(paths.get(how, f"/{route}/ok"), None if how == "after a refusal" else caller))
            await wire.answer()
        if how == "by a reset":
            reset(wire)


@pytest.mark.parametrize(
    ("how", "route"),
    [
        *((how, "paid") for how in ("at once", "after a refusal", "of our own", "by a reset")),
        *((how, route) for how in ("after an answer", "in wait", "in an answer") for route in PRICES),
    ],
)
async def test_a_caller_that_leaves_leaves_nothing(make_stage: StageMaker, how: str, route: str) -> None:
    async with toy_upstream() as upstream:
        stage = await make_stage(
            upstreams={"toy": {"url": upstream.url}},
            stripe=None,  # whose events would come on connections of their own
            routes=[
                {"name": name, "match": f"/{name}/", "upstream": "toy", "price": price}
                for name, price in PRICES.items()
            ],
        )
        [caller] = await funded(stage, "1.00 usd")
        await leave(stage, caller, "after an answer", route)
        await until(lambda: not callers_connected(stage))
        with collected() as found:
            for _ in range(TIMES):
                await leave(stage, caller, how, route)
                await until(lambda: not callers_connected(stage) and not under_way(stage))
        assert max(found.values(), default=0) < TIMES, found
