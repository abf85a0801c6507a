"""The cookies that a browser gets: its token or session, one for each checkout, and one while it is out to sign in.

Over https they carry the `__Host-` prefix and `Secure` (RFC 6265bis section 4.1.3.2), so that no other host or path can
set or read them. Over plain http, which is for one's own machine, some browsers would drop `Secure` cookies, so they go
without.

A checkout's cookie is sealed and holds the address that was asked for, and the token if it was made for this checkout.
It is named after the token's digest, which the payment brings back. Two tabs that set out without a token get two
tokens, and the later cookie hides the earlier token; when the payment comes back, the checkout's own cookie still has
it. Nobody can plant such a cookie, and an address is only ever a path of this host.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from gateway.core.keyring import KEY_ID_CHARS, Keyring, NotOurs, UnknownKey
from gateway.core.secrets import Secret
from gateway.core.sign_ins import AWAY_SECONDS
from gateway.ports import Randomness

_TOKEN_SECONDS = 400 * 24 * 3600  # browsers keep no cookie longer
_CHECKOUT_SECONDS = 3600
_ADDRESS_CHARS_MAX = 1500
_PURPOSE = "checkout"


@dataclass(frozen=True, slots=True)
class Checkout:
    """What this browser set out with: where it wanted to go, and the token that was made for it, if one was."""

    address: str | None
    token: Secret | None


class Cookies:
    """Sets and reads our cookies. All their names begin with `name`."""

    def __init__(
        self, *, name: str, secure: bool, keyring: Keyring, randomness: Randomness, also_read: tuple[str, ...] = ()
    ) -> None:
        self.name = f"__Host-{name}" if secure else name
        self.read_names = (self.name, *also_read)
        """Where a token may stand; ours first, which is the one that is set."""
        self._secure = secure
        self._keyring = keyring
        self._randomness = randomness

    def set_token(self, answer: web.StreamResponse, token: Secret, seconds: int = _TOKEN_SECONDS) -> None:
        self._set(answer, self.name, token.reveal(), seconds)

    def drop_token(self, answer: web.StreamResponse) -> None:
        """This browser forgets whose wallet it showed."""
        for name in self.read_names:
            answer.del_cookie(name, path="/", secure=self._secure, httponly=True, samesite="Lax")

    def set_away(self, answer: web.StreamResponse, sealed: Secret) -> None:
        """What a browser takes along to where it signs in."""
        self._set(answer, self._away_name, sealed.reveal(), AWAY_SECONDS)

    def away(self, cookies: Mapping[str, str]) -> str:
        return cookies.get(self._away_name, "")

    def end_away(self, answer: web.StreamResponse) -> None:
        answer.del_cookie(self._away_name, path="/", secure=self._secure, httponly=True, samesite="Lax")

    @property
    def _away_name(self) -> str:
        return f"{self.name}_away"

    def set_checkout(self, answer: web.StreamResponse, token_digest: bytes, checkout: Checkout) -> None:
        """Remember what a browser set out with."""
        fits = checkout.address is not None and len(checkout.address) <= _ADDRESS_CHARS_MAX
        content = {
            "address": checkout.address if fits else None,
            "token": checkout.token.reveal() if checkout.token else None,
        }
        key_id, sealed = self._keyring.seal(_PURPOSE, json.dumps(content).encode(), nonce=self._randomness.bytes(12))
        value = key_id + urlsafe_b64encode(sealed).decode().rstrip("=")
        self._set(answer, self._checkout_name(token_digest), value, _CHECKOUT_SECONDS)

    def checkout(self, cookies: Mapping[str, str], token_digest: bytes) -> Checkout | None:
        """What this browser set out with, if it was this browser."""
        value = cookies.get(self._checkout_name(token_digest), "")
        body = value[KEY_ID_CHARS:]
        try:
            sealed = urlsafe_b64decode(body + "=" * (-len(body) % 4))
            content = json.loads(self._keyring.open(_PURPOSE, value[:KEY_ID_CHARS], sealed))
        except (ValueError, NotOurs, UnknownKey):
            return None
        address, token = content["address"], content["token"]
        here = address is not None and address.startswith("/") and address[1:2] not in ("/", "\\")
        return Checkout(address if here else None, Secret(token) if token else None)

    def end_checkout(self, answer: web.StreamResponse, token_digest: bytes) -> None:
        """The browser is back; it is not sent there a second time."""
        answer.del_cookie(self._checkout_name(token_digest), path="/", secure=self._secure, httponly=True)

    def _checkout_name(self, token_digest: bytes) -> str:
        return f"{self.name}_{token_digest[:6].hex()}"

    def _set(self, answer: web.StreamResponse, name: str, value: str, seconds: int) -> None:
        answer.set_cookie(name, value, max_age=seconds, path="/", secure=self._secure, httponly=True, samesite="Lax")
