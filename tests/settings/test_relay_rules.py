"""What must agree between settings about the relay."""

import os
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import Mistake
from tests.settings.asking import full, mistakes, only, route, settings

A, B = "http://127.0.0.1:9001", "http://127.0.0.1:9002"


def upstream(**changes: Any) -> dict[str, Any]:
    """The configuration with one upstream of these settings; None takes `url` out."""
    values = {"url": A, **changes}
    return full(
        upstreams={"weather": None, "api": {key: value for key, value in values.items() if value is not None}},
        routes=[],
    )


def on_route(**changes: Any) -> dict[str, Any]:
    return full(routes=[route(**changes)])


def wrong(base: Path, values: dict[str, Any]) -> Mistake:
    return only(mistakes(base, values))


def test_a_unix_socket_needs_a_public_url(tmp_path: Path) -> None:
    found = wrong(tmp_path, full(listen="unix:/run/gateway.sock", public_url=None))
    assert found.path == "listen"
    assert found.words == (
        "nobody outside can be told a unix socket; give public_url as well, such as https://api.example.com"
    )
    settings(tmp_path, full(listen="unix:/run/gateway.sock", public_url="https://a.example"))


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"tls": {"certificate": "missing.pem", "key": "here.pem"}}, "tls.certificate"),
        ({"tls": {"certificate": "here.pem", "key": "missing.pem"}}, "tls.key"),
        (
            {"upstreams": {"api": {"url": "https://a.example", "tls": {"ca": "missing.pem"}}}},
            "upstreams.api.tls.ca",
        ),
    ],
)
def test_a_file_that_is_not_there_is_named(values: dict[str, Any], path: str, tmp_path: Path) -> None:
    (tmp_path / "here.pem").touch()
    found = wrong(tmp_path, full(**values))
    assert (found.path, found.words) == (path, "there is no file `missing.pem`")
    (tmp_path / "missing.pem").touch()
    settings(tmp_path, full(**values))


def test_a_folder_or_a_pipe_is_no_file_and_what_may_not_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.pem").touch()
    found = mistakes(tmp_path, full(tls={"certificate": "folder", "key": "pipe"}))
    assert [mistake.words for mistake in found] == ["there is no file `folder`", "there is no file `pipe`"]

    def forbidden(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbidden)
    found = mistakes(tmp_path, full(tls={"certificate": "a.pem", "key": "a.pem"}))
    assert [mistake.words for mistake in found] == ["`a.pem` cannot be read: permission denied"] * 2


def test_tls_needs_both_files(tmp_path: Path) -> None:
    (tmp_path / "a.pem").touch()
    found = wrong(tmp_path, full(tls={"certificate": "a.pem"}))
    assert found.path == "tls.key"
    assert found.words.startswith("`key` is missing")


def test_an_upstream_has_a_url_or_servers(tmp_path: Path) -> None:
    found = wrong(tmp_path, upstream(url=None))
    assert found.path == "upstreams.api.url"
    assert found.words == "`url` is missing; give it a value, such as `http://127.0.0.1:9001`, or a list in `servers`"
    found = wrong(tmp_path, upstream(servers=[B]))
    assert (found.path, found.words) == (
        "upstreams.api.servers",
        "there is a `url` as well; write all of them here, and no `url`",
    )
    settings(tmp_path, upstream())
    settings(tmp_path, upstream(url=None, servers=[A]))


def test_servers_are_one_to_sixty_four(tmp_path: Path) -> None:
    many = [f"http://127.0.0.1:{port}" for port in range(1, 66)]
    assert len(settings(tmp_path, upstream(url=None, servers=many[:64])).upstreams["api"].servers) == 64
    found = wrong(tmp_path, upstream(url=None, servers=many))
    assert (found.path, found.words) == ("upstreams.api.servers", "the list is too long; give it 64 at most")
    found = wrong(tmp_path, upstream(url=None, servers=[]))
    assert found.words == "the list is empty; give it one or more, or remove it"


@pytest.mark.parametrize(
    "servers", [[A, B, A], ["https://a.example", A, "https://A.example:443/"], ["unix:/a", A, "unix:///a"]]
)
def test_a_server_listed_twice_is_a_mistake(servers: list[str], tmp_path: Path) -> None:
    found = wrong(tmp_path, upstream(url=None, servers=servers))
    assert found.path == "upstreams.api.servers[2]"
    assert found.words == "this is the same as upstreams.api.servers[0]; each in the list must be another"


def test_no_server_is_the_gateway_itself(tmp_path: Path) -> None:
    for url in ("http://127.0.0.1:8402", "http://localhost:8403"):
        found = wrong(tmp_path, upstream(url=None, servers=[A, url]))
        assert found.path == "upstreams.api.servers[1]"
        assert "the gateway itself" in found.words
    socket = upstream(url="unix:/run/./x.sock") | {"listen": "unix:/run/x.sock", "public_url": "https://a.example"}
    assert wrong(tmp_path, socket).words == "this is the gateway itself (`listen`)"
    settings(tmp_path, socket | {"listen": "unix:/run/y.sock"})
    settings(tmp_path, upstream(url="unix:/run/x.sock") | {"listen": "127.0.0.1:80"})


def test_a_mistaken_server_is_told_once_and_with_its_number(tmp_path: Path) -> None:
    found = wrong(tmp_path, upstream(url=None, servers=[A, "b.example"]))
    assert found.path == "upstreams.api.servers[1]"
    assert "must begin with http:// or https://" in found.words


def test_tls_is_for_https_alone(tmp_path: Path) -> None:
    for servers in ([A], ["https://a.example", A], ["unix:/run/x.sock"]):
        found = wrong(tmp_path, upstream(url=None, servers=servers, tls={"server_name": "a.example"}))
        assert found.path == "upstreams.api.tls"
        assert "is not https://" in found.words
    settings(tmp_path, upstream(url="https://10.0.0.1", tls={"server_name": "a.example"}))
    assert "is not a host name" in wrong(tmp_path, upstream(url="https://a", tls={"server_name": "a b"})).words


def test_an_ejection_ends_no_sooner_than_it_begins(tmp_path: Path) -> None:
    words = "`time_max` is shorter than `time`; make it as long or longer"
    found = wrong(tmp_path, upstream(ejection={"time": "5s", "time_max": "4999ms"}))
    assert (found.path, found.words) == ("upstreams.api.ejection.time_max", words)
    found = wrong(tmp_path, upstream(ejection={"time": "61s"}))
    assert (found.path, found.words) == ("upstreams.api.ejection.time", words)
    settings(tmp_path, upstream(ejection={"time": "5s", "time_max": "5s"}))
    settings(tmp_path, upstream(ejection={"time": "60s"}))


HEADER = {"name": "X-Key", "value": "abc"}


def test_an_upstream_has_one_credential(tmp_path: Path) -> None:
    for given, words in (
        ({}, "give one of header, query and basic"),
        ({"header": HEADER, "query": {"name": "key", "value": "x"}}, "give one of header, query and basic, not 2"),
    ):
        found = wrong(tmp_path, upstream(credential=given))
        assert (found.path, found.words) == ("upstreams.api.credential", words)
    found = wrong(tmp_path, upstream(credential={"headr": HEADER}))
    assert found.path == "upstreams.api.credential.headr"
    settings(tmp_path, upstream(credential={"header": HEADER}))


@pytest.mark.parametrize(
    ("credential", "path", "words"),
    [
        ({"header": {**HEADER, "name": "Host"}}, "header.name", "the gateway's own business"),
        ({"header": {**HEADER, "name": "X_Key"}}, "header.name", "which many servers read as `-`"),
        ({"header": {**HEADER, "value": "hunter2\n"}}, "header.value", "one line of printable Latin-1"),
        ({"header": {"name": "X-Key"}}, "header.value", "`value` is missing"),
        ({"header": {**HEADER, "value": 12}}, "header.value", "expected is a secret; quote it"),
        ({"query": {"name": "a b", "value": "x"}}, "query.name", "is not the name of a parameter"),
        ({"query": {"name": "a", "value": ""}}, "query.value", "this is empty"),
        ({"basic": {"user": "a:b", "password": "x"}}, "basic.user", "no colon"),
        ({"basic": {"user": "a", "password": ""}}, "basic.password", "one or more printable characters"),
        ({"basic": {"user": "a"}}, "basic.password", "`password` is missing"),
    ],
)
def test_a_mistaken_credential_is_explained(credential: dict[str, Any], path: str, words: str, tmp_path: Path) -> None:
    found = wrong(tmp_path, upstream(credential=credential))
    assert found.path == f"upstreams.api.credential.{path}"
    assert words in found.words
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"retries": -1}, "retries", "it must be 0 or more"),
        ({"retries": 6}, "retries", "it must be 5 or less"),
        ({"ejection": {"failures": 0}}, "ejection.failures", "it must be 1 or more"),
        ({"ejection": {"failures": 1001}}, "ejection.failures", "it must be 1000 or less"),
        ({"ejection": {"time": "0s"}}, "ejection.time", "from 1ms to 24h"),
        ({"total_timeout": "25h"}, "total_timeout", "from 1ms to 24h"),
        ({"keep_alive": 30}, "keep_alive", "expected is a duration"),
        ({"health_check": {"every": "5s"}}, "health_check.path", "`path` is missing"),
        ({"health_check": {"path": "healthz"}}, "health_check.path", "must begin with `/`"),
        ({"health_check": {"path": "/", "every": "0s"}}, "health_check.every", "from 1ms to 24h"),
        ({"tls": {"ca": "~/x"}}, "tls.ca", "`~` is not replaced"),
    ],
)
def test_a_mistaken_upstream_is_explained(changes: dict[str, Any], path: str, words: str, tmp_path: Path) -> None:
    found = wrong(tmp_path, upstream(url="https://a.example", **changes))
    assert found.path == f"upstreams.api.{path}"
    assert words in found.words


@pytest.mark.parametrize("changes", [{"retries": 0}, {"retries": 5}, {"ejection": {"failures": 1000}}])
def test_an_upstream_at_the_edge_is_right(changes: dict[str, Any], tmp_path: Path) -> None:
    settings(tmp_path, upstream(**changes))


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"limits": {"request_headers_max": 0}}, "limits.request_headers_max", "it must be 1 or more"),
        ({"limits": {"request_headers_max": 1001}}, "limits.request_headers_max", "it must be 1000 or less"),
        ({"limits": {"connections_max": 0}}, "limits.connections_max", "it must be 1 or more"),
        ({"limits": {"connections_max": 1_000_001}}, "limits.connections_max", "it must be 1000000 or less"),
        ({"timeouts": {"head": "0s"}}, "timeouts.head", "from 1ms to 24h"),
        ({"timeouts": {"keep_alive": "25h"}}, "timeouts.keep_alive", "from 1ms to 24h"),
        ({"timeouts": {"body": "5"}}, "timeouts.body", "is not a duration"),
        ({"timeouts": {"send": 5}}, "timeouts.send", "expected is a duration"),
        ({"timeouts": {"shutdown": "0.9ms"}}, "timeouts.shutdown", "from 1ms to 24h"),
        ({"timeouts": {"haed": "1s"}}, "timeouts.haed", "did you mean `head`?"),
        ({"trusted_proxies": ["10.0.0.1/8"]}, "trusted_proxies[0]", "did you mean `10.0.0.0/8`?"),
        ({"trusted_proxies": "unix"}, "trusted_proxies", "expected here is a list of address, network or `unix`"),
        ({"listen": "unix:x.sock"}, "listen", "is absolute"),
        ({"admin": "unix:/run/x.sock"}, "admin", "is not a number from 0"),
    ],
)
def test_a_mistaken_setting_of_the_front_is_explained(
    changes: dict[str, Any], path: str, words: str, tmp_path: Path
) -> None:
    found = wrong(tmp_path, full(**changes))
    assert found.path == path
    assert words in found.words


@pytest.mark.parametrize(
    "changes",
    [
        {"limits": {"request_headers_max": 1, "connections_max": 1}},
        {"limits": {"request_headers_max": 1000, "connections_max": 1_000_000}},
        {"timeouts": {"head": "1ms", "shutdown": "24h"}},
    ],
)
def test_a_front_at_the_edge_is_right(changes: dict[str, Any], tmp_path: Path) -> None:
    settings(tmp_path, full(**changes))


def test_a_path_is_rewritten_in_one_way(tmp_path: Path) -> None:
    found = wrong(tmp_path, on_route(rewrite="/v2/", strip_prefix=True))
    assert (found.path, found.words) == (
        "routes[0].rewrite",
        "strip_prefix rewrites the path to `/` already; remove one of the two",
    )
    settings(tmp_path, on_route(rewrite="/v2/", strip_prefix=False))


def test_a_rewritten_path_ends_as_its_match_does(tmp_path: Path) -> None:
    found = wrong(tmp_path, on_route(rewrite="/v2"))
    assert (found.path, found.words) == ("routes[0].rewrite", "`match` is `/weather/`, so this must end in `/` as well")
    found = wrong(tmp_path, on_route(rewrite="/v2/", match="/weather"))
    assert found.words == "`match` is `/weather`, so this must not end in `/` either"
    settings(tmp_path, on_route(rewrite="/", match="/weather/"))
    settings(tmp_path, on_route(rewrite="/v2", match="/weather"))


@pytest.mark.parametrize("section", ["request_headers", "answer_headers"])
@pytest.mark.parametrize(
    ("rules", "path", "words"),
    [
        ({"set": {"Host": "a"}}, "set.Host", "the gateway's own business"),
        ({"set": {"Gateway-Cost": "0"}}, "set.Gateway-Cost", "the gateway's own business"),
        ({"add": {"Content-Length": "0"}}, "add.Content-Length", "the gateway's own business"),
        ({"remove": ["X-Forwarded-For"]}, "remove[0]", "the gateway's own business"),
        ({"remove": ["X_A"]}, "remove[0]", "which many servers read as `-`"),
        ({"set": {"X-A": "hunter2\r\nX-B: c"}}, "set.X-A", "one line of printable Latin-1"),
        ({"set": {"X-A": 1}}, "set.X-A", "expected is a header value; quote it"),
        ({"set": {"X-A": ["a"]}}, "set.X-A", "a header value, not a list"),
        ({"add": {"X-A": 1}}, "add.X-A", "expected is a header value; quote it"),
        ({"add": {"X-A": ["a", 1]}}, "add.X-A[1]", "expected is a header value; quote it"),
        ({"add": {"X-A": "hunter2\n"}}, "add.X-A", "one line of printable Latin-1"),
        ({"add": {"X-A": []}}, "add.X-A", "the list is empty"),
        ({"add": {"X-A": {"a": "b"}}}, "add.X-A", "a list of header value"),
        ({"set": {"X-A": "a", "x-a": "b"}}, "set.x-a", "`X-A` and `x-a` are the same header; write one of them"),
        ({"add": {"X-A": "a", "x-a": "b"}}, "add.x-a", "`X-A` and `x-a` are the same header; write one of them"),
        ({"set": {"X-A": "a"}, "remove": ["X-B", "x-a"]}, "remove[1]", "`x-a` is also set, which replaces it anyway"),
        ({"set": "X-A: a"}, "set", "each as `name: value`"),
        ({"delete": ["X-A"]}, "delete", "there is: set, add, remove"),
    ],
)
def test_a_mistaken_rule_for_headers_is_explained(
    section: str, rules: dict[str, Any], path: str, words: str, tmp_path: Path
) -> None:
    found = wrong(tmp_path, on_route(**{section: rules}))
    assert found.path == f"routes[0].{section}.{path}"
    assert words in found.words
    assert "hunter2" not in str(found)


def test_a_header_may_be_removed_and_added(tmp_path: Path) -> None:
    settings(tmp_path, on_route(request_headers={"remove": ["X-A"], "add": {"X-A": "b"}}))
    settings(tmp_path, on_route(answer_headers={"set": {"X-A": "a", "Date": "x"}, "add": {"X-A": "b"}}))


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"host": "calller"}, "host", "did you mean `caller`?"),
        ({"concurrency": 0}, "concurrency", "it must be 1 or more"),
        ({"concurrency": 65_536}, "concurrency", "it must be 65535 or less"),
        ({"context_key": "0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e5"}, "context_key", "32 characters or more, this has 31"),
        ({"rewrite": "v2/"}, "rewrite", "must begin with `/`"),
    ],
)
def test_a_mistaken_route_is_explained(changes: dict[str, Any], path: str, words: str, tmp_path: Path) -> None:
    found = wrong(tmp_path, on_route(**changes))
    assert found.path == f"routes[0].{path}"
    assert words in found.words


@pytest.mark.parametrize("concurrency", [1, 65_535])
def test_a_route_at_the_edge_is_right(concurrency: int, tmp_path: Path) -> None:
    found = settings(tmp_path, on_route(concurrency=concurrency))
    assert found.routes.routes[0].concurrency_max == concurrency
