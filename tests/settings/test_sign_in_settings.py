"""The settings of signing in: presets, what must agree, and what they mean for routes."""

from pathlib import Path
from typing import Any

import pytest

from gateway.settings import Mistake, Settings
from tests.settings.asking import full, mistakes, only, settings

SECRET = "a client secret of some length"
AMAZON = {"name": "amazon", "preset": "amazon", "client_id": "c", "client_secret": SECRET}
SELLER = {**AMAZON, "name": "seller", "preset": "amazon-sp", "application_id": "amzn1.sp.1"}
GOOGLE = {**AMAZON, "name": "google", "preset": "google"}
GITHUB = {**AMAZON, "name": "github", "preset": "github"}
OWN = {"name": "own", "issuer": "https://id.example", "client_id": "c", "client_secret": SECRET}
ROUTE = {"name": "one", "match": "/one/", "upstream": "weather", "price": "free"}


def given(base: Path, *providers: dict[str, Any], **rest: Any) -> Settings:
    return settings(base, full(sign_in={"providers": list(providers)}, **rest))


def wrong(base: Path, *providers: dict[str, Any], rest: dict[str, Any] | None = None, **more: Any) -> Mistake:
    return only(mistakes(base, full(sign_in={"providers": list(providers), **(rest or {})}, **more)))


def test_presets_fill_in_what_is_not_said(tmp_path: Path) -> None:
    found = given(tmp_path, AMAZON, SELLER, GOOGLE, GITHUB, OWN).sign_in
    amazon, seller, google, github, own = found.providers.values()
    assert (amazon.profile_url, amazon.subject) == ("https://api.amazon.com/user/profile", "user_id")
    assert (amazon.header, amazon.kind, amazon.title) == ("x-amz-access-token", "sign_in", "Amazon")
    assert (seller.kind, seller.token_url, seller.application_id) == ("consent", amazon.token_url, "amzn1.sp.1")
    assert (google.issuer, google.discovers) == ("https://accounts.google.com", True)
    assert (github.subject, github.header) == ("id", "Authorization")
    assert (own.discovers, own.title, own.scopes) == (True, "own", ("openid", "email", "profile"))
    assert (found.after, found.session_idle_seconds, found.session_seconds_max) == ("/-/wallet", 86_400, 30 * 86_400)


def test_what_an_upstream_is_told_in_somebodys_name_nobody_else_tells_it(tmp_path: Path) -> None:
    methods = {"POST": "free"}
    route = {**ROUTE, "inject": "oauth:amazon", "methods": methods}
    [made] = given(tmp_path, AMAZON, routes=[route]).routes.routes
    for one in made.variants:
        assert one.inject == "amazon"
        assert "x-amz-access-token" in one.request_fields.remove


@pytest.mark.parametrize(
    ("providers", "path", "words"),
    [
        ([AMAZON, {**GOOGLE, "name": "amazon"}], "sign_in.providers[1].name", "providers[0] has this name"),
        ([{**OWN, "issuer": None}], "sign_in.providers[0].issuer", "without a preset"),
        ([{**SELLER, "application_id": None}], "sign_in.providers[0].application_id", "is missing"),
        ([{**AMAZON, "application_id": "x"}], "sign_in.providers[0].application_id", "only amazon-sp"),
        ([{**OWN, "issuer": "http://id.example"}], "sign_in.providers[0].issuer", "in the clear"),
        ([{**AMAZON, "token_url": "https://10.0.0.1/t"}], "sign_in.providers[0].token_url", "private_addresses"),
    ],
)
def test_a_mistake_is_named_with_its_place(
    tmp_path: Path, providers: list[dict[str, Any]], path: str, words: str
) -> None:
    said = [{name: value for name, value in one.items() if value is not None} for one in providers]
    found = wrong(tmp_path, *said)
    assert (path in str(found), words in str(found)) == (True, True), str(found)


def test_a_page_that_is_read_is_asked_for_by_https_too(tmp_path: Path) -> None:
    sync = {"url": "http://api.example/orders", "items": "a.b", "next": "a.c", "parameter": "t"}
    assert "sync.url" in str(wrong(tmp_path, {**AMAZON, "sync": sync}))


def test_a_route_injects_what_there_is(tmp_path: Path) -> None:
    found = wrong(tmp_path, AMAZON, routes=[{**ROUTE, "inject": "oauth:amazn"}])
    assert "did you mean `oauth:amazon`" in str(found), str(found)
    assert "routes[0].inject" in str(wrong(tmp_path, AMAZON, routes=[{**ROUTE, "inject": "amazon"}]))


def test_where_others_vouch_for_callers_nobody_signs_in(tmp_path: Path) -> None:
    issuers = {"issuers": [{"name": "own", "issuer": "https://id.example", "audience": ["us"]}]}
    assert "use one of the two" in str(wrong(tmp_path, AMAZON, identity=issuers))


@pytest.mark.parametrize(
    ("rest", "name"),
    [({"session_idle": "59s"}, "session_idle"), ({"session_max": "401d"}, "session_max"),
     ({"after": "//evil.example"}, "after"), ({"after": "https://evil.example/"}, "after")],
)  # fmt: skip
def test_sessions_and_ways_back_have_bounds(tmp_path: Path, rest: dict[str, str], name: str) -> None:
    assert f"sign_in.{name}" in str(wrong(tmp_path, AMAZON, rest=rest))


def test_in_mode_live_providers_are_on_the_internet(tmp_path: Path) -> None:
    found = mistakes(tmp_path, full(sign_in={"providers": [AMAZON], "private_addresses": True}, mode="live"))
    assert any("in mode live providers are on the internet" in str(one) for one in found)
