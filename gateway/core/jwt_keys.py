"""The keys that sign what others verify: RSA key pairs as a list, newest first.

The secrets of `keyring` are for us alone, so they can be any text and one serves many purposes. What a licence or a
session says must be checked by programs that hold no secret of ours: that takes key pairs, whose public halves are
published (RFC 7517). The list works as a ring does: the newest signs, every one still verifies, and each has an id that
follows from it alone (of its thumbprint, RFC 7638), so that whatever it signed names it.

Signatures are RS256: every library verifies them, and a text and a key have one signature only. A token says in `typ`
what it is, and is nothing else: a session does not pass for a licence (RFC 8725, section 3.11). Each ends, and at the
latest `LIFE_DAYS` after it was made: so it is known when a key that signs no more is needed no more.
"""

import hashlib
import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

from gateway.core.jwts import NotAccepted, read
from gateway.core.secrets import Secret

ALGORITHM = "RS256"
BITS_MIN, BITS_MAX = 2048, 8192
LIFE_DAYS = 90
_ID_CHARACTERS = 16
_BLOCK = re.compile(r"-----BEGIN [A-Z ]+-----[^-]*-----END [A-Z ]+-----")


def new_pem() -> str:
    """A private key that nobody else has."""
    made = generate_private_key(public_exponent=65537, key_size=BITS_MIN)
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return made.private_bytes(serialization.Encoding.PEM, *form).decode().strip()


def blocks(text: str) -> list[str]:
    """The keys in a PEM text, each as it stands there. Raises ValueError if there is anything else."""
    if _BLOCK.sub("", text).strip():
        raise ValueError("it is not made of whole PEM blocks alone (-----BEGIN PRIVATE KEY-----, …)")
    return [found[0] for found in _BLOCK.finditer(text)]


class JwtKey:
    """One key pair: an id, the public half for others, and signatures."""

    __slots__ = ("_private", "_public", "id")

    def __init__(self, pem: Secret) -> None:
        """Raises ValueError for what is no RSA key, or one that is too weak, too slow, or damaged."""
        try:
            # Whether its primes are primes takes 40 ms, at every start of every command; whether it works takes one.
            private = serialization.load_pem_private_key(
                pem.reveal().encode(), password=None, unsafe_skip_rsa_key_validation=True
            )
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError("it is no private key in PEM, or has a password") from None
        if not isinstance(private, RSAPrivateKey):
            raise ValueError("it is not an RSA key")
        if not BITS_MIN <= private.key_size <= BITS_MAX:
            raise ValueError(f"it has {private.key_size} bits; an RSA key needs {BITS_MIN}, and {BITS_MAX} are enough")
        self._private, self._public = private, private.public_key()
        numbers = self._public.public_numbers()
        named = {"e": _number(numbers.e), "kty": "RSA", "n": _number(numbers.n)}
        thumbprint = hashlib.sha256(json.dumps(named, separators=(",", ":"), sort_keys=True).encode())
        self.id = thumbprint.hexdigest()[:_ID_CHARACTERS]
        try:
            works = self.has_signed(b"", self.sign(b""))
        except ValueError:  # what OpenSSL says of numbers that do not go together
            works = False
        if not works:
            raise ValueError("it does not verify what it signs itself: it is damaged")

    def sign(self, text: bytes) -> bytes:
        return self._private.sign(text, PKCS1v15(), SHA256())

    def has_signed(self, text: bytes, signature: bytes) -> bool:
        try:
            self._public.verify(signature, text, PKCS1v15(), SHA256())
        except InvalidSignature:
            return False
        return True

    def jwk(self) -> dict[str, str]:
        """The public half."""
        numbers = self._public.public_numbers()
        return {
            "kty": "RSA", "use": "sig", "alg": ALGORITHM, "kid": self.id,
            "n": _number(numbers.n), "e": _number(numbers.e),
        }  # fmt: skip

    def pem(self) -> str:
        """The public half, for who reads no JWKS."""
        form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        return self._public.public_bytes(*form).decode()


class JwtKeys:
    """A list of them, newest first; `renew` is a rotation."""

    __slots__ = ("_held",)

    def __init__(self, pems: Sequence[Secret]) -> None:
        self.renew(pems)

    def renew(self, pems: Sequence[Secret]) -> None:
        """From now on these, in one step: whoever looks in between finds the keys of before or of after."""
        self._held: tuple[JwtKey, ...] = tuple(JwtKey(pem) for pem in pems)

    @property
    def all(self) -> tuple[JwtKey, ...]:
        """Newest first."""
        return self._held

    def jwks(self) -> dict[str, Any]:
        """The public halves of all: also of one that signs nothing yet, so that it is known before it does."""
        return {"keys": [key.jwk() for key in self._held]}

    def pem(self) -> str:
        """The same, one block after the other, newest first."""
        return "".join(key.pem() for key in self._held)

    def sign(self, claims: Mapping[str, Any], *, kind: str) -> str:
        """A token with these claims, by the newest key. What is in them is not looked at."""
        key = self._held[0]
        header = {"alg": ALGORITHM, "kid": key.id, "typ": kind}
        signed = b".".join(_part(json.dumps(one, separators=(",", ":")).encode()) for one in (header, claims))
        return b".".join((signed, _part(key.sign(signed)))).decode()

    def verified(self, token: str, *, kind: str) -> Mapping[str, Any]:
        """What a token of this kind says, if one of our keys signed it, whether or not it has ended.

        Raises NotAccepted.
        """
        found = read(token, kinds=frozenset((kind.lower(),)))
        if found.algorithm != ALGORITHM:
            raise NotAccepted("its algorithm is not ours")
        key = next((key for key in self._held if key.id == found.key_id), None)
        if key is None or not key.has_signed(found.signed, found.signature):
            raise NotAccepted("its signature is not ours")
        return found.claims


def _number(value: int) -> str:
    return _part(value.to_bytes((value.bit_length() + 7) // 8)).decode()


def _part(content: bytes) -> bytes:
    return urlsafe_b64encode(content).rstrip(b"=")
