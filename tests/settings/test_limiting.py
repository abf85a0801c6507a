"""Limits in the configuration: what they become, and what is a mistake."""

from pathlib import Path
from typing import Any

import pytest

from gateway.core.limits import Limit, Rate
from tests.settings.asking import full, mistakes, settings


def limited(*limits: dict[str, Any], everywhere: list[dict[str, Any]] | None = None, **route: Any) -> dict[str, Any]:
    """A configuration with these limits on its first route, which is called weather."""
    config = full(limits={"everywhere": everywhere} if everywhere is not None else {})
    config["routes"][0] |= {"limits": list(limits), **route}
    return config


def test_limits_become_what_they_say(tmp_path: Path) -> None:
    config = limited(
        {"rate": "10/second", "per": "address", "window": "fixed"},
        {"rate": "5.00 usd/month", "callers": "paid"},
        {"concurrent": 3, "per": "token", "name": "narrow"},
        everywhere=[{"rate": "1000 per 2 hours", "per": "owner"}],
        limits_down="closed",
    )
    weather, status = settings(tmp_path, config).routes.routes
    everywhere = Limit("owner-7200s", Rate(1000, 7200, "1000 per 2 hours"), per="owner")
    assert weather.limits == (
        Limit("weather", Rate(100, 60, "100/minute")),
        Limit("weather-address-second", Rate(10, 1, "10/second", "fixed"), per="address"),
        Limit(
            "weather-caller-usd-month",
            Rate(5_000_000, 30 * 86_400, "5.00 usd/month", currency="usd"),
            callers="paid",
        ),
        Limit("narrow", None, at_once=3, per="token"),
        everywhere,
    )
    assert weather.limits_down == "closed"
    assert (status.limits, status.limits_down) == ((everywhere,), "open")


@pytest.mark.parametrize(
    ("limit", "path", "words"),
    [
        ({}, "", "either `rate` or `concurrent`"),
        ({"rate": "1/second", "concurrent": 1}, "", "either `rate` or `concurrent`"),
        ({"concurrent": 1, "window": "fixed"}, ".window", "not in a window of time"),
        ({"rate": "1/second", "per": "owner"}, ".per", "limits.everywhere"),
        ({"rate": "10001/second", "window": "moving"}, ".window", "write sliding"),
        ({"rate": "1.00 usd/day", "window": "moving"}, ".window", "write sliding"),
        ({"rate": "1.00 eur/day"}, ".rate", "but `currency` is usd"),
        ({"rate": "0.001 usd/day"}, ".rate", "nobody could ever call it"),
        ({"rate": "1/minute", "name": "weather"}, ".name", "another limit is called `weather`"),
        ({"rate": "1/week"}, ".rate", "second, minute, hour, day or month"),
        ({"rate": "1/second", "per": "planet"}, ".per", "caller"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_a_mistake(
    tmp_path: Path, limit: dict[str, Any], path: str, words: str
) -> None:
    [found] = mistakes(tmp_path, limited(limit))
    assert found.path == f"routes[0].limits[0]{path}"
    assert words in found.words


def test_limits_on_the_edge_are_right(tmp_path: Path) -> None:
    settings(tmp_path, limited({"rate": "10000/second", "window": "moving"}, {"rate": "0.002 usd/day"}))


def test_two_limits_of_one_name_are_a_mistake_wherever_they_stand(tmp_path: Path) -> None:
    [found] = mistakes(tmp_path, limited({"rate": "1/second"}, {"rate": "2/second", "window": "fixed"}))
    assert (found.path, "give one a name" in found.words) == ("routes[0].limits[1]", True)
    [found] = mistakes(
        tmp_path, limited({"rate": "1/second", "name": "a"}, everywhere=[{"rate": "1/day", "name": "a"}])
    )
    assert found.path == "routes[0].limits[0].name"
    settings(tmp_path, limited({"rate": "1/second"}, {"rate": "2/second", "window": "fixed", "name": "burst"}))


def test_money_on_a_free_route_is_a_mistake_and_everywhere_it_is_not(tmp_path: Path) -> None:
    [found] = mistakes(tmp_path, limited({"rate": "1.00 usd/day"}, price="free"))
    assert "never count anything" in found.words
    settings(tmp_path, limited(everywhere=[{"rate": "1.00 usd/day"}], price="free"))
    [found] = mistakes(tmp_path, limited(everywhere=[{"rate": "0.001 usd/day"}]))
    assert found.path == "limits.everywhere[0].rate"
    [found] = mistakes(tmp_path, limited({"rate": "1.00 usd/day"}, price="1 unit:export"))
    assert (found.path, "this counts money" in found.words) == ("routes[0].limits[0].rate", True)
    settings(tmp_path, limited({"rate": "1/day"}, everywhere=[{"rate": "1.00 usd/day"}], price="1 unit:export"))


def test_where_windows_are_counted(tmp_path: Path) -> None:
    limits = settings(tmp_path, full()).limits
    assert (limits.storage_url, limits.storage_seconds_max, limits.subjects_max) == (None, 0.1, 100_000)
    for url in ("redis://127.0.0.1", "redis://:s3cret-s3cret@cache.example:6379/3", "rediss://cache.example/"):
        found = settings(tmp_path, full(limits={"storage": url})).limits.storage_url
        assert found is not None
        assert found.reveal() == url


@pytest.mark.parametrize(
    "url", ["Memory", "redis:6379", "http://cache.example", "redis://", "redis://:s3cret-s3cret@a/b", "redis://a:0"]
)
def test_a_storage_that_is_none_is_a_mistake_that_shows_no_password(tmp_path: Path, url: str) -> None:
    [found] = mistakes(tmp_path, full(limits={"storage": url}))
    assert found.path == "limits.storage"
    assert "write memory, or redis://" in found.words
    assert "s3cret" not in str(found)
