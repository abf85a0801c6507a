"""The small texts that settings are written in: addresses, amounts, rates, durations, sizes, names, keys.

Each form is a function from text to value that raises ValueError with plain words. The shape calls it to check, the
rules to compare and the builder to build, so that the three cannot disagree. Words about secrets never quote them.
"""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from gateway.core import jwt_keys, targets
from gateway.core.caps import zone_named
from gateway.core.limits import Rate
from gateway.core.money import UNIT_PREFIX, Money, MoneySyntax
from gateway.core.refusals import BadTarget, TargetTooLong
from gateway.core.secrets import Secret
from gateway.core.sign_ins import way_back
from gateway.settings.masking import shown
from gateway.settings.suggestions import did_you_mean

Address = tuple[str, int]
FREE = "free"

SECRET_CHARACTERS_MIN = 32
_SECRET_DIFFERENT_MIN = 8
_KEY_BODY_MIN = 16
_KEY_DIFFERENT_MIN = 2

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_HOSTNAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_NAME = re.compile(r"[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*")
_FIELD_NAME = re.compile(r"[!#$%&'*+.^`|~0-9A-Za-z-]+")
_COOKIE_NAME = re.compile(r"[!#$%&'*+.^`|~0-9A-Za-z_-]+")
_AMOUNT = re.compile(r"([0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?: ?([A-Za-z]{3}))?")
_QUANTITY = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?) ?([A-Za-z]{1,3})")
_RATE = re.compile(r"(\S+?)\s*(?:/|\bper\b)\s*(?:(\d+)\s*)?([A-Za-z]+)")
_MONEY_RATE = re.compile(r"([0-9.]+ ?[A-Za-z]{3})\s*(?:/|\bper\b)\s*(.*)")

_UNITS_OF_TIME = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_UNITS_OF_SIZE = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
MONTH_SECONDS = 30 * 86_400
_WINDOWS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "month": MONTH_SECONDS}
_WINDOW_SHORT = {"s": "second", "sec": "second", "m": "minute", "min": "minute", "h": "hour", "hr": "hour", "d": "day"}
_WINDOW_SECONDS_MAX = 31 * 86_400
_RATE_AMOUNT_MAX = 10**9

_FIELDS_WITH_A_MEANING = frozenset(
    "connection content-encoding content-length content-type cookie date expect host keep-alive origin "
    "proxy-authorization proxy-connection range referer set-cookie te trailer transfer-encoding upgrade user-agent "
    "via".split()
)
_PLACEHOLDER = re.compile(
    r"(?i)^(?:change_?me|your|insert|replace|placeholder|example|secret|password|todo)|\.\.\.|…|[<>*]|x{6,}"
)


@dataclass(frozen=True, slots=True)
class Origin:
    """`scheme://host:port`, and nothing more."""

    scheme: str
    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)

    def __str__(self) -> str:
        default = {"http": 80, "https": 443}[self.scheme]
        return f"{self.scheme}://{bracketed(self.host)}" + ("" if self.port == default else f":{self.port}")


def name(text: str) -> str:
    """What a route, an upstream or an owner is called. Such names stand in variables, logs and metrics."""
    if len(text) > 63 or not _NAME.fullmatch(text):
        raise ValueError(
            f"{shown(text)} cannot be a name: use small letters, digits and single `-` or `_` between them, "
            "a letter first, 63 at most"
        )
    return text


def address(text: str) -> Address:
    """`127.0.0.1:8402` or `[::1]:8402`: where to listen."""
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ValueError(f"{shown(text)} is not an address to listen on; write host:port, such as 127.0.0.1:8402")
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535:
        raise ValueError(f"the port {shown(port)} is not a number from 0 (any free port) to 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f'write an IPv6 address in brackets and quotes: "[{shown(host).strip("`")}]:{port}"')
    if host == "*":
        raise ValueError(f"write 0.0.0.0:{port} to listen on every address")
    return host_name(host), int(port)


def origin(text: str) -> Origin:
    """`https://api.example.com`: where something is reached; no path, no query, no password."""
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise ValueError(f"{shown(text)} holds a blank or a character that an address must not hold")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(f"{shown(text)} is not an address such as https://api.example.com") from None
    if parts.scheme not in ("http", "https") or not text.lower().startswith(f"{parts.scheme}://"):
        raise ValueError(f"{shown(text)} must begin with http:// or https://")
    if "@" in parts.netloc:
        raise ValueError("an address must not hold a user name or password")
    if "?" in text or "#" in text:
        raise ValueError(f"{shown(text.partition('?')[0].partition('#')[0])} must end there: no query, no fragment")
    if parts.path not in ("", "/"):
        raise ValueError(f"the path {shown(parts.path)} is not used: write only scheme, host and port")
    if port == 0 or parts.netloc.endswith(":"):
        raise ValueError(f"{shown(text)} needs a port from 1 to 65535, or none")
    if parts.hostname is None:
        raise ValueError(f"{shown(text)} names no host")
    return Origin(parts.scheme, host_name(parts.hostname), port or {"http": 80, "https": 443}[parts.scheme])


def endpoint(text: str) -> str:
    """`https://shop.example/told?by=farebox`: where something is sent; its path and query are used as they stand."""
    whole, fragment, _ = text.partition("#")
    head, _, _ = whole.partition("?")
    scheme, mark, rest = head.partition("://")
    origin(f"{scheme}{mark}{rest.partition('/')[0]}")
    if fragment or not re.fullmatch(r"[\x21-\x7e]+", text):
        raise ValueError(
            "an address that something is sent to holds no blank, no fragment and no other letters than ASCII"
        )
    return text


def is_private(url: str) -> bool:
    """Whether an address is written in numbers that are not of the internet."""
    try:
        return not ipaddress.ip_address(urlsplit(url).hostname or "").is_global
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


DATABASE_FOLDER = "data"
"""Where the files of our own stand if the store is not one of them."""


def store(text: str) -> str:
    """`sqlite:./data/gateway.db` -> the path of the file; of a database, where its file would be."""
    if database(text) is not None:
        return f"./{DATABASE_FOLDER}/gateway.db"
    scheme, colon, path = text.partition(":")
    if not colon or scheme != "sqlite":
        raise ValueError(
            f"{shown(text)} is no store; the kinds there are: sqlite:<path of a file> and"
            " postgresql://<user>@<host>/<database>"
        )
    if path.startswith("//") and not path.startswith("///"):
        raise ValueError("a store of SQLite is a file, not a host; write sqlite:./data/gateway.db")
    if path.startswith("//"):
        path = path[2:]
    if path.startswith("~"):
        raise ValueError("`~` is not replaced here; write the whole path, or sqlite:${HOME}/…")
    if not path.isprintable() or not path or path.endswith(("/", "/.", "/..")) or path in (".", "..") or "?" in path:
        raise ValueError("write the path of a file after sqlite:, such as sqlite:./data/gateway.db")
    if path.startswith(":memory:"):
        raise ValueError("a store in memory would forget what was paid; write the path of a file")
    return path


def database(text: str) -> str | None:
    """`postgresql://gateway@db.example/gateway` as it is; None for a store that is a file."""
    if not text.startswith(("postgresql:", "postgres:")):
        return None
    try:
        parts = urlsplit(text)
        named = bool(parts.hostname or "host=" in parts.query) and len(parts.path) > 1 and not parts.fragment
    except ValueError:
        named = False
    if not named or not text.isprintable() or " " in text or "://" not in text:
        raise ValueError("write a database as postgresql://<user>@<host>:<port>/<database>")
    return text


def limits_storage(text: str) -> str | None:
    """`redis://cache.example:6379/0` as it is; None for `memory`. It may hold a password, so it is never shown."""
    if text == "memory":
        return None
    try:
        parts = urlsplit(text)
        is_right = bool(parts.hostname) and parts.port != 0 and not parts.fragment and not parts.query
    except ValueError:
        is_right = False
    if not text.startswith(("redis://", "rediss://")) or not is_right or not re.fullmatch(r"/?[0-9]{0,4}", parts.path):
        raise ValueError("write memory, or redis://<host>:<port>/<number>; rediss:// for TLS; the same for Valkey")
    return text


def password_of(text: str) -> str | None:
    """The password in the address of a database, if there is one."""
    parts = urlsplit(text)
    return parts.password or dict(parse_qsl(parts.query)).get("password") or None


def host_label(text: str) -> str:
    """What a host is called among those that share a database."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,62}", text):
        raise ValueError(f"{shown(text)} is no name for a host: up to 63 letters, digits and `.` `_` `:` `-`")
    return text


def currency(text: str) -> str:
    if not re.fullmatch(r"[a-z]{3}", text):
        small = text.lower()
        hint = f"; did you mean `{small}`?" if re.fullmatch(r"[a-z]{3}", small) else ""
        raise ValueError(f"{shown(text)} is not a currency: write its three small letters, such as usd{hint}")
    return text


def time_zone(text: str) -> str:
    zone_named(text)
    return text


def country(text: str) -> str:
    if not re.fullmatch(r"[A-Z]{2}", text):
        big = text.upper()
        hint = f"; did you mean `{big}`?" if re.fullmatch(r"[A-Z]{2}", big) else ""
        raise ValueError(f"{shown(text)} is not a country: write its two capital letters, such as NO{hint}")
    return text


def mail_address(text: str) -> str:
    """`shop@example.com`; no name beside it."""
    local, _, host = text.rpartition("@")
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}", local) or not _HOSTNAME.fullmatch(host):
        raise ValueError(f"{shown(text)} is not an e-mail address; write it plainly, such as shop@example.com")
    return text


def amount(text: str) -> Money:
    """`5.00 usd`, more than nothing."""
    found = _AMOUNT.fullmatch(text.strip())
    if not found:
        raise ValueError(f'{shown(text)} is not an amount; write a number and a currency, such as "0.002 usd"')
    number, code = found.groups()
    if not code:
        raise ValueError(f'write it quoted, with a currency: "{shown(number).strip("`")} usd"')
    try:
        money = Money.parse(f"{number} {code}")
    except MoneySyntax as wrong:
        raise ValueError(str(wrong)) from None
    if not money:
        raise ValueError("an amount of nothing is no amount")
    return money


def grant(text: str) -> Money:
    """What a plan adds: `12.00 usd`, or so many of a named credit, `100 unit:export`."""
    if UNIT_PREFIX not in text:
        return amount(text)
    try:
        credit = Money.parse_grant(text)
    except MoneySyntax as wrong:
        raise ValueError(str(wrong)) from None
    if not credit:
        raise ValueError("so many as none is nothing to grant or to ask for")
    return credit


def price(text: str) -> Money | None:
    """`0.002 usd`, `1 unit:export`, or `free` (None). A price of zero must be said in words."""
    if text == FREE:
        return None
    if UNIT_PREFIX in text:
        return grant(text)
    if text.strip().lower() == FREE:
        raise ValueError("write it in small letters: free")
    try:
        return amount(text)
    except ValueError as wrong:
        if re.fullmatch(r"[0.]+( [A-Za-z]{3})?", text.strip()):
            raise ValueError("a route that costs nothing says so in a word; write: free") from None
        raise ValueError(str(wrong) + (did_you_mean(text, [FREE]) if text.isalpha() else "")) from None


def rate(text: str) -> Rate:
    """`100/minute`, `10 per second`, `5/10 second`."""
    found = _RATE.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{shown(text)} is not a limit; write how many per what, such as 100/minute")
    count, multiple, unit = found.groups()
    window = unit.lower() if unit.lower() in _WINDOWS else unit.lower().removesuffix("s")
    if window not in _WINDOWS:
        hint = f"; did you mean `{_WINDOW_SHORT[unit.lower()]}`?" if unit.lower() in _WINDOW_SHORT else ""
        hint = hint or did_you_mean(unit, _WINDOWS)
        raise ValueError(f"{shown(unit)} is no time of a limit: write second, minute, hour, day or month{hint}")
    if not re.fullmatch(r"[0-9]{1,10}", count) or not 1 <= int(count) <= _RATE_AMOUNT_MAX:
        raise ValueError(f"{shown(count)} is not how many: write a whole number from 1 to {_RATE_AMOUNT_MAX}")
    if multiple and (len(multiple) > 9 or int(multiple) < 1):
        raise ValueError(f"{shown(multiple)} times a {window} is no time of a limit: write 1 or more")
    seconds = int(multiple or 1) * _WINDOWS[window]
    if seconds > _WINDOW_SECONDS_MAX:
        raise ValueError("a limit counts over 31 days at most")
    return Rate(int(count), seconds, text.strip())


def quota(text: str) -> Rate:
    """A rate, or one of money: `5.00 usd/day`."""
    found = _MONEY_RATE.fullmatch(text.strip())
    if not found:
        return rate(text)
    money, span = amount(found[1]), rate(f"1/{found[2]}")
    return Rate(money.micros, span.seconds, text.strip(), currency=money.currency)


def duration(text: str) -> float:
    """`5s`, `500ms`, `2m`, `1h` -> seconds."""
    found = _QUANTITY.fullmatch(text.strip())
    if not found or found[2] not in _UNITS_OF_TIME:
        raise ValueError(f'{shown(text)} is not a duration; write a number with ms, s, m or h, such as "5s"')
    seconds = float(found[1]) * _UNITS_OF_TIME[found[2]]
    if not 0.001 <= seconds <= 86_400:
        raise ValueError(f"{shown(text)} is out of bounds: from 1ms to 24h")
    return seconds


def days(text: str) -> int:
    """`90d` -> days."""
    found = re.fullmatch(r"([0-9]{1,5}) ?d", text.strip())
    if not found or not 1 <= int(found[1]) <= 36_500:
        raise ValueError(f'{shown(text)} is not a number of days from 1 to 36500; write it with a d, such as "90d"')
    return int(found[1])


def size(text: str) -> int:
    """`100 MiB`, `64 KB` -> bytes."""
    found = _QUANTITY.fullmatch(text.strip())
    units = {unit.lower(): factor for unit, factor in _UNITS_OF_SIZE.items()}
    if not found or found[2].lower() not in units:
        raise ValueError(f'{shown(text)} is not a size; write a number with B, KiB, MiB or GiB, such as "100 MiB"')
    bytes_ = float(found[1]) * units[found[2].lower()]
    if bytes_ != int(bytes_) or bytes_ > 2**50:
        raise ValueError(f"{shown(text)} is not a whole number of bytes up to 1 PiB")
    return int(bytes_)


def body_size(text: str) -> int:
    return _between(size(text), 2**10, 2**40, "1 KiB", "1 TiB")


def head_size(text: str) -> int:
    return _between(size(text), 2**14, 2**20, "16 KiB", "1 MiB")


def match(text: str) -> str:
    """A path, or a prefix that ends in `/`, which some request can in fact have."""
    if not text.startswith("/"):
        raise ValueError(f"{shown(text)} must begin with `/`")
    if "?" in text or "#" in text:
        raise ValueError("a match is a path only: no query, no fragment")
    try:
        target = targets.read(text)
    except BadTarget as refused:
        raise ValueError(f"no request could ever have this path: {refused.why}") from None
    except TargetTooLong:
        raise ValueError("no request could ever have this path: it is too long") from None
    if len(targets.readings(target.path)) > 1:
        raise ValueError(
            "no request could ever be let through to this path, since servers read its spelling in different ways; "
            "leave out `//`, `;` and percent-escapes"
        )
    return text


def field_name(text: str) -> str:
    """The header field that may carry a token."""
    if not _FIELD_NAME.fullmatch(text):
        raise ValueError(f"{shown(text)} is not the name of a header: use letters, digits and `-`")
    if text.lower() in _FIELDS_WITH_A_MEANING:
        raise ValueError(f"{shown(text)} means something else in HTTP; use Authorization or a header of your own")
    return text


def local_path(text: str) -> str:
    """`/-/wallet`: an address of this gateway, to send a browser to."""
    if way_back(text, "") != text:
        raise ValueError(f"{shown(text)} is not a path of this gateway; write one that begins with a single /")
    return text


def dotted(text: str) -> str:
    """`payload.Orders`: names, one within another, in an object."""
    if not re.fullmatch(r"[A-Za-z0-9_$-]{1,64}(?:\.[A-Za-z0-9_$-]{1,64}){0,9}", text):
        raise ValueError(f"{shown(text)} is not a place in an object; write names with dots between them")
    return text


def injected(text: str) -> str:
    """`oauth:amazon`: whose token an upstream is told."""
    kind, colon, provider = text.partition(":")
    if kind != "oauth" or not colon:
        raise ValueError(f"{shown(text)} is not something to inject; write oauth: and the name of a provider")
    name(provider)
    return text


def claim(text: str) -> str:
    """A name in a token, or what one says: of an audience, a party."""
    if not 0 < len(text) <= 255 or not text.isprintable() or text != text.strip():
        raise ValueError("it is of 1 to 255 printable characters, without blanks around them")
    return text


def cookie_name(text: str) -> str:
    if not _COOKIE_NAME.fullmatch(text):
        raise ValueError(f"{shown(text)} is not the name of a cookie: use letters, digits, `_` and `-`")
    return text


def secret(text: str) -> str:
    """A key of our own: long, and not the same few signs again and again."""
    if not re.fullmatch(r"[\x21-\x7e]*", text):
        raise ValueError("a secret is of printable ASCII without blanks")
    if _PLACEHOLDER.search(text):
        raise ValueError(f"this is a placeholder, not a secret; {_HOW_TO_MAKE_ONE}")
    if len(text) < SECRET_CHARACTERS_MIN:
        raise ValueError(f"a secret needs {SECRET_CHARACTERS_MIN} characters or more, this has {len(text)}")
    if len(set(text)) < _SECRET_DIFFERENT_MIN:
        raise ValueError(f"this is too easy to guess; {_HOW_TO_MAKE_ONE}")
    return text


def key_pairs(text: str) -> str:
    """Private RSA keys in PEM, one after the other."""
    pems = jwt_keys.blocks(text)
    if not pems:
        raise ValueError("there is no key in PEM here (-----BEGIN PRIVATE KEY-----, …)")
    ids = [jwt_keys.JwtKey(Secret(pem)).id for pem in pems]
    if len(set(ids)) < len(ids):
        raise ValueError("one key stands here twice; each must be another")
    return text


def price_id(text: str) -> str:
    """What Stripe calls a price."""
    if not re.fullmatch(r"price_[A-Za-z0-9_]{1,200}", text):
        raise ValueError(f"{shown(text)} is not the id of a price at Stripe; it begins with price_")
    return text


def stripe_account(text: str) -> str:
    """What Stripe calls an account."""
    if not re.fullmatch(r"acct_[A-Za-z0-9]{1,200}", text):
        raise ValueError(f"{shown(text)} is not the id of an account at Stripe; it begins with acct_")
    return text


def subject(text: str) -> tuple[str, str]:
    """`amazon:amzn1.account.ANNA`: a provider, and what it calls somebody."""
    provider, colon, whom = text.partition(":")
    if not colon or not 0 < len(whom) <= 255 or not whom.isprintable() or whom != whom.strip():
        raise ValueError(f"{shown(text)} names nobody; write a provider, a colon and what it calls the person")
    return name(provider), whom


def stripe_key(text: str) -> str:
    """A secret or restricted API key of Stripe, of either mode."""
    if text.startswith("pk_"):
        raise ValueError("this is Stripe's publishable key; the secret one begins with sk_ or rk_")
    if text.startswith("whsec_"):
        raise ValueError("this is a webhook secret; it belongs under stripe.webhook_secrets")
    kind = re.match(r"(?:sk|rk)_(?:test|live)_", text)
    if not kind:
        raise ValueError("a secret key of Stripe begins with sk_test_, rk_test_, sk_live_ or rk_live_")
    _check_key_body(text[kind.end() :], "key")
    return text


def publishable_key(text: str) -> str:
    """A publishable API key of Stripe, of either mode: the one kind that may be shown."""
    if text.startswith(("sk_", "rk_", "whsec_")):
        raise ValueError("this is a secret, and it would be shown to everybody; the publishable key begins with pk_")
    kind = re.match(r"pk_(?:test|live)_", text)
    if not kind:
        raise ValueError("a publishable key of Stripe begins with pk_test_ or pk_live_")
    _check_key_body(text[kind.end() :], "publishable key")
    return text


def stripe_key_is_live(text: str) -> bool:
    return text.startswith(("sk_live_", "rk_live_"))


def webhook_secret(text: str) -> str:
    """What Stripe shows as the signing secret of a webhook endpoint."""
    if not text.startswith("whsec_"):
        raise ValueError("a webhook secret begins with whsec_")
    _check_key_body(text.removeprefix("whsec_"), "webhook secret")
    return text


_HOW_TO_MAKE_ONE = "make one with: openssl rand -hex 32"


def _check_key_body(body: str, what: str) -> None:
    placeholder = f"this is a placeholder, not a {what}; copy the real one from Stripe's dashboard"
    if _PLACEHOLDER.search(body):
        raise ValueError(placeholder)
    if not re.fullmatch(r"[A-Za-z0-9_+/=-]*", body):
        raise ValueError(f"this {what} holds a character that Stripe never uses; copy it again")
    if len(body) < _KEY_BODY_MIN:
        raise ValueError(f"this {what} is too short to be one; copy it in full")
    if len(set(body)) < _KEY_DIFFERENT_MIN:
        raise ValueError(placeholder)


def _between(value: int, low: int, high: int, low_text: str, high_text: str) -> int:
    if not low <= value <= high:
        raise ValueError(f"out of bounds: from {low_text} to {high_text}")
    return value


def host_name(text: str) -> str:
    """A host name in small letters, or an IP address in its shortest spelling."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        pass
    last = text.rstrip(".").rpartition(".")[2]
    if len(text) > 253 or not _HOSTNAME.fullmatch(text) or last.isdigit():
        raise ValueError(f"{shown(text)} is not a host name or an IP address")
    return text.lower()


def own_host(text: str) -> str:
    """`api.anna.example`, `*.anna.example`, or an IP address: where an owner's upstreams may be."""
    if text.startswith("*."):
        below = host_name(text[2:])
        if not below[-1].isalpha() or "." not in below:
            raise ValueError("write `*.` before a name of two parts or more, such as *.anna.example")
        return f"*.{below}"
    return host_name(text)
