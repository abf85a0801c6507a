"""The stand-in for Stripe by itself."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from aiohttp import ClientConnectorError, ClientSession
from click.testing import CliRunner

from gateway.cli import main
from tests import programs
from tests.ports import own_port

KEY, SECRET = "sk_test_" + "1a" * 24, "whsec_" + "2b" * 24


@pytest.fixture
def nothing() -> Iterator[IO[bytes]]:
    with Path(os.devnull).open("wb") as file:
        yield file


@pytest.mark.parametrize(
    ("url", "key", "secret", "said"),
    [
        ("http://127.0.0.1:8402", "sk_live_" + "1a" * 24, SECRET, "no live key is taken"),
        ("http://127.0.0.1:8402", KEY, "a-secret", "begins with whsec_"),
        ("127.0.0.1:8402", KEY, SECRET, "public_url"),
        ("http://127.0.0.1:8402/-/webhooks", KEY, SECRET, "public_url"),
    ],
)
def test_what_cannot_be_a_gateway_of_mode_test_is_refused(url: str, key: str, secret: str, said: str) -> None:
    done = CliRunner().invoke(main, ["stand-in", url], env={"STRIPE_SECRET_KEY": key, "STRIPE_WEBHOOK_SECRET": secret})
    assert (done.exit_code, said in done.output) == (2, True), done.output
    assert key not in done.output
    assert secret not in done.output


async def test_it_answers_to_its_key_until_it_is_told_to_stop(nothing: IO[bytes]) -> None:
    port, environ = own_port(), {"STRIPE_SECRET_KEY": KEY, "STRIPE_WEBHOOK_SECRET": SECRET}
    words = ["stand-in", "http://127.0.0.1:1", "--port", str(port)]
    running = programs.start(*words, err=nothing.fileno(), environ=environ)
    async with ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session, asyncio.timeout(30):
        while True:
            with contextlib.suppress(ClientConnectorError):
                async with session.get(f"http://127.0.0.1:{port}/v1/events") as answer:
                    told = await answer.json()
                break
            await asyncio.sleep(0.02)
    assert told["data"] == []
    other = await asyncio.to_thread(programs.run, *words, environ=environ)
    assert (other.returncode, "gateway stand-in:" in other.stderr) == (3, True)
    running.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(running.end) == 0
