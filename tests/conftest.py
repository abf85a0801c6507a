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
from tests import key_pairs, leaks
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
        stage = await leaks.started(Stage, folder, patiently(overrides))
        stages.append(stage)
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


# --- what was logged --------------------------------------------------------------------------------------------------

_found: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    """Processes that run tests are started after this, and know the folder by their environment."""
    if not hasattr(config, "workerinput"):
        leaks.begin()
    key_pairs.use()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """When all processes that ran tests have ended: no log of theirs holds a secret, or the session has failed."""
    if not hasattr(session.config, "workerinput") and leaks.FOLDER in os.environ:
        _found.extend(leaks.end())
        if _found:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _found:
        terminalreporter.section("secrets in logs", red=True)
        for line in _found[:20]:
            terminalreporter.line(line)
