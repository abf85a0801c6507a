"""`Idempotency-Key`: a POST that is sent again is answered again, not done again.

A key belongs to the account, not to an address. The first request with it claims it; a twin that arrives while
the first is still under way is told to come back (409); a later one with the same parameters gets the first
answer, byte for byte, also when that was a declined card; one with other parameters is an error. Requests that fail
their checks leave no trace, so a corrected one may use the key again. Keys are forgotten after a day, and sooner when
there are too many.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.demo.standin.errors import ApiError

KEEP_SECONDS = 24 * 3600
KEY_CHARACTERS_MAX = 255


@dataclass(frozen=True, slots=True)
class Answer:
    """What the first request was answered with, and under which id."""

    request: str
    body: bytes
    status: int = 200


@dataclass(slots=True)
class _Claim:
    path: str
    params: bytes
    at: float
    answer: Answer | None = None


class Keys:
    """The claimed keys, oldest first."""

    def __init__(self, now: Callable[[], float], keys_max: int) -> None:
        self._now = now
        self._keys_max = keys_max
        self._claims: dict[str, _Claim] = {}

    def claim(self, key: str, path: str, params: bytes) -> Answer | None:
        """None to go ahead, or the first answer. Raises `ApiError` for a conflict."""
        if len(key) > KEY_CHARACTERS_MAX:
            raise _error(400, f"An idempotency key has at most {KEY_CHARACTERS_MAX} characters.")
        self._forget_old()
        claim = self._claims.get(key)
        if claim is None:
            self._claims[key] = _Claim(path, params, self._now())
            return None
        if claim.path != path:
            raise _error(400, f"The idempotency key '{key}' was first used for another endpoint ('{claim.path}').")
        if claim.params != params:
            raise _error(400, f"The idempotency key '{key}' was first used with other parameters.")
        if claim.answer is None:
            message = f"Another request with the idempotency key '{key}' is still under way. Try again in a moment."
            raise _error(409, message, "idempotency_key_in_use")
        return claim.answer

    def finish(self, key: str, answer: Answer) -> None:
        if key in self._claims:
            self._claims[key].answer = answer

    def release(self, key: str) -> None:
        """The request came to nothing: the key is free again."""
        self._claims.pop(key, None)

    def _forget_old(self) -> None:
        limit = self._now() - KEEP_SECONDS
        while self._claims:
            key, oldest = next(iter(self._claims.items()))
            if oldest.at > limit and len(self._claims) < self._keys_max:
                return
            del self._claims[key]


def _error(status: int, message: str, code: str | None = None) -> ApiError:
    return ApiError(status, message, type="idempotency_error", code=code)
