"""What the relay's tests share: the recording upstream and a stage in front of it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from gateway.cli.stage import Stage
from tests.callers import Funded, funded
from tests.conftest import StageMaker
from tests.raw import RawUpstream
from tests.relay.refusing import config as narrow

_ON_UVLOOP = (
    *("test_endings.py", "test_garbage.py", "test_mutations.py", "test_servers.py"),
    *("test_tls_and_sockets.py", "test_trouble.py"),
)
"""What is lost, cut or closed is told differently by each loop: these run on the one of `gateway run`."""


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.path.name in _ON_UVLOOP:
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture
async def upstream() -> AsyncIterator[RawUpstream]:
    upstream = RawUpstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


@pytest.fixture
async def stage(make_stage: StageMaker, upstream: RawUpstream) -> Stage:
    """A gateway with narrow bounds before the recording upstream; files of other subjects have stages of their own."""
    return await make_stage(**narrow(upstream))


@pytest.fixture
async def caller(stage: Stage) -> Funded:
    [caller] = await funded(stage, "1.00 usd")
    return caller
