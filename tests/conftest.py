"""What tests share: a stage with gateway, toy upstreams and the Stripe stand-in, all on loopback; and a database."""

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

import gateway.cli.stage
from gateway.cli.stage import Stage
from tests.gateway_process import patiently
from tests.ports import stage_ports
from tests.postgres_server import Server, running

# Stages of processes that run beside each other never try the same port.
gateway.cli.stage._QUIET_PORTS = stage_ports()

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

StageMaker = Callable[..., Awaitable[Stage]]

# Hundreds of commands and gateways are run as programs of their own; not every one is to compile everything anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture
async def make_stage(tmp_path: Path) -> AsyncIterator[StageMaker]:
    """Makes stages, with any settings overridden, and ends them all."""
    stages: list[Stage] = []

    async def make(**overrides: Any) -> Stage:
        folder = tmp_path / f"stage{len(stages)}"
        stage = Stage(folder, overrides=patiently(overrides), served=_unseen, report=_unseen)
        stages.append(stage)
        await stage.start()
        return stage

    yield make
    for stage in stages:
        await stage.stop()


@pytest.fixture
async def stage(make_stage: StageMaker) -> Stage:
    """The demo's stage."""
    return await make_stage()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A real server; each test makes schemas of its own in it."""
    with running() as server:
        yield server


@pytest.fixture
def server(postgres: Server) -> Iterator[Server]:
    """The same, for a test that may leave it stopped."""
    yield postgres
    postgres.start()


def _unseen(*_: object, **__: object) -> None:
    """Neither requests nor events are printed."""
