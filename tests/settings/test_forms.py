"""The small texts, inside and just outside their edges."""

from collections.abc import Callable

import pytest

from gateway.core.limits import Rate
from gateway.core.money import Money
from gateway.settings import forms


def refused(form: Callable[[str], object], text: str) -> str:
    with pytest.raises(ValueError, match=r".") as raised:
        form(text)
    return str(raised.value)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100/minute", (100, 60)),
        ("10 per second", (10, 1)),
        ("5/10 second", (5, 10)),
        ("5 / 10 seconds", (5, 10)),
        ("1 per 2 hours", (1, 7200)),
        ("1000000000/31 days", (10**9, 31 * 86_400)),
        ("7/Day", (7, 86_400)),
    ],
)
def test_a_limit_is_how_many_per_what(text: str, rate: tuple[int, int]) -> None:
    assert forms.rate(text) == Rate(*rate, text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("100", "write how many per what, such as 100/minute"),
        ("100/min", "did you mean `minute`?"),
        ("100/m", "did you mean `minute`?"),
        ("100/minuet", "did you mean `minute`?"),
        ("100/week", "write second, minute, hour, day or month"),
        ("0/minute", "a whole number from 1"),
        ("1.5/minute", "a whole number from 1"),
        ("-1/minute", "a whole number from 1"),
        ("1000000001/minute", "a whole number from 1"),
        ("many/minute", "a whole number from 1"),
        ("5/0 second", "write 1 or more"),
        ("5/32 days", "31 days at most"),
        ("5/99999999999 second", "write 1 or more"),
        ("", "is not a limit"),
        ("minute", "is not a limit"),
    ],
)
def test_a_bad_limit_is_explained(text: str, words: str) -> None:
    assert words in refused(forms.rate, text)


def test_a_price_is_an_amount_or_free() -> None:
    assert forms.price("free") is None
    assert forms.price("0.002 usd") == Money(2000, "usd")
    assert forms.price("0.000001 usd") == Money(1, "usd")
    for text, words in {
        "0.002": 'write it quoted, with a currency: "0.002 usd"',
        "0.002 dollars": "is not an amount",
        "$0.002": "is not an amount",
        "-1 usd": "is not an amount",
        "0.0000001 usd": "finer than a millionth",
        "0 usd": "write: free",
        "0.00 usd": "write: free",
        "0": "write: free",
        "Free": "write it in small letters: free",
        "fre": "did you mean `free`?",
        "9999999999999 usd": "more than an account can hold",
        "": "is not an amount",
    }.items():
        assert words in refused(forms.price, text)


def test_a_top_up_is_more_than_nothing() -> None:
    assert forms.amount("5 usd") == Money(5_000_000, "usd")
    assert "nothing" in refused(forms.amount, "0 usd")
    assert "is not an amount" in refused(forms.amount, "free")


def test_an_address_is_a_host_and_a_port() -> None:
    assert forms.address("127.0.0.1:0") == ("127.0.0.1", 0)
    assert forms.address("localhost:65535") == ("localhost", 65535)
    assert forms.address("[::1]:80") == ("::1", 80)
    for text, words in {
        "8402": "write host:port",
        ":8402": "write host:port",
        "127.0.0.1": "write host:port",
        "127.0.0.1:65536": "from 0 (any free port) to 65535",
        "127.0.0.1:-1": "from 0",
        "127.0.0.1:http": "from 0",
        "127.0.0.1:": "from 0",
        "::1:80": 'write an IPv6 address in brackets and quotes: "[::1]:80"',
        "*:80": "write 0.0.0.0:80",
        "256.0.0.1:80": "not a host name or an IP address",
        "a b:80": "not a host name",
        "-x:80": "not a host name",
        "http://localhost:80": "in brackets",
    }.items():
        assert words in refused(forms.address, text)


def test_an_origin_is_scheme_host_and_port() -> None:
    for text, written in {
        "http://127.0.0.1:9001": "http://127.0.0.1:9001",
        "https://API.example.com/": "https://api.example.com",
        "HTTPS://a:443": "https://a",
        "http://[::1]:80": "http://[::1]",
        "http://my_service:3000": "http://my_service:3000",
    }.items():
        assert str(forms.origin(text)) == written
    for text, words in {
        "ftp://a": "must begin with http:// or https://",
        "a.example.com": "must begin with",
        "http:a": "must begin with",
        "http://": "names no host",
        "http://a/base": "the path `/base` is not used",
        "http://a?x=1": "no query, no fragment",
        "http://a/?": "no query, no fragment",
        "http://a#x": "no query, no fragment",
        "http://me@a": "user name or password",
        "http://me:pw@a": "user name or password",
        "http://a:0": "a port from 1",
        "http://a:65536": "is not an address",
        "http://a:": "a port from 1",
        "http://[::1": "is not an address",
        "http://a b": "a blank",
        "http://a\n": "a blank",
        "http://ä.example": "a character",
        "http://1.2.3": "not a host name",
        "": "a blank",
    }.items():
        assert words in refused(forms.origin, text)


def test_loopback_is_this_machine_alone() -> None:
    assert all(map(forms.is_loopback, ["127.0.0.1", "127.9.9.9", "::1", "localhost", "x.localhost"]))
    assert not any(map(forms.is_loopback, ["10.0.0.1", "::", "localhost.example.com", "example.com"]))


def test_durations_and_sizes_have_a_unit() -> None:
    assert (forms.duration("500ms"), forms.duration("1.5 s"), forms.duration("24h")) == (0.5, 1.5, 86_400)
    assert (forms.size("100 MiB"), forms.size("1kb"), forms.size("0.5 KiB")) == (100 * 2**20, 1000, 512)
    for text in ("5", "5 sec", "-1s", "0s", "25h", "", "s", "1e3s"):
        assert refused(forms.duration, text)
    for text in ("5", "5 bits", "-1 B", "0.3 B", "2000000 GiB", "", "MiB"):
        assert refused(forms.size, text)
    assert forms.head_size("16 KiB") == 2**14
    assert "from 16 KiB to 1 MiB" in refused(forms.head_size, "15 KiB")
    assert "from 1 KiB to 1 TiB" in refused(forms.body_size, "1023 B")


def test_a_match_is_a_path_that_a_request_can_have() -> None:
    for text in ("/", "/weather/", "/v1/chat", "/a-b_c.d~e/"):
        assert forms.match(text) == text
    for text, words in {
        "weather/": "must begin with `/`",
        "": "must begin with `/`",
        "/a?b": "no query",
        "/a#b": "no query",
        "/a/../b": "a dot segment",
        "/a/%2e%2e/b": "a dot segment",
        "/a b": "must be percent-encoded",
        "/ä": "must be percent-encoded",
        "/%zz": "begins no escape",
        "/%00": "control character",
        "/a//b/": "in different ways",
        "/a%2fb/": "in different ways",
        "/we%61ther/": "in different ways",
        "/a;b/": "in different ways",
        "/" + "a" * 9000: "too long",
    }.items():
        assert words in refused(forms.match, text)


def test_a_store_is_a_file_of_sqlite() -> None:
    assert forms.store("sqlite:./data/x.db") == "./data/x.db"
    assert forms.store("sqlite:///var/x.db") == "/var/x.db"
    assert "the kinds there are: sqlite:" in refused(forms.store, "mysql://me:pw@db/x")
    assert "pw" not in refused(forms.store, "mysql://me:pw@db/x")
    for text in (
        "x.db",
        "sqlite:",
        "sqlite:data/",
        "sqlite:..",
        "sqlite::memory:",
        "sqlite://host/x",
        "sqlite:x?mode=ro",
        "sqlite:~/x",
        "sqlite:a\ud800",
    ):
        assert refused(forms.store, text)


def test_a_store_may_be_a_database() -> None:
    for text in (
        "postgresql://gateway@db.example/gateway",
        "postgres://gateway:pw@[::1]:5432/gateway?sslmode=verify-full",
        "postgresql://gateway@/gateway?host=/run/postgresql",
    ):
        assert forms.database(text) == text
        assert forms.store(text) == "./data/gateway.db"
    assert forms.database("sqlite:./data/x.db") is None
    assert forms.password_of("postgres://gateway:pw@db/x") == forms.password_of("postgres://db/x?password=pw") == "pw"
    assert forms.password_of("postgres://gateway@db/x") is None
    for text in ("postgresql:gateway", "postgres://db", "postgres:///x", "postgres://db/x y", "postgres://[db/x"):
        assert "postgresql://<user>@" in refused(forms.store, text)
    assert "pw" not in refused(forms.store, "postgres://me:pw@db")


def test_a_host_has_a_name_that_can_be_told() -> None:
    for text in ("shop-1", "web1.example:8402", "a" * 63):
        assert forms.host_label(text) == text
    for text in ("", "a" * 64, "-a", "a b", "a/b", "ä"):
        assert refused(forms.host_label, text)


def test_names_headers_and_cookies_have_their_letters() -> None:
    for text in ("a", "weather-2", "my_api", "a" * 63):
        assert forms.name(text) == text
    for text in ("", "Weather", "2weather", "a--b", "a__b", "a-", "-a", "a.b", "a" * 64, "ä"):
        assert refused(forms.name, text)
    assert forms.field_name("X-Api-Key") == "X-Api-Key"
    for text in ("", "Cookie", "host", "content-length", "x_key", "a b", "a:"):
        assert refused(forms.field_name, text)
    assert forms.cookie_name("__Host-token") == "__Host-token"
    for text in ("", "a b", "a=b", "a;b"):
        assert refused(forms.cookie_name, text)


def test_a_currency_is_three_small_letters() -> None:
    assert forms.currency("usd") == "usd"
    assert "did you mean `usd`?" in refused(forms.currency, "USD")
    for text in ("", "us", "dollar", "u5d", "$"):
        assert refused(forms.currency, text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pk_test_51Nq8JkLmPzRtVwXyAbCdEf", "publishable"),
        ("whsec_9fK2mQ7xTzB4nH8vLc3YpR6s", "belongs under stripe.webhook_secrets"),
        ("sk_test_", "too short"),
        ("sk_test_abc123", "too short"),
        ("sk_test_xxx", "too short"),
        ("sk_test_xxxxxxxxxxxxxxxxxxxxxxxx", "a placeholder"),
        ("sk_test_000000000000000000000", "a placeholder"),
        ("sk_test_your_key_goes_here_please", "a placeholder"),
        ("sk_test_...", "a placeholder"),
        ("sk_test_<insert your key here>", "a placeholder"),
        ("sk_test_51Nq8JkLmPz RtVwXyAbCdEf", "never uses"),
        ("changeme", "begins with sk_test_"),
        ("", "begins with sk_test_"),
    ],
)
def test_what_is_no_secret_key_of_stripe_is_told_apart(text: str, words: str) -> None:
    assert words in refused(forms.stripe_key, text)
    assert len(text) < 9 or text not in refused(forms.stripe_key, text)


def test_keys_of_stripe_of_every_kind_are_taken() -> None:
    for kind in ("sk_test_", "rk_test_", "sk_live_", "rk_live_"):
        assert forms.stripe_key(kind + "51Nq8JkLmPzRtVwX")
        assert refused(forms.stripe_key, kind + "51Nq8JkLmPzRtVw")
    assert forms.webhook_secret("whsec_9fK2mQ7xTzB4nH8v")
    for text in ("whsec_9fK2mQ7xTzB4nH8", "9fK2mQ7xTzB4nH8vLc3YpR6s", "whsec_changeme-changeme-changeme", "whsec_..."):
        assert refused(forms.webhook_secret, text)


def test_a_secret_is_long_and_not_easy_to_guess() -> None:
    assert forms.secret("0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e5f")
    for text, words in {
        "0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e5": "32 characters or more, this has 31",
        "a" * 40: "easy to guess",
        "changeme": "placeholder",
        "0c9d8e7f6a5b4c3d 2e1f0a9b8c7d6e5f": "without blanks",
        "": "this has 0",
    }.items():
        assert words in refused(forms.secret, text)


def test_a_time_zone_is_one_of_the_worlds() -> None:
    assert forms.time_zone("Europe/Berlin") == "Europe/Berlin"
    for text in ("Europe/Nowhere", "../etc/passwd", "", "CEST+2"):
        assert "write one such as Europe/Berlin" in refused(forms.time_zone, text)
