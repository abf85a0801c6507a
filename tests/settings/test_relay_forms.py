"""The small texts of the relay, inside and just outside their edges."""

from ipaddress import ip_network

import pytest

from gateway.core.routes import Server
from gateway.settings import UnixSocket, relay_forms
from tests.settings.test_forms import refused


def test_a_listener_is_an_address_or_a_socket() -> None:
    assert relay_forms.listener("127.0.0.1:8402") == ("127.0.0.1", 8402)
    for text in ("unix:/run/gateway.sock", "unix:///run/gateway.sock"):
        assert relay_forms.listener(text) == UnixSocket("/run/gateway.sock")
    for text, words in {
        "8402": "write host:port",
        "unix:": "is absolute",
        "unix:run/x.sock": "`run/x.sock` does not begin with `/`",
        "unix:./x.sock": "is absolute",
        "unix:8402": "is absolute",
        "unix:@name": "is absolute",
        "unix://run/x.sock": "a file, not a host",
        "unix:/": "write the path of a socket",
        "unix:/run/": "write the path of a socket",
        "unix:/run/..": "write the path of a socket",
        "unix:/run/\x00": "write the path of a socket",
        "unix:/a\nb": "write the path of a socket",
    }.items():
        assert words in refused(relay_forms.listener, text), text


def test_the_path_of_a_socket_fits_into_its_address() -> None:
    assert relay_forms.listener("unix:/" + "a" * 106) == UnixSocket("/" + "a" * 106)
    assert refused(relay_forms.listener, "unix:/" + "a" * 107).endswith("has 107 bytes at most, this has 108")
    assert "this has 109" in refused(relay_forms.server, "unix:/" + "é" * 54)


def test_a_server_is_an_origin_or_a_socket() -> None:
    assert relay_forms.server("http://127.0.0.1:9001") == Server("http", "127.0.0.1", 9001)
    assert relay_forms.server("https://API.example.com/") == Server("https", "api.example.com", 443)
    assert relay_forms.server("http://[::1]:80") == Server("http", "::1", 80)
    assert relay_forms.server("unix:/run/api.sock") == Server("http", "localhost", 80, "/run/api.sock")
    for text, words in {
        "ftp://a": "must begin with http:// or https://",
        "http://a/base": "the path `/base` is not used",
        "http://me:pw@a": "user name or password",
        "unix:api.sock": "is absolute",
    }.items():
        assert words in refused(relay_forms.server, text)


def test_a_front_is_an_address_a_network_or_unix() -> None:
    for text, network in {
        "127.0.0.1": "127.0.0.1/32",
        "::1": "::1/128",
        "10.0.0.0/8": "10.0.0.0/8",
        "10.0.0.0/255.0.0.0": "10.0.0.0/8",
        "fd00::/8": "fd00::/8",
        "0.0.0.0/0": "0.0.0.0/0",
    }.items():
        assert relay_forms.proxy(text) == ip_network(network)
    assert relay_forms.proxy("unix") is None
    for text, words in {
        "10.0.0.1/8": "did you mean `10.0.0.0/8`?",
        "::1/64": "did you mean `::/64`?",
        "10.0.0.0/33": "is not an address or a network",
        "10.0.0": "is not an address or a network",
        "front.example.com": "is not an address or a network",
        "fe80::1%eth0": "is not an address or a network",
        "": "is not an address or a network",
        "Unix": "did you mean `unix`?",
    }.items():
        assert words in refused(relay_forms.proxy, text), text


def test_a_file_is_a_path_without_tricks() -> None:
    for text in ("a.pem", "./tls/a.pem", "/etc/tls/a.pem"):
        assert relay_forms.file(text) == text
    for text in ("", ".", "..", "tls/", "tls/..", "~/a.pem", "a\x00", "a\nb", "\ud800"):
        assert refused(relay_forms.file, text)


def test_a_rewritten_path_is_plain() -> None:
    for text in ("/", "/v2/", "/v2", "/a-b_c.d~e/", "/.well-known/", "/..a/", "/a=b,c:d@e/"):
        assert relay_forms.rewrite(text) == text
    for text, words in {
        "": "must begin with `/`",
        "v2/": "must begin with `/`",
        "/v2?x=1": "no query",
        "/v2#x": "no query",
        "/a//b/": "a plain path",
        "//": "a plain path",
        "/a%20b/": "a plain path",
        "/a;b/": "a plain path",
        "/a b/": "a plain path",
        "/ä/": "a plain path",
        "/a\\b/": "a plain path",
        "/a\n": "a plain path",
        "/./": "a dot segment",
        "/a/../": "a dot segment",
        "/a/..": "a dot segment",
    }.items():
        assert words in refused(relay_forms.rewrite, text), text
    assert relay_forms.rewrite("/" + "a" * 1023)
    assert "1024 characters at most here, this has 1025" in refused(relay_forms.rewrite, "/" + "a" * 1024)


def test_a_health_check_asks_for_a_target_that_can_be_sent() -> None:
    for text in ("/", "/healthz", "/healthz?full=1", "/" + "a" * 1023):
        assert relay_forms.check_path(text) == text
    for text, words in {
        "healthz": "must begin with `/`",
        "*": "must begin with `/`",
        "http://a/healthz": "must begin with `/`",
        "/a b": "percent-encoded",
        "/a\r\nX: y": "percent-encoded",
        "/a/../b": "a dot segment",
        "/" + "a" * 1024: "1024 characters at most",
        "/" + "a" * 9000: "1024 characters at most",
    }.items():
        assert words in refused(relay_forms.check_path, text)


def test_a_host_is_one_of_two_words_or_a_name() -> None:
    for text, host in {
        "upstream": "upstream",
        "caller": "caller",
        "API.example.com": "api.example.com",
        "api.example.com:8080": "api.example.com:8080",
        "intranet": "intranet",
        "upstreams:80": "upstreams:80",
        "10.0.0.1": "10.0.0.1",
        "[::1]": "[::1]",
        "[::1]:65535": "[::1]:65535",
    }.items():
        assert relay_forms.host(text) == host
    for text, words in {
        "": "is not a host name",
        "Upstream": "did you mean `upstream`?",
        "calller": "did you mean `caller`?",
        "a.example:0": "from 1 to 65535",
        "a.example:65536": "from 1 to 65535",
        "a.example:": "from 1 to 65535",
        "a.example:x": "from 1 to 65535",
        ":80": "is not a host name",
        "::1": "in brackets",
        "http://a.example": "write only its name",
        "a.example/x": "write only its name",
        "a b.example": "is not a host name",
        "a.example\r\nX: y": "is not a number",
        "me@a.example": "is not a host name",
        "[a.example]:80:80": "in brackets",
    }.items():
        assert words in refused(relay_forms.host, text), text


OWN = (
    "Host Connection Content-Length Transfer-Encoding TE Trailer Upgrade Expect Keep-Alive Proxy-Authorization "
    "Proxy-Connection Proxy-X X-Forwarded-For X-Forwarded-Anything X-Real-IP Forwarded Via Traceparent Gateway-Cost "
    "gateway-context HTTP2-Settings"
).split()


@pytest.mark.parametrize("name", OWN)
def test_a_header_that_the_relay_answers_for_is_nobody_elses(name: str) -> None:
    assert "the gateway's own business" in refused(relay_forms.field_name, name)
    assert "the gateway's own business" in refused(relay_forms.field_name, name.swapcase())


def test_other_headers_are_an_operators() -> None:
    for text in ("Authorization", "X-Api-Key", "Date", "Cookie", "Set-Cookie", "Proxy", "Viaduct", "X-Forwarded", "A"):
        assert relay_forms.field_name(text) == text
    assert "which many servers read as `-`" in refused(relay_forms.field_name, "X_Api")
    for text in ("", "a b", "a:", "ä", "a\r\n", "(a)"):
        assert "is not the name of a header" in refused(relay_forms.field_name, text)


def test_a_header_value_is_one_line_of_latin_1() -> None:
    for text in ("", "a", "a b", "max-age=3600, public", "\xe9\xff\x7e\x21"):
        assert relay_forms.field_value(text) == text
    for text in ("a\tb", "a\r\nX: y", "a\n", "\x00", "\x7f", "\x80", "\x9f", "Ā", "日", "\ud800"):
        assert "one line of printable Latin-1" in refused(relay_forms.field_value, text)
    for text in (" a", "a ", "\xa0a", " "):
        assert "no blanks around it" in refused(relay_forms.field_value, text)


def test_a_credential_is_of_any_length_but_of_one_line() -> None:
    for text in ("a", "Bearer abc", "\xe9"):
        assert relay_forms.credential(text) == text
    assert "this is empty" in refused(relay_forms.credential, "")
    for text in ("hunter2\n", "hunter2\r\nX: y", "hunter2\x00", "hunter2\x9f", "hunter2Ā"):
        assert "one line of printable Latin-1" in refused(relay_forms.credential, text)
        assert "hunter2" not in refused(relay_forms.credential, text)
    for text in (" a", "a ", "\xa0a"):
        assert "no blanks around it" in refused(relay_forms.credential, text)


def test_the_name_of_a_parameter_needs_no_encoding() -> None:
    for text in ("api_key", "key", "a.b~c-d", "1"):
        assert relay_forms.query_name(text) == text
    for text in ("", "a b", "a=b", "a&b", "a%20", "a[]", "ä"):
        assert "is not the name of a parameter" in refused(relay_forms.query_name, text)


def test_a_user_has_no_colon_and_a_password_is_not_empty() -> None:
    assert (relay_forms.user("me"), relay_forms.password("a:b é日")) == ("me", "a:b é日")
    assert "no colon" in refused(relay_forms.user, "me:you")
    for text in ("", "a\n", "a\x00", "\x7f"):
        assert "printable characters" in refused(relay_forms.user, text)
        assert "printable characters" in refused(relay_forms.password, text)
