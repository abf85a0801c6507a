"""Access tokens: their shape, their digest, and where a request carries one.

A token is `fb_` + mode + `_` + key id + identity + signature: `fb_test_1a2b` + 24 + 16 characters. The signature is a
truncated HMAC by the keyring, so one of ours is recognised without a database row, and nobody can choose a token: a
caller that has not paid yet costs no disk. The account of such a token is derived from it by the same key, so a payment
and a retry agree on the account before any row exists. A token that a holder had made for an account that is there
already is *issued*: it is signed for that purpose, says nothing of its account, and is good only if it is on record.

At rest a token is only ever `HMAC-SHA256(pepper, token)`. No password hashing: a token has 128 random bits, so there is
nothing to guess, and an O(1) digest keeps it off the request's bill. The pepper is not the keyring's secret: who steals
one of them and the database can neither forge tokens nor test guesses.
"""

import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gateway.core.ids import account_id
from gateway.core.keyring import KEY_ID_CHARS, Keyring, UnknownKey
from gateway.core.secrets import Secret

Mode = Literal["test", "live"]
Place = Literal["header", "cookie", "query"]

PREFIX = "fb_"
IDENTITY_BYTES = 18  # 6 of milliseconds, 12 random: 24 characters
_FRESH, _ISSUED = "token", "issued token"
_SIGNATURE_BYTES = 12  # 16 characters
_SHAPE = re.compile(r"fb_(test|live)_([0-9a-f]{4})([A-Za-z0-9_-]{24})([A-Za-z0-9_-]{16})")


@dataclass(frozen=True, slots=True)
class Genuine:
    """A token that one of our keys signed. `account` is the one it opens if no row says otherwise.

    One that was `issued` opens none without a row.
    """

    account: str
    key_id: str
    issued: bool = False
    outside: bool = False
    """Whether it is no token of ours, but what an outside provider calls somebody."""


class TokenMint:
    """Makes tokens and recognises its own."""

    __slots__ = ("_keyring", "_mode")

    def __init__(self, keyring: Keyring, mode: Mode) -> None:
        self._keyring = keyring
        self._mode = mode

    def mint(self, *, now_ms: int, random: bytes, issued: bool = False) -> Secret:
        """A fresh token. `random` has 12 bytes from a cryptographic source."""
        if len(random) != IDENTITY_BYTES - 6:
            raise ValueError(f"a token takes {IDENTITY_BYTES - 6} random bytes")
        key = self._keyring.newest
        identity = _text(now_ms.to_bytes(6, "big") + random)
        head = f"{PREFIX}{self._mode}_{key.id}{identity}"
        return Secret(head + _signature(key.subkey(_ISSUED if issued else _FRESH), head))

    def recognise(self, token: str) -> Genuine | None:
        """Whether one of our keys signed this token; in constant time once its shape fits."""
        found = _SHAPE.fullmatch(token)
        if not found or found[1] != self._mode:
            return None
        try:
            key = self._keyring.key(found[2])
        except UnknownKey:
            return None
        head, signature = token[:-16], token[-16:]
        if not hmac.compare_digest(_signature(key.subkey(_FRESH), head), signature):
            if not hmac.compare_digest(_signature(key.subkey(_ISSUED), head), signature):
                return None
            return Genuine("", key.id, issued=True)
        at_ms = int.from_bytes(_bytes(found[3])[:6], "big")
        return Genuine(account_id(at_ms, hmac.digest(key.subkey("account"), head.encode(), "sha256")), key.id)

    def outside(self, identity: str) -> Genuine:
        """The same for somebody whom an outside provider vouches for.

        Their account is derived by the oldest key: a new one must not make another account of somebody whose payment
        is under way, and with the oldest go the payment links that it sealed.
        """
        oldest = self._keyring.keys[-1]
        derived = hmac.digest(oldest.subkey("outside account"), identity.encode(), "sha256")
        return Genuine(account_id(0, derived), self._keyring.newest.id, outside=True)


def holds_ours(text: str) -> bool:
    """Whether something of the shape of our tokens, genuine or not, stands anywhere in a text.

    Such a text never reaches an upstream, however it is dressed up: parsers disagree about tabs, commas and quotes.
    """
    return PREFIX in text and _SHAPE.search(text) is not None


def hidden(text: str) -> str:
    """A text without whatever has the shape of our tokens."""
    return _SHAPE.sub(f"{PREFIX}…", text) if PREFIX in text else text


def digest(pepper: Secret, token: str) -> bytes:
    """What stands for a token at rest: HMAC-SHA256(pepper, token)."""
    return hmac.digest(pepper.reveal().encode(), token.encode("utf-8", "surrogateescape"), "sha256")


def pepper_id(pepper: Secret) -> str:
    """Names the pepper that a digest was made with, without telling anything of it."""
    return hmac.digest(pepper.reveal().encode(), b"farebox pepper id", "sha256").hex()[:KEY_ID_CHARS]


class Peppers:
    """A list of peppers, newest first: it digests, and what was digested with an older one is still found.

    Whoever digests shares one, so that `renew` is a rotation.
    """

    __slots__ = ("_held",)

    def __init__(self, secrets: Sequence[Secret]) -> None:
        self.renew(secrets)

    def renew(self, secrets: Sequence[Secret]) -> None:
        """From now on these, in one step."""
        if not secrets:
            raise ValueError("a digest needs at least one pepper")
        self._held = [(pepper_id(secret), secret) for secret in secrets]

    @property
    def ids(self) -> list[str]:
        """Newest first."""
        return [id for id, _ in self._held]

    @property
    def newest_id(self) -> str:
        return self._held[0][0]

    def digest(self, token: str) -> bytes:
        """By the newest."""
        return digest(self._held[0][1], token)

    def digests(self, token: str) -> list[bytes]:
        """By each of them, newest first."""
        return [digest(secret, token) for _, secret in self._held]


def tag(digest: bytes) -> int:
    """63 bits of the digest: how the ledger's records name a token."""
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True, slots=True)
class Credential:
    """Something in a request that may be a token, and where it stood."""

    value: str
    place: Place


def candidates(
    headers: Mapping[str, str], cookies: Mapping[str, str], *, header: str, cookie_names: tuple[str, ...]
) -> list[Credential]:
    """Every credential that a request carries, in the order in which they count.

    The configured header comes first (with or without `Bearer`), then `Authorization: Bearer` (RFC 6750 section 2.1),
    then the cookie. `Authorization` of another scheme is the upstream's business and not a credential of ours.
    """
    found = []
    names = ("authorization",) if header.lower() == "authorization" else (header.lower(), "authorization")
    for name in names:
        value = headers.get(name, "").strip()
        if not value:
            continue
        scheme, _, rest = value.partition(" ")
        if scheme.lower() == "bearer" and rest.strip():
            found.append(Credential(rest.strip(), "header"))
        elif name != "authorization":
            found.append(Credential(value, "header"))
    if cookies:
        found += [Credential(cookies[name], "cookie") for name in cookie_names if cookies.get(name)]
    return found


def _signature(key: bytes, head: str) -> str:
    return _text(hmac.digest(key, head.encode(), "sha256")[:_SIGNATURE_BYTES])


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
