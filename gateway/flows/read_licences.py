"""A licence -> what it says, if it is one of ours: of this kind, for this audience, and not over."""

from collections.abc import Mapping
from typing import Any

from gateway.core.jwts import NotAccepted
from gateway.core.licences import KIND, Terms
from gateway.ports import Signs


class ReadLicences:
    """Implements `ports.ReadsLicences`."""

    def __init__(self, signs: Signs, terms: Terms) -> None:
        self._signs = signs
        self._terms = terms

    def read(self, licence: str, *, even_ended: bool = False) -> Mapping[str, Any]:
        terms = self._terms
        found = self._signs.verify(
            licence, kind=KIND, audience=terms.audience, issuer=terms.issuer, even_ended=even_ended
        )
        if not all(isinstance(found.get(name), str) for name in ("sub", "customerId")):
            raise NotAccepted("it says not whose it is")
        return found
