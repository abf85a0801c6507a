"""The sealed reference that travels with a payment: which account the money is for.

Stripe carries it as `client_reference_id` (at most 200 characters of `[A-Za-z0-9_-]`; anything else is silently
dropped, https://docs.stripe.com/payment-links/url-parameters). It names the account and the digest of the token that
asked, never the token. It is encrypted and authenticated, so nobody can aim a payment at an account of their choice or
read an account from a link. `expires` bounds the joining of wallets and sign-in, **never** crediting: some payments
take days, and money that arrives is always credited.
"""

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass

from gateway.core.callers import Caller
from gateway.core.keyring import KEY_ID_CHARS, Keyring, NotOurs

REFERENCE_CHARS_MAX = 200
_PURPOSE = "payment reference"
_LAYOUT = struct.Struct(">BI4s16s32s")  # version, expiry, pepper id, account, token digest
_VERSION = 1
JOIN_SECONDS = 7 * 24 * 3600
"""How long a reference may still serve to recognise a browser. Crediting has no such limit."""
NO_TOKEN = bytes(32)
"""The digest in a reference that no caller asked for: there is no token to put on record."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Whose payment this is."""

    account: str
    token_digest: bytes
    pepper_id: str
    expires: int


def of_caller(caller: Caller, *, now_seconds: int) -> Reference:
    """What travels with a payment that this caller is asked for.

    A token that was allowed to an agent is never named, nor is a licence: the payment of a person must not make a
    wallet's token of it.
    """
    digest = NO_TOKEN if caller.audience or caller.is_licence else caller.token_digest
    return Reference(caller.account, digest, caller.pepper_id, now_seconds + JOIN_SECONDS)


def seal(keyring: Keyring, reference: Reference, *, nonce: bytes) -> str:
    """A text for `client_reference_id`, by the ring's newest key."""
    plain = _LAYOUT.pack(
        _VERSION,
        reference.expires,
        reference.pepper_id.encode(),
        bytes.fromhex(reference.account.removeprefix("acct_")),
        reference.token_digest,
    )
    key_id, sealed = keyring.seal(_PURPOSE, plain, nonce=nonce)
    return key_id + urlsafe_b64encode(sealed).decode().rstrip("=")


def unseal(keyring: Keyring, text: str) -> Reference:
    """What was sealed. Raises NotOurs, or UnknownKey when the key has left the ring."""
    if not KEY_ID_CHARS < len(text) <= REFERENCE_CHARS_MAX:
        raise NotOurs("a payment reference has another length")
    key_id, body = text[:KEY_ID_CHARS], text[KEY_ID_CHARS:]
    try:
        sealed = urlsafe_b64decode(body + "=" * (-len(body) % 4))
    except ValueError:
        raise NotOurs("a payment reference is not base64url") from None
    plain = keyring.open(_PURPOSE, key_id, sealed)
    if len(plain) != _LAYOUT.size or plain[0] != _VERSION:
        raise NotOurs("a payment reference has another layout")
    _, expires, pepper, account, token_digest = _LAYOUT.unpack(plain)
    return Reference(f"acct_{account.hex()}", token_digest, pepper.decode(), expires)
