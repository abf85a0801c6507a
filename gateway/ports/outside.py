"""Outside identity providers: what they publish, and who they say is calling."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import jwt

from gateway.core.jwts import Person


@dataclass(frozen=True, slots=True)
class Document:
    """Something small that was fetched, and for how long it may be kept by what was said with it; None: not said."""

    content: bytes
    keep_seconds: float | None


class NotFetched(Exception):
    """There is none just now; the message says why, without the address."""


class Documents(Protocol):
    """Fetches small documents of others."""

    async def fetch(self, url: str) -> Document:
        """Within five seconds, 64 KB at most, from exactly this address. Raises NotFetched."""


class KeySets(Protocol):
    """The public keys of one issuer, as it published them lately."""

    async def find(self, key_id: str | None, algorithm: str) -> jwt.PyJWK | None:
        """The key that a token names; None if the issuer has none of this name. Raises IdentityUnavailable.

        A caller that is cancelled while it waits leaves what others wait for.
        """


class Vouches(Protocol):
    """Who is calling, by the token of an outside provider."""

    async def known(
        self, headers: Mapping[str, str], cookies: Mapping[str, str], issuers: Sequence[str] | None
    ) -> Person | None:
        """None if there is no token of any of these issuers (None: of any of all), or none that is good.

        Raises IdentityUnavailable where one may be good and its issuer's keys are not known.
        """
