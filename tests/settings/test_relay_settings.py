"""Right settings of the relay become the values that it is given, from the file and from the environment."""

import base64
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from gateway.core.routes import NO_RULES, Ejection, FieldRules, HealthCheck, Route, Server, Upstream, UpstreamCredential
from gateway.core.secrets import Secret
from gateway.settings import CallerTimeouts, TlsSettings, UnixSocket, from_mapping
from tests.settings.asking import FULL, PEPPER, full, mistakes, mistakes_in, only, route, settings

A, B = "http://127.0.0.1:9001", "http://127.0.0.1:9002"
KEY, OTHER_KEY = "7d1f0c3b5a9e4d2886f1c0b3a5e79d42", "e4b81f6a2c9d40753f8e6b1d0a7c5924"


def api(base: Path, environ: dict[str, str] | None = None, **values: Any) -> Upstream:
    return settings(base, full(upstreams={"api": {"url": A, **values}}), environ).upstreams["api"]


def first(base: Path, environ: dict[str, str] | None = None, **values: Any) -> Route:
    return settings(base, full(routes=[route(**values)]), environ).routes.routes[0]


def test_what_is_not_said_has_the_default_of_the_value(tmp_path: Path) -> None:
    assert api(tmp_path) == Upstream("api", (Server("http", "127.0.0.1", 9001),))
    found = first(tmp_path)
    assert found == Route("weather", "/weather/", found.upstream, found.price)
    assert (found.request_fields, found.answer_fields, found.host) == (NO_RULES, NO_RULES, "upstream")


def test_a_front_without_settings_has_its_defaults(tmp_path: Path) -> None:
    found = from_mapping({}, base=tmp_path, make_secrets=False)
    assert (found.tls, found.trusted_proxies, found.trust_unix) == (None, (), False)
    assert found.timeouts == CallerTimeouts(10.0, 75.0, 30.0, 60.0, 30.0)
    assert (found.limits.request_fields_max, found.limits.connections_max) == (100, 10_000)


def test_a_front_with_settings_has_them(tmp_path: Path) -> None:
    times = {"head": "1s", "keep_alive": "2s", "body": "3s", "send": "4s", "shutdown": "5s"}
    values = full(
        listen="unix:/run/gateway.sock",
        trusted_proxies=["10.0.0.0/8", "unix", "::1", "::1"],
        timeouts=times,
        limits={"request_headers_max": 7, "connections_max": 8},
    )
    found = settings(tmp_path, values)
    assert found.listen == UnixSocket("/run/gateway.sock")
    assert found.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1"))
    assert found.trust_unix
    assert not settings(tmp_path, full(trusted_proxies=["10.0.0.0/8"])).trust_unix
    assert found.timeouts == CallerTimeouts(1.0, 2.0, 3.0, 4.0, 5.0)
    assert (found.limits.request_fields_max, found.limits.connections_max) == (7, 8)


def test_tls_is_two_files_from_the_working_directory_and_makes_the_url_https(tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls/a.pem").touch()
    (tmp_path / "tls/b.pem").touch()
    tls = {"certificate": "tls/a.pem", "key": str(tmp_path / "tls/b.pem")}
    found = settings(tmp_path, full(tls=tls, public_url=None, listen="0.0.0.0:9000"))
    assert found.tls == TlsSettings(tmp_path / "tls/a.pem", tmp_path / "tls/b.pem")
    assert found.public_url == "https://127.0.0.1:9000"
    assert settings(tmp_path, full(tls=tls, public_url="https://a.example")).public_url == "https://a.example"
    cookie = {"tokens": {"cookie": "__Host-token"}, "public_url": None}
    settings(tmp_path, full(tls=tls, **cookie))
    assert only(mistakes(tmp_path, full(**cookie))).path == "tokens.cookie"


def test_an_upstream_may_have_several_servers(tmp_path: Path) -> None:
    found = api(tmp_path, url="https://a.example:8443")
    assert found.servers == (Server("https", "a.example", 8443),)
    values = full(upstreams={"api": {"servers": [B, "unix:/run/api.sock", A]}})
    assert settings(tmp_path, values).upstreams["api"].servers == (
        Server("http", "127.0.0.1", 9002),
        Server("http", "localhost", 80, "/run/api.sock"),
        Server("http", "127.0.0.1", 9001),
    )


def test_everything_about_an_upstream_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    found = api(
        tmp_path,
        url="https://10.0.0.1",
        total_timeout="2m",
        keep_alive="1s",
        retries=0,
        ejection={"failures": 5, "time": "2s", "time_max": "10s"},
        health_check={"path": "/healthz?full=1", "every": "500ms"},
        tls={"ca": "ca.pem", "server_name": "API.example.com"},
    )
    assert (found.total_seconds, found.keep_alive_seconds, found.retries_max) == (120.0, 1.0, 0)
    assert found.ejection == Ejection(5, 2.0, 10.0)
    assert found.check == HealthCheck("/healthz?full=1", 0.5)
    assert (found.ca_file, found.server_name) == (str(tmp_path / "ca.pem"), "api.example.com")
    assert api(tmp_path, health_check={"path": "/"}).check == HealthCheck("/", 5.0)
    assert api(tmp_path, ejection={"failures": 9}).ejection == Ejection(9, 1.0, 60.0)


def test_a_credential_is_a_header_a_parameter_or_basic(tmp_path: Path) -> None:
    header = {"name": "Authorization", "value": "Bearer ${API_KEY}"}
    assert api(tmp_path, {"API_KEY": "abc"}, credential={"header": header}).credential == UpstreamCredential(
        "header", "Authorization", Secret("Bearer abc")
    )
    query = {"name": "api_key", "value": "a b&c"}
    assert api(tmp_path, credential={"query": query}).credential == UpstreamCredential(
        "query", "api_key", Secret("a b&c")
    )
    found = api(tmp_path, credential={"basic": {"user": "Zoë", "password": "a:日"}}).credential
    assert found is not None
    assert (found.place, found.name) == ("header", "Authorization")
    assert base64.b64decode(found.value.reveal().removeprefix("Basic ")).decode() == "Zoë:a:日"
    assert "Basic" not in repr(found)


def test_everything_about_a_route_can_be_said(tmp_path: Path) -> None:
    found = first(
        tmp_path,
        rewrite="/v2/",
        host="API.example.com:8080",
        request_headers={
            "set": {"X-A": "1", "X-B": ""},
            "add": {"X-C": "2", "X-D": ["3", "4"]},
            "remove": ["X-E", "Cookie"],
        },
        answer_headers={"set": {"Cache-Control": "no-store"}},
        concurrency=3,
        context_key=KEY,
    )
    assert found.rewrite == "/v2/"
    assert found.host == "api.example.com:8080"
    assert found.request_fields == FieldRules(
        set=(("X-A", "1"), ("X-B", "")),
        add=(("X-C", "2"), ("X-D", "3"), ("X-D", "4")),
        remove=frozenset({"x-e", "cookie"}),
    )
    assert found.answer_fields == FieldRules(set=(("Cache-Control", "no-store"),))
    assert found.concurrency_max == 3
    assert found.context_key == Secret(KEY)
    assert first(tmp_path, host="caller").host == "caller"


# --- the environment --------------------------------------------------------------------------------------------------


def test_variables_reach_into_sections_of_upstreams_and_routes(tmp_path: Path) -> None:
    environ = {
        "GATEWAY_UPSTREAMS__API__SERVERS": f"{A},{B}",
        "GATEWAY_UPSTREAMS__API__EJECTION__FAILURES": "7",
        "GATEWAY_UPSTREAMS__API__RETRIES": "0",
        "GATEWAY_UPSTREAMS__API__CREDENTIAL__HEADER__NAME": "X-Key",
        "GATEWAY_UPSTREAMS__API__CREDENTIAL__HEADER__VALUE": "abc",
        "GATEWAY_ROUTES__WEATHER__REQUEST_HEADERS__SET": "{X-Version: '2'}",
        "GATEWAY_ROUTES__WEATHER__REQUEST_HEADERS__REMOVE": "X-A, X-B",
        "GATEWAY_ROUTES__WEATHER__CONTEXT_KEY": KEY,
        "GATEWAY_TIMEOUTS__HEAD": "1s",
        "GATEWAY_TRUSTED_PROXIES": "10.0.0.0/8, unix",
    }
    found = settings(tmp_path, full(), environ)
    upstream, weather = found.upstreams["api"], found.routes.routes[0]
    assert [str(server) for server in upstream.servers] == [A, B]
    assert (upstream.ejection, upstream.retries_max) == (Ejection(failures=7), 0)
    assert upstream.credential == UpstreamCredential("header", "X-Key", Secret("abc"))
    assert weather.request_fields == FieldRules(set=(("X-Version", "2"),), remove=frozenset({"x-a", "x-b"}))
    assert weather.context_key == Secret(KEY)
    assert found.timeouts.head_seconds == 1.0
    assert (found.trusted_proxies, found.trust_unix) == ((ip_network("10.0.0.0/8"),), True)


def test_a_header_is_not_set_by_a_variable_of_its_own(tmp_path: Path) -> None:
    found = only(mistakes(tmp_path, full(), {"GATEWAY_ROUTES__WEATHER__REQUEST_HEADERS__SET__X_A": "b"}))
    assert found.words == "there is no such setting; did you mean `GATEWAY_ROUTES__WEATHER__REQUEST_HEADERS__SET`?"


def test_secrets_of_upstreams_and_routes_are_read_from_files(tmp_path: Path) -> None:
    password, key = tmp_path / "password", tmp_path / "key"
    password.write_text("opensesame\n")
    key.write_text(f"{KEY}\n")
    environ = {
        "GATEWAY_UPSTREAMS__WEATHER__CREDENTIAL": "{basic: {user: me}}",
        "GATEWAY_UPSTREAMS__WEATHER__CREDENTIAL__BASIC__PASSWORD_FILE": str(password),
        "GATEWAY_ROUTES__WEATHER__CONTEXT_KEY_FILE": str(key),
    }
    found = settings(tmp_path, full(), environ)
    assert found.routes.routes[0].context_key == Secret(KEY)
    credential = found.upstreams["weather"].credential
    assert credential is not None
    assert base64.b64decode(credential.value.reveal().removeprefix("Basic ")) == b"me:opensesame"


# --- secrets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("credential", "path"),
    [
        ({"header": {"name": "X-Key", "value": PEPPER}}, "header.value"),
        ({"query": {"name": "key", "value": PEPPER}}, "query.value"),
        ({"basic": {"user": "me", "password": PEPPER}}, "basic.password"),
    ],
)
def test_a_credential_that_is_another_secret_is_a_mistake(
    credential: dict[str, Any], path: str, tmp_path: Path
) -> None:
    values = full()
    values["upstreams"]["weather"]["credential"] = credential
    found = only(mistakes(tmp_path, values))
    assert found.path == f"upstreams.weather.credential.{path}"
    assert found.words == "equal secrets for two purposes: this is the same as secrets.peppers; make one for each"


def test_a_context_key_that_is_another_secret_is_a_mistake(tmp_path: Path) -> None:
    found = only(mistakes(tmp_path, full(routes=[route(context_key=PEPPER)])))
    assert found.path == "routes[0].context_key"
    assert found.words == ("equal secrets for two purposes: this is the same as secrets.peppers; make one for each")


def test_upstreams_may_want_to_see_the_same_and_routes_may_share_a_key(tmp_path: Path) -> None:
    upstreams = {
        "weather": {"url": A, "credential": {"header": {"name": "X-Key", "value": KEY}}},
        "other": {"url": B, "credential": {"query": {"name": "key", "value": KEY}}},
    }
    keys = {"context_key": OTHER_KEY}
    settings(tmp_path, full(upstreams=upstreams, routes=[route(**keys), route(name="b", match="/b/", **keys)]))


SPOILT = """\
upstreams:
  api: {url: http://127.0.0.1:9001, retries: 9, credential: {header: {name: X-Key, value: correct-horse}}}
  two: {url: http://127.0.0.1:9002, retries: 9, credential: {basic: {user: battery, password: staple-42}}}
routes:
  - {name: a, match: /a/, upstream: api, price: no, context_key: short-but-secret, answer_headers: {set: {X-A: quiet}}}
"""


@pytest.mark.parametrize("spoil", ["", "\nmode: [", " x: y: z"])
def test_no_mistake_shows_a_credential_a_key_or_a_header(spoil: str, tmp_path: Path) -> None:
    printed = "\n".join(map(str, mistakes_in(SPOILT.rstrip("\n") + spoil + "\n", tmp_path)))
    for text in ("correct-horse", "battery", "staple-42", "short-but-secret", "quiet"):
        assert text not in printed


def test_what_a_variable_puts_into_a_header_is_not_shown(tmp_path: Path) -> None:
    text = FULL.replace("price: free", 'price: free\n    answer_headers: {set: {X-A: "Bearer ${KEY}"}}')
    found = only(mistakes_in(text, tmp_path, {"KEY": "open-sesame\t"}))
    assert found.path == "routes[1].answer_headers.set.X-A"
    assert "open-sesame" not in str(found)
