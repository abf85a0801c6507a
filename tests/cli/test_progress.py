"""Work of which nobody knows how much there is says how long it has been at it."""

import asyncio

import pytest

from gateway.cli.progress import taking_its_time


async def lines(capsys: pytest.CaptureFixture[str], count: int, *, end: str) -> str:
    told = ""
    async with asyncio.timeout(5):
        while told.count(end) < count:
            await asyncio.sleep(0.005)
            told += capsys.readouterr().err
    return told


async def test_where_nobody_watches_each_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    async with taking_its_time("making files anew", every_seconds=0.01, watched=False):
        assert (await lines(capsys, 2, end="\n")).startswith("making files anew, 0 s\nmaking files anew, 0 s\n")
    assert capsys.readouterr().out == ""


async def test_where_somebody_does_one_line_renews_itself_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    async with taking_its_time("making files anew", every_seconds=0.01, watched=True):
        told = await lines(capsys, 2, end="\r")
        assert "\n" not in told
    assert capsys.readouterr().err.endswith("\n")


async def test_what_is_soon_done_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError):
        async with taking_its_time("making files anew", watched=True):
            1 / 0  # noqa: B018
    assert capsys.readouterr() == ("", "")
