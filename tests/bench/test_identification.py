"""The bench of identification measures what it says."""

import pytest

from tests.bench import identification
from tests.bench.identification import callers
from tests.flows.test_serve import FakeExchange
from tests.providers import Provider


async def test_whoever_is_measured_was_recognised() -> None:
    who = Provider(url="https://clerk.example")
    value = f"Bearer {who.token('user_ann', exp=2**31)}"
    exchange = FakeExchange("/paid/x", headers={"Authorization": value, "authorization": value})
    caller = await callers(outside=True).identify(exchange, identification._ROUTE)
    assert (caller.is_outside, caller.account[:5]) == (True, "acct_")


def test_all_four_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    identification.main(["--count", "3"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.endswith("µs") for line in lines] == [True] * 4
