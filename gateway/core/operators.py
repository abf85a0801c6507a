"""Who speaks to the admin listener, by the token that they present: an operator, an auditor, or nobody.

An auditor reads and changes nothing. Both tokens are compared in constant time, and both may be exchanged while a
gateway runs: what was good before is good for nothing from then on.
"""

import hmac
from typing import Literal

from gateway.core.secrets import Secret

Rank = Literal["operator", "auditor"]
READS = ("GET", "HEAD")
"""What an auditor may do."""


class Operators:
    """Their tokens. Without an auditor's there is no auditor."""

    def __init__(self, operator: Secret | None, auditor: Secret | None = None) -> None:
        self._operator = operator
        self._auditor = auditor

    def renew(self, operator: Secret | None, auditor: Secret | None) -> None:
        """Only these are good from now on."""
        self._operator, self._auditor = operator, auditor

    def rank(self, authorization: str) -> Rank | None:
        """Who sends this field `Authorization`."""
        presented = authorization.removeprefix("Bearer ").encode("utf-8", "replace")
        is_operator = _is(presented, self._operator)
        is_auditor = _is(presented, self._auditor)
        return "operator" if is_operator else "auditor" if is_auditor else None


def _is(presented: bytes, secret: Secret | None) -> bool:
    return secret is not None and hmac.compare_digest(presented, secret.reveal().encode())
