"""Keys that rotate: the newest signs and seals, every key still verifies and opens.

A ring is built from secret texts, newest first. Each key gets an id of four characters, derived from it by a one-way
function, so that whatever a key made can name its key without a table. No key is used for two things: `subkey`
derives one per purpose (HKDF-Expand, RFC 5869 section 2.3, with SHA-256), so that a signature made for one purpose says
nothing in another.
"""

import hmac
from collections.abc import Sequence
from typing import overload

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.core.secrets import Secret

KEY_ID_CHARS = 4
_NONCE_BYTES = 12


class UnknownKey(LookupError):
    """A thing names a key that this ring does not hold."""


class NotOurs(ValueError):
    """A sealed text was not made by this ring, or was changed."""


class Key:
    """One secret of a ring: an id, and subkeys by purpose."""

    __slots__ = ("_root", "_subkeys", "id")

    def __init__(self, secret: Secret) -> None:
        self._root = hmac.digest(b"farebox keyring v1", secret.reveal().encode(), "sha256")
        self._subkeys: dict[str, bytes] = {}
        self.id = hmac.digest(self._root, b"key id", "sha256").hex()[:KEY_ID_CHARS]

    def subkey(self, purpose: str) -> bytes:
        """32 bytes for one purpose only."""
        found = self._subkeys.get(purpose)
        if found is None:
            found = self._subkeys[purpose] = hmac.digest(self._root, purpose.encode() + b"\x01", "sha256")
        return found


class Keyring:
    """A list of keys, newest first. Everything that seals and opens shares one, so that `renew` is a rotation."""

    __slots__ = ("_held",)

    def __init__(self, secrets: Sequence[Secret]) -> None:
        self.renew(secrets)

    def renew(self, secrets: Sequence[Secret]) -> None:
        """From now on these, in one step: whoever looks in between finds the keys of before or of after."""
        keys = [Key(secret) for secret in secrets]
        if not keys:
            raise ValueError("a keyring needs at least one key")
        self._held = keys[0], {key.id: key for key in reversed(keys)}

    @property
    def newest(self) -> Key:
        return self._held[0]

    def key(self, id: str) -> Key:
        """The key of this id. Raises UnknownKey."""
        try:
            return self._held[1][id]
        except KeyError:
            raise UnknownKey(id) from None

    @property
    def keys(self) -> tuple[Key, ...]:
        """Every key, newest first."""
        return tuple(reversed(self._held[1].values()))

    def subkeys(self, purpose: str) -> "Subkeys":
        """The keys for one purpose, newest first: always those that the ring has by then."""
        return Subkeys(self, purpose)

    def seal(self, purpose: str, plain: bytes, *, nonce: bytes, about: str = "") -> tuple[str, bytes]:
        """The newest key's id, and `plain` encrypted and authenticated (AES-256-GCM). A nonce is used once.

        `about` names the one thing that it is for, such as a row: put anywhere else, it does not open.
        """
        if len(nonce) != _NONCE_BYTES:
            raise ValueError(f"a nonce has {_NONCE_BYTES} bytes")
        sealed = AESGCM(self.newest.subkey(purpose)).encrypt(nonce, plain, _bound(purpose, about))
        return self.newest.id, nonce + sealed

    def open(self, purpose: str, key_id: str, sealed: bytes, *, about: str = "") -> bytes:
        """What `seal` was given. Raises UnknownKey or NotOurs."""
        key = self.key(key_id)
        try:
            nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
            return AESGCM(key.subkey(purpose)).decrypt(nonce, rest, _bound(purpose, about))
        except (InvalidTag, ValueError):
            raise NotOurs("a sealed text does not open") from None


def _bound(purpose: str, about: str) -> bytes:
    return f"{purpose}\0{about}".encode() if about else purpose.encode()


class Subkeys(Sequence[bytes]):
    """What a ring has for one purpose, looked up anew each time."""

    __slots__ = ("_purpose", "_ring")

    def __init__(self, ring: Keyring, purpose: str) -> None:
        self._ring = ring
        self._purpose = purpose

    def __len__(self) -> int:
        return len(self._ring.keys)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        return [key.subkey(self._purpose) for key in self._ring.keys][index]
