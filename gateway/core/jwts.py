"""Tokens of outside identity providers: read strictly, verified with the keys that their issuer publishes.

Nothing that a token says decides how it is judged. Its issuer is one of those that are configured, or it is refused
unread; the algorithms are the issuer's; keys are only ever those of the issuer's own set (never `jwk`, `jku` or `x5c`
of the token); whatever is critical to it and unknown to us refuses it. A set holds public keys alone, so that a public
key is never a shared secret. An issuer that signs with a shared secret is a verifier of its own, which knows no keys.

PyJWT makes the keys and checks signatures. What a token says of itself is compared here, because the time is given.
"""

import hmac
import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NoReturn

import jwt

from gateway.core.secrets import Secret

TOKEN_CHARACTERS_MAX = 8192
KEYS_MAX = 64
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
SECRET_ALGORITHM = "HS256"  # noqa: S105 -- the name of an algorithm
_SUBJECT_CHARACTERS_MAX = 255
_MODULUS_CHARACTERS = range(342, 1366)  # in base64: 2048 to 8192 bits
_EXPONENT_CHARACTERS_MAX = 8
_FAR = 2.0**53
"""In seconds: no time that anybody means; and beyond it a number of any length could stand."""
_KINDS = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_CURVES = {"ES256": ("P-256",), "ES384": ("P-384",), "ES512": ("P-521",), "EdDSA": ("Ed25519", "Ed448")}
_TYPES = frozenset(("jwt", "at+jwt", "application/at+jwt"))
_SHAPE = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)")
_ANYWHERE = re.compile(r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.")


class NotAccepted(ValueError):
    """A token is not one that says who is calling. Its words are for the operator, and quote nothing of it."""


class BadKeySet(ValueError):
    """What was fetched holds no keys."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who vouches for callers, and what a token of theirs must say."""

    name: str
    url: str
    """What `iss` says, exactly."""
    algorithms: frozenset[str]
    audiences: frozenset[str] = frozenset()
    """One of these is in `aud`; empty: it may say anything."""
    parties: frozenset[str] = frozenset()
    """One of these is `azp`; empty: it may say anything."""
    leeway_seconds: float = 10.0
    header: str | None = "authorization"
    """Where programs send it, in small letters; None: nowhere."""
    cookie: str | None = None
    refused_roles: frozenset[str] = frozenset()
    """What `role` must not be."""
    jwks_url: str | None = None
    """Where its keys are; None: it says so itself, by OpenID Connect Discovery."""
    secret: Secret | None = None
    """What it signs with, if that is no key pair."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who an issuer says is calling: `subject` at `issuer`, until then."""

    issuer: str
    subject: str
    until: float
    claims: Mapping[str, Any]

    @property
    def identity(self) -> str:
        """Names them. It is no secret: who shows it is not they."""
        return f"outside\0{self.issuer}\0{self.subject}"


@dataclass(frozen=True, slots=True)
class Unverified:
    """A token as it was read. Nothing in it is true yet."""

    algorithm: str
    key_id: str | None
    claimed_issuer: str
    signed: bytes
    signature: bytes
    claims: Mapping[str, Any]


def holds_jwt(text: str) -> bool:
    """Whether something of the shape of a JWT stands anywhere in a text, however it is dressed up."""
    return "eyJ" in text and _ANYWHERE.search(text) is not None


def is_jwt(text: str) -> bool:
    """Whether a text has the shape of a JWT, and is not too long for one."""
    return len(text) <= TOKEN_CHARACTERS_MAX and _SHAPE.fullmatch(text) is not None


def read(token: str, *, kinds: frozenset[str] = _TYPES) -> Unverified:
    """The parts of a token whose `typ` is one of these, in small letters. Raises NotAccepted."""
    if len(token) > TOKEN_CHARACTERS_MAX:
        raise NotAccepted("it is too long")
    found = _SHAPE.fullmatch(token)
    if found is None:
        raise NotAccepted("it is no JWT")
    header, claims = _object(found[1]), _object(found[2])
    algorithm, key_id, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if "crit" in header:
        raise NotAccepted("something in its header is critical")
    if not isinstance(algorithm, str) or not isinstance(kind, str) or kind.lower() not in kinds:
        raise NotAccepted("its header is not that of such a token")
    if not (key_id is None or isinstance(key_id, str)):
        raise NotAccepted("its kid is no text")
    issuer = claims.get("iss")
    if not isinstance(issuer, str):
        raise NotAccepted("it says no issuer")
    signed, _, signature = token.rpartition(".")
    return Unverified(algorithm, key_id, issuer, signed.encode(), _bytes(signature), claims)


class KeySet:
    """The public keys that an issuer publishes (RFC 7517). A key is made when a token first names it."""

    __slots__ = ("_keys", "_made")

    def __init__(self, keys: Sequence[Mapping[str, Any]]) -> None:
        self._keys = [key for key in keys if _is_for_signatures(key)][:KEYS_MAX]
        self._made: dict[tuple[int, str], jwt.PyJWK | None] = {}

    @classmethod
    def parse(cls, content: bytes) -> "KeySet":
        """Raises BadKeySet."""
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            raise BadKeySet("it is not JSON") from None
        keys = found.get("keys") if isinstance(found, dict) else None
        if not isinstance(keys, list):
            raise BadKeySet("it has no list of keys")
        made = cls([key for key in keys if isinstance(key, dict)])
        if not made._keys:
            raise BadKeySet("it has no public key for signatures")
        return made

    def find(self, key_id: str | None, algorithm: str) -> jwt.PyJWK | None:
        """The key of this id for this algorithm; for a token that names none, the only one that it can be."""
        fitting = [n for n, key in enumerate(self._keys) if _fits(key, algorithm) and _is_named(key, key_id)]
        if not fitting or (key_id is None and len(fitting) > 1):
            return None
        at = fitting[0], algorithm
        if at not in self._made:
            self._made[at] = _made(self._keys[fitting[0]], algorithm)
        return self._made[at]


def check_signature(token: Unverified, issuer: Issuer, key: jwt.PyJWK) -> None:
    """Whether this key of the issuer's signed it. Raises NotAccepted."""
    if token.algorithm not in issuer.algorithms or token.algorithm != key.algorithm_name:
        raise NotAccepted("its algorithm is not one of its issuer's")
    try:
        good = key.Algorithm.verify(token.signed, key.key, token.signature)
    except Exception:  # whatever a library makes of a signature that cannot be one
        good = False
    if not good:
        raise NotAccepted("its signature is not its issuer's")


def check_secret(token: Unverified, secret: Secret) -> None:
    """Whether who has this secret signed it. Raises NotAccepted."""
    if token.algorithm != SECRET_ALGORITHM:
        raise NotAccepted("its algorithm is not one of its issuer's")
    if not hmac.compare_digest(hmac.digest(secret.reveal().encode(), token.signed, "sha256"), token.signature):
        raise NotAccepted("its signature is not its issuer's")


def person(token: Unverified, issuer: Issuer, *, now: float) -> Person:
    """Who a token with a good signature speaks of. Raises NotAccepted."""
    claims = token.claims
    if claims.get("iss") != issuer.url:
        raise NotAccepted("its iss is another")
    until = moment(claims, "exp") + issuer.leeway_seconds
    if until <= now:
        raise NotAccepted("it has expired")
    for name in ("nbf", "iat"):
        if name in claims and moment(claims, name) > now + issuer.leeway_seconds:
            raise NotAccepted(f"its {name} is in the future")
    if issuer.audiences and not issuer.audiences.intersection(texts(claims.get("aud"))):
        raise NotAccepted("its aud is another")
    party = claims.get("azp")
    if issuer.parties and not (isinstance(party, str) and party in issuer.parties):
        raise NotAccepted("its azp is another")
    role = claims.get("role", "")
    if issuer.refused_roles and (not isinstance(role, str) or role in issuer.refused_roles):
        raise NotAccepted("its role is refused")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _SUBJECT_CHARACTERS_MAX or not subject.isprintable():
        raise NotAccepted("its sub names nobody")
    return Person(issuer.url, subject, until, MappingProxyType(dict(claims)))


# --- reading ----------------------------------------------------------------------------------------------------------


def _object(part: str) -> dict[str, Any]:
    try:
        found = json.loads(_bytes(part), parse_constant=_refused)
    except (ValueError, RecursionError):
        raise NotAccepted("it is no JWT") from None
    if not isinstance(found, dict):
        raise NotAccepted("it is no JWT")
    return found


def _refused(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _bytes(part: str) -> bytes:
    if len(part) % 4 == 1:
        raise NotAccepted("it is no JWT")
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def moment(claims: Mapping[str, Any], name: str) -> float:
    """A time that a token says. Raises NotAccepted."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _FAR:
        raise NotAccepted(f"its {name} is no time")
    return value


def texts(value: object) -> list[str]:
    """What is said as one text or as a list of them."""
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]


# --- keys -------------------------------------------------------------------------------------------------------------


def _is_for_signatures(key: Mapping[str, Any]) -> bool:
    if key.get("kty") not in _KINDS.values() or key.get("use", "sig") != "sig":
        return False
    operations = key.get("key_ops", ["verify"])
    return isinstance(operations, list) and "verify" in operations


def _is_named(key: Mapping[str, Any], id: str | None) -> bool:
    return id is None or key.get("kid") == id


def _fits(key: Mapping[str, Any], algorithm: str) -> bool:
    """Whether a key is for an algorithm: by its kind, its curve, and by what it says itself."""
    if key.get("kty") != _KINDS.get(algorithm[:2]) or key.get("alg", algorithm) != algorithm:
        return False
    curves = _CURVES.get(algorithm)
    return curves is None or key.get("crv") in curves


def _made(key: Mapping[str, Any], algorithm: str) -> jwt.PyJWK | None:
    """None for one that cannot be made, or is too weak, or so large that it takes long."""
    if key["kty"] == "RSA":
        modulus, exponent = key.get("n"), key.get("e")
        if not isinstance(modulus, str) or len(modulus) not in _MODULUS_CHARACTERS:
            return None
        if not isinstance(exponent, str) or len(exponent) > _EXPONENT_CHARACTERS_MAX:
            return None
    public = {name: value for name, value in key.items() if name in ("kty", "kid", "n", "e", "crv", "x", "y")}
    try:
        return jwt.PyJWK(public, algorithm)
    except Exception:  # PyJWT lets errors of its own, of base64 and of cryptography through
        return None
