"""The two cookies that a browser gets: its access token, and the address that it asked for before it went to pay.

Over https both carry the `__Host-` prefix and `Secure` (RFC 6265bis section 4.1.3.2), so that no other host or path can
set or read them. Over plain http, which is for one's own machine, some browsers would drop `Secure` cookies, so they go
without.
The address is sealed: nobody can plant one, and it is only ever a path of this host.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping

from aiohttp import web

from gateway.core.keyring import KEY_ID_CHARS, Keyring, NotOurs, UnknownKey
from gateway.core.secrets import Secret
from gateway.ports import Randomness

_TOKEN_SECONDS = 400 * 24 * 3600  # browsers keep no cookie longer
_ADDRESS_SECONDS = 3600
_ADDRESS_CHARS_MAX = 1500
_PURPOSE = "return address"


class Cookies:
    """Sets and reads our cookies."""

    def __init__(self, *, name: str, secure: bool, keyring: Keyring, randomness: Randomness) -> None:
        prefix = "__Host-" if secure else ""
        self.token_name = f"{prefix}{name}"
        self.address_name = f"{prefix}{name}_return"
        self._secure = secure
        self._keyring = keyring
        self._randomness = randomness

    @property
    def names(self) -> tuple[str, ...]:
        """Both names; neither cookie ever reaches an upstream."""
        return (self.token_name, self.address_name)

    def set_token(self, answer: web.StreamResponse, token: Secret) -> None:
        self._set(answer, self.token_name, token.reveal(), _TOKEN_SECONDS)

    def remember_address(self, answer: web.StreamResponse, target: str) -> None:
        """Keep where the browser wanted to go."""
        if len(target) > _ADDRESS_CHARS_MAX:
            return
        key_id, sealed = self._keyring.seal(_PURPOSE, target.encode(), nonce=self._randomness.bytes(12))
        self._set(answer, self.address_name, key_id + urlsafe_b64encode(sealed).decode(), _ADDRESS_SECONDS)

    def address(self, cookies: Mapping[str, str]) -> str | None:
        """Where the browser wanted to go, if it still says."""
        value = cookies.get(self.address_name, "")
        try:
            sealed = urlsafe_b64decode(value[KEY_ID_CHARS:])
            target = self._keyring.open(_PURPOSE, value[:KEY_ID_CHARS], sealed).decode()
        except (ValueError, NotOurs, UnknownKey):
            return None
        return target if target.startswith("/") and not target.startswith("//") else None

    def _set(self, answer: web.StreamResponse, name: str, value: str, seconds: int) -> None:
        answer.set_cookie(name, value, max_age=seconds, path="/", secure=self._secure, httponly=True, samesite="Lax")
