"""Outside identity providers: what they publish, and who they say is calling."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

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


class Signs(Protocol):
    """Tokens of ours that others can verify: licences, sessions, what services tell each other. Awaits nothing.

    `kind` is the token's `typ`, such as `licence+jwt`: give each use one of its own. One that was signed as one kind is
    refused as any other.
    """

    def sign(self, claims: Mapping[str, Any], *, kind: str = "JWT") -> str:
        """A token that says this, signed by the newest key. `exp` is required and at most 90 days away; `iat` is added,
        and `iss`, unless the claims say another. Raises ValueError.
        """

    def verify(
        self,
        token: str,
        *,
        kind: str = "JWT",
        audience: str | None = None,
        issuer: str | None = None,
        even_ended: bool = False,
    ) -> Mapping[str, Any]:
        """What it says, if any of our keys signed it, it is of this kind and issuer (None: we ourselves), for this
        audience (None: whichever), and has not ended, or may have. Raises `core.jwts.NotAccepted`.
        """

    def jwks(self) -> dict[str, Any]:
        """The public keys of all, as they are published."""

    def pem(self) -> str:
        """The same in PEM, newest first."""


class Vouches(Protocol):
    """Who is calling, by the token of an outside provider."""

    async def known(
        self, headers: Mapping[str, str], cookies: Mapping[str, str], issuers: Sequence[str] | None
    ) -> Person | None:
        """None if there is no token of any of these issuers (None: of any of all), or none that is good.

        Raises IdentityUnavailable where one may be good and its issuer's keys are not known.
        """
