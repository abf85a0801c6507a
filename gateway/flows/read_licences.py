"""A licence -> what it says, if it is one of ours: of this kind, for this audience, and not over.

One that was made before all tokens of its account were ended, or within that second, is over for good: also to be
renewed.
"""

from collections.abc import Mapping
from typing import Any

from gateway.core.jwts import NotAccepted, moment
from gateway.core.licences import KIND, Terms
from gateway.ports import Ended, Signs


class ReadLicences:
    """Implements `ports.ReadsLicences`."""

    def __init__(self, signs: Signs, terms: Terms) -> None:
        self._signs = signs
        self._terms = terms
        self._ended: Ended | None = None

    def heed(self, ended: Ended) -> None:
        """From now on, whose tokens were ended all at once."""
        self._ended = ended

    def read(self, licence: str, *, even_ended: bool = False) -> Mapping[str, Any]:
        terms = self._terms
        found = self._signs.verify(
            licence, kind=KIND, audience=terms.audience, issuer=terms.issuer, even_ended=even_ended
        )
        if not all(isinstance(found.get(name), str) for name in ("sub", "customerId")):
            raise NotAccepted("it says not whose it is")
        made_ms = int(moment(found, "iat") * 1000)
        if self._ended is not None and self._ended.ended(found["sub"], made_ms):
            raise NotAccepted("it was ended")
        return found
