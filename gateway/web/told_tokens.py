"""A token in words for programs: the same by the API and by a command. Never its secret."""

from datetime import UTC, datetime
from typing import Any

from gateway.core.grants import LAST_CHARS, Grant, caps_of
from gateway.core.money import Money
from gateway.ports import CapLines, Clock, Made, Shown, StoreFailed


class SpentOfCaps:
    """Reads what was spent under a token's own caps, in the periods that are now."""

    def __init__(self, lines: CapLines, clock: Clock, *, zone: str) -> None:
        self._lines = lines
        self._clock = clock
        self._zone = zone

    async def of(self, grant: Grant) -> dict[str, str] | None:
        """By period, as committed; None while the books cannot be read."""
        spent: dict[str, str] = {}
        now_ms = self._clock.now_ms()
        try:
            for cap in caps_of([grant], self._zone):
                line = await self._lines.cap_line(cap.name(now_ms), cap.unit)
                spent[cap.period] = str(Money(line.spent, cap.amount.currency))
        except StoreFailed:
            return None
        return spent


def told(shown: Shown, now_ms: int, spent: dict[str, str] | None = None) -> dict[str, Any]:
    """How a token stands; `spent` under its caps, where it is known."""
    grant = shown.grant
    return {
        "id": grant.id,
        "name": grant.name,
        "role": grant.terms.role,
        "last": grant.last,
        "state": _state(shown, now_ms),
        "current": shown.is_own,
        "parent": grant.parent,
        "created": moment(grant.created_ms),
        "last_used": moment(grant.used_ms),
        "expires": moment(grant.expires_ms),
        "routes": _names(grant.terms.scope.routes),
        "methods": _names(grant.terms.scope.methods),
        "limit": [rate.text for rate in grant.terms.rates],
        "caps": {cap.period: str(cap.amount) for cap in grant.terms.caps},
        "spent": spent,
    }


def told_made(made: Made, now_ms: int) -> dict[str, Any]:
    """The one answer that holds a secret: it is shown once."""
    shown = told(Shown(made.grant, is_over=False, is_own=False), now_ms)
    del shown["spent"]  # a token that was rotated may have spent much
    shown["last"] = made.secret.reveal()[-LAST_CHARS:]
    content: dict[str, Any] = {"access_token": made.secret.reveal(), "token": shown}
    if made.until_ms is not None:
        content["previous_valid_until"] = moment(made.until_ms)
    return content


def moment(at_ms: int | None) -> str | None:
    """In UTC, to the second."""
    return None if at_ms is None else f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _state(shown: Shown, now_ms: int) -> str:
    if not shown.is_over:
        return "good"
    grant = shown.grant
    if grant.revoked_ms is None and grant.expires_ms is not None and grant.expires_ms <= now_ms:
        return "expired"
    return "revoked" if grant.revoked_ms is not None else "parent is over"


def _names(names: frozenset[str] | None) -> list[str] | None:
    return None if names is None else sorted(names)
