"""Settings of outside identity providers and of CORS."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from gateway.core.routes import Route
from gateway.settings import Mistake, Settings
from tests.settings.asking import full, mistakes, only, settings

CLERK = {"name": "clerk", "preset": "clerk", "issuer": "https://clerk.example", "azp": ["https://app.example"]}
SUPABASE = {"name": "supa", "preset": "supabase", "issuer": "https://x.supabase.co/auth/v1"}
OWN = {"name": "own", "issuer": "https://login.example/", "audience": ["us"]}
SECRET = "Kq3TzL8wN5vR2xK7mB4yH9cJ6dF1gS0pW8eT"
ROUTE = {"name": "one", "match": "/one/", "upstream": "weather", "price": "free"}


def given(base: Path, *issuers: dict[str, Any], **rest: Any) -> Settings:
    return settings(base, full(identity={"issuers": list(issuers)}, **rest))


def wrong(base: Path, *issuers: dict[str, Any], private: bool = False, **rest: Any) -> Mistake:
    identity = {"issuers": list(issuers), **({"private_addresses": True} if private else {})}
    return only(mistakes(base, full(identity=identity, **rest)))


def test_presets_fill_in_what_is_not_said(tmp_path: Path) -> None:
    auth0 = {"name": "auth0", "preset": "auth0", "issuer": "https://t.auth0.com/", "audience": ["https://api"]}
    clerk, auth, supa, own = given(tmp_path, CLERK, auth0, SUPABASE, OWN).identity.issuers
    assert (clerk.cookie, set(clerk.parties), set(clerk.algorithms)) == (
        "__session",
        {"https://app.example"},
        {"RS256"},
    )
    assert clerk.jwks_url == "https://clerk.example/.well-known/jwks.json"
    assert (auth.url, auth.jwks_url) == ("https://t.auth0.com/", "https://t.auth0.com/.well-known/jwks.json")
    assert (set(supa.audiences), set(supa.algorithms)) == ({"authenticated"}, {"ES256", "RS256"})
    assert "service_role" in supa.refused_roles
    assert (own.jwks_url, own.cookie, own.header) == (None, None, "authorization")
    changed = {**CLERK, "cookie": "other", "jwks_url": "https://keys.example/", "algorithms": ["ES256"]}
    [clerk] = given(tmp_path, changed).identity.issuers
    assert (clerk.cookie, clerk.jwks_url, set(clerk.algorithms)) == ("other", "https://keys.example/", {"ES256"})


def test_no_token_reaches_the_upstream_whatever_the_method_and_the_plan(tmp_path: Path) -> None:
    priced = {**ROUTE, "price": "0.02 usd", "plans": {"pro": {"price": "0.01 usd", "methods": {"POST": "0.03 usd"}}}}
    plans = {"pro": {"price": "price_1abc", "costs": "10.00 usd", "grants": "10.00 usd"}}
    made = given(tmp_path, CLERK, {**OWN, "header": "X-Login"}, routes=[priced], plans=plans, cors={"origins": {}})
    [route] = made.routes.routes
    variants = [route.for_method(method).for_plans(held) for method in ("GET", "POST") for held in ((), ("pro",))]
    assert [one.rule for one in variants] == ["0.02 usd", "0.01 usd (plan pro)", "0.02 usd", "0.03 usd (plan pro)"]
    all_closed(variants)


def test_no_token_reaches_the_upstream_at_whichever_step(tmp_path: Path) -> None:
    steps = {"period": "month", "steps": [{"up_to": 5, "price": "free"}, {"price": "0.02 usd"}]}
    made = given(
        tmp_path, CLERK, {**OWN, "header": "X-Login"}, routes=[{**ROUTE, "price": steps}], cors={"origins": {}}
    )
    [route] = made.routes.routes
    assert len(route.variants) == 3
    all_closed(route.variants)


def all_closed(variants: Iterable[Route]) -> None:
    for one in variants:
        assert "x-login" in one.request_fields.remove
        assert (one.request_fields.cookies, one.request_fields.jwts) == (("__session",), frozenset({"authorization"}))
        assert "access-control-allow-origin" in one.answer_fields.remove


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"azp": None}, "audience", "`azp` is missing"),
        ({"preset": None, "azp": None}, "audience", "`audience` is missing"),
        ({"issuer": "http://clerk.example"}, "issuer", "write https://"),
        ({"issuer": "https://127.0.0.1"}, "issuer", "no address of the internet"),
        ({"jwks_url": "https://169.254.169.254/keys"}, "jwks_url", "no address of the internet"),
        ({"hs256_secret": SECRET}, "hs256_secret", "only an older project of Supabase"),
        ({"algorithms": ["HS256"]}, "algorithms[0]", "is not `RS256`"),
        ({"algorithms": ["none"]}, "algorithms[0]", "is not `RS256`"),
        ({"cookie": "gateway_token"}, "cookie", "our own tokens"),
        ({"azp": [" x"]}, "azp[0]", "without blanks"),
    ],
)
def test_what_would_let_others_in_is_a_mistake(tmp_path: Path, changes: Any, path: str, words: str) -> None:
    issuer = {name: value for name, value in {**CLERK, **changes}.items() if value is not None}
    found = wrong(tmp_path, issuer)
    assert found.path == f"identity.issuers[0].{path}"
    assert words in found.words


def test_a_shared_secret_stands_beside_keys_and_never_with_them(tmp_path: Path) -> None:
    older = {**SUPABASE, "name": "older", "hs256_secret": SECRET}
    with_keys, with_secret = given(tmp_path, SUPABASE, older).identity.issuers
    assert (with_keys.secret, with_secret.jwks_url) == (None, None)
    assert with_secret.secret is not None
    assert wrong(tmp_path, {**older, "algorithms": ["ES256"]}).path == "identity.issuers[0].algorithms"
    assert wrong(tmp_path, SUPABASE, {**SUPABASE, "name": "two"}).path == "identity.issuers[1].issuer"
    assert wrong(tmp_path, SUPABASE, {**CLERK, "name": "supa"}).path == "identity.issuers[1].name"
    assert SECRET not in str(wrong(tmp_path, {**older, "algorithms": ["ES256"]}))


def test_routes_name_issuers_that_there_are(tmp_path: Path) -> None:
    found = wrong(tmp_path, CLERK, routes=[{**ROUTE, "issuers": ["clrek"]}])
    assert (found.path, "did you mean `clerk`" in found.words) == ("routes[0].issuers[0]", True)
    found = wrong(tmp_path, CLERK, routes=[{**ROUTE, "issuers": ["clerk"], "public": True}])
    assert found.path == "routes[0].issuers"
    assert wrong(tmp_path, routes=[{**ROUTE, "pass_claims": {"X-User": "sub"}}]).path == "routes[0].pass_claims"
    rules = {"pass_claims": {"X-User": "sub"}, "request_headers": {"set": {"x-user": "me"}}}
    assert "write it once" in wrong(tmp_path, CLERK, routes=[{**ROUTE, **rules}]).words
    found = wrong(tmp_path, CLERK, routes=[{**ROUTE, "pass_claims": {"Gateway-Account": "sub"}}])
    assert "own business" in found.words


def test_origins_are_exact_and_those_of_this_environment(tmp_path: Path) -> None:
    origins = {
        "development": ["http://localhost:5173", "https://App.example:443/"],
        "production": ["https://a.example"],
    }
    found = settings(tmp_path, full(cors={"origins": origins})).cors
    assert found is not None
    assert found.origins == {"http://localhost:5173", "https://app.example"}
    for text, words in (
        ("*", "must begin with"), ("null", "must begin with"), ("https://*.example", "host"),
        ("https://a.example/x", "path"), ("https://a.example?x", "no query"), ("https://u@a.example", "user name"),
    ):  # fmt: skip
        mistake = only(mistakes(tmp_path, full(cors={"origins": {"development": [text]}})))
        assert words in mistake.words, text
    mistake = only(mistakes(tmp_path, full(cors={"origins": {"production": ["http://a.example"]}})))
    assert mistake.path == "cors.origins.production[0]"
