"""Right settings become frozen values."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from gateway.core.limits import Limit, Rate
from gateway.core.money import Money
from gateway.core.pricing import Price
from gateway.core.secrets import Secret
from gateway.settings import SettingsInvalid, from_mapping, load
from gateway.settings.values import CapSettings
from tests.settings.asking import (
    FULL,
    OLDER_WEBHOOK_SECRET,
    OPERATOR_TOKEN,
    PEPPER,
    SEALING_KEY,
    STRIPE_KEY,
    WEBHOOK_SECRET,
    full,
    mistakes,
    route,
    settings,
)


def test_a_full_file_becomes_values_of_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "gateway.yaml"
    file.write_text(FULL)
    found = load(file, {}, make_secrets=False)
    assert (found.mode, found.currency) == ("test", "usd")
    assert (found.listen, found.admin) == (("127.0.0.1", 8402), ("127.0.0.1", 8403))
    assert found.public_url == "http://127.0.0.1:8402"
    assert found.public_url_given
    assert found.store_path == tmp_path / "data/gateway.db"
    assert found.secrets_path == tmp_path / "data/secrets"
    assert found.stripe is not None
    assert found.stripe.secret_key == Secret(STRIPE_KEY)
    assert found.stripe.webhook_secrets == (Secret(WEBHOOK_SECRET), Secret(OLDER_WEBHOOK_SECRET))
    assert found.stripe.top_up == Money.parse("5.00 usd")
    assert found.stripe.api_url == "https://api.stripe.com"
    assert not found.stripe.live
    assert found.secrets.sealing_keys == (Secret(SEALING_KEY),)
    assert found.secrets.peppers == (Secret(PEPPER),)
    assert found.secrets.operator_token == Secret(OPERATOR_TOKEN)
    weather, status = found.routes.routes
    assert weather.price == Price(Money.parse("0.002 usd"))
    assert weather.limits == (Limit("weather", Rate(100, 60, "100/minute")),)
    assert weather.rewrite == "/"
    assert weather.upstream is found.upstreams["weather"]
    assert str(weather.upstream.servers[0]) == "http://127.0.0.1:9001"
    assert status.price.free
    assert status.price == Price(Money.zero("usd"))
    assert found.limits.request_body_bytes_max == 100 * 2**20


def test_nothing_at_all_is_a_gateway_with_defaults(tmp_path: Path) -> None:
    found = from_mapping({}, base=tmp_path, make_secrets=False)
    assert found.listen == ("127.0.0.1", 8402)
    assert found.store_path == tmp_path / "data/gateway.db"
    assert found.stripe is None
    assert found.routes.routes == ()
    assert found.log.format == "auto"


def test_nothing_is_written_unless_secrets_may_be_made(tmp_path: Path) -> None:
    found = from_mapping({}, base=tmp_path, make_secrets=False)
    assert list(tmp_path.iterdir()) == []
    assert (found.secrets.sealing_keys, found.secrets.peppers, found.secrets.operator_token) == ((), (), None)


def test_values_are_frozen_and_never_print_a_secret(tmp_path: Path) -> None:
    found = settings(tmp_path)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.mode = "live"  # type: ignore[misc]
    with pytest.raises(TypeError):
        found.upstreams["x"] = found.upstreams["weather"]  # type: ignore[index]
    for secret in (STRIPE_KEY, WEBHOOK_SECRET, SEALING_KEY, PEPPER, OPERATOR_TOKEN):
        assert secret not in repr(found)


def test_a_public_url_that_is_not_given_follows_listen(tmp_path: Path) -> None:
    for listen, url in {
        "127.0.0.1:9000": "http://127.0.0.1:9000",
        "0.0.0.0:9000": "http://127.0.0.1:9000",
        "[::]:9000": "http://[::1]:9000",
        "localhost:80": "http://localhost",
    }.items():
        found = from_mapping({"listen": listen}, base=tmp_path, make_secrets=False)
        assert found.public_url == url
        assert not found.public_url_given


def test_a_slash_at_the_end_of_an_address_is_dropped(tmp_path: Path) -> None:
    found = settings(tmp_path, full(public_url="https://api.example.com:443/"))
    assert found.public_url == "https://api.example.com"


def test_upstream_timeouts_are_seconds(tmp_path: Path) -> None:
    times = {"connect_timeout": "500ms", "first_byte_timeout": "2m", "idle_timeout": "1h", "connections": 7}
    values = full(upstreams={"weather": {"url": "http://127.0.0.1:9001", **times}})
    upstream = settings(tmp_path, values).upstreams["weather"]
    assert (upstream.connect_seconds, upstream.first_byte_seconds, upstream.idle_seconds) == (0.5, 120.0, 3600.0)
    assert upstream.connections_max == 7


def test_a_top_up_that_is_not_given_is_ten_times_the_least_payment(tmp_path: Path) -> None:
    for currency, expected in {"usd": "5.00 usd", "eur": "5.00 eur", "jpy": "500.00 jpy"}.items():
        free = [route(price="free")]
        found = settings(tmp_path, full(currency=currency, stripe={"top_up": None}, routes=free))
        assert found.stripe is not None
        assert str(found.stripe.top_up) == expected


def test_a_store_may_have_an_absolute_path(tmp_path: Path) -> None:
    for text in (f"sqlite:{tmp_path}/x.db", f"sqlite://{tmp_path}/x.db"):
        assert settings(Path("/nowhere"), full(store=text)).store_path == tmp_path / "x.db"


def test_anchors_and_merged_keys_are_read(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(
        "upstreams: {weather: {url: http://127.0.0.1:9001}}\n"
        "routes:\n"
        '  - &paid {name: one, match: /one/, upstream: weather, price: "1 usd", limit: 5/second}\n'
        "  - {<<: *paid, name: two, match: /two/}\n"
        "  - {name: three, match: /three/, <<: [*paid, {price: free}]}\n"
    )
    found = load(file, {}, make_secrets=False)
    assert [str(route.price) for route in found.routes.routes] == ["1.00 usd"] * 3
    assert [route.name for route in found.routes.routes] == ["one", "two", "three"]


def test_an_empty_file_is_right_and_a_missing_one_is_not(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("# nothing yet\n")
    assert load(file, {}, make_secrets=False).routes.routes == ()
    with pytest.raises(SettingsInvalid, match="the file cannot be read: no such file"):
        load(tmp_path / "other.yaml", {}, make_secrets=False)


def test_caps_begin_anew_by_the_calendar_of_a_place(tmp_path: Path) -> None:
    assert settings(tmp_path).caps == CapSettings(time_zone="UTC", tell_at_percent=80)
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (line,) = [line for line in readme.splitlines() if line.startswith("   caps: ")]
    found = settings(tmp_path, full(**yaml.safe_load(line)))
    assert found.caps == CapSettings(time_zone="Europe/Berlin", tell_at_percent=80)
    for wrong, where, said in (
        ({"time_zone": "Mars/Olympus"}, "caps.time_zone", "is no time zone"),
        ({"tell_at_percent": 101}, "caps.tell_at_percent", "100"),
        ({"tell_at_percent": 0}, "caps.tell_at_percent", "1"),
    ):
        [mistake] = mistakes(tmp_path, full(caps=wrong))
        assert mistake.path == where
        assert said in mistake.words
