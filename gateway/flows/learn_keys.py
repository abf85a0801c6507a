"""The public keys of an issuer: fetched, kept as long as it says, and fetched again when a token names one unknown.

Keys rotate. An issuer publishes a new one before it signs with it, and takes an old one away after that; so keys are
fetched again when they are as old as they may be, and when a token names a key that is not among them. Anybody can make
up such a name, so that is done every half minute at most. Whoever needs keys while they are on their way waits for the
same answer; one who leaves does not end it for the others.

When nothing can be fetched, the keys of before are good for longer: a provider that cannot be reached must not lock
everybody out. Where there are none yet, nobody is recognised, and it is tried again after two seconds.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Literal

import jwt

from gateway.core.jwts import BadKeySet, Issuer, KeySet
from gateway.core.refusals import IdentityUnavailable
from gateway.ports import Documents, NotFetched

AGAIN_SECONDS = 30.0
_FIRST_AGAIN_SECONDS = 2.0
_KEPT_SECONDS = 600.0
_KEPT_SECONDS_MIN, _KEPT_SECONDS_MAX = 30.0, 86_400.0
DISCOVERY = ".well-known/openid-configuration"


class LearnKeys:
    """Implements `ports.KeySets` for one issuer. `now` counts seconds and never goes back."""

    def __init__(
        self, issuer: Issuer, *, documents: Documents, now: Callable[[], float], report: Callable[..., None]
    ) -> None:
        self._issuer = issuer
        self._documents = documents
        self._now = now
        self._report = report
        self._keys: KeySet | None = None
        self._good_until = 0.0
        self._next_try = self._next_unknown = float("-inf")
        self._learning: asyncio.Task[None] | None = None
        self._failed = False
        self.fetches = {"fetched": 0, "failed": 0}
        self._learned_at: float | None = None

    @property
    def age_seconds(self) -> float | None:
        """Since they were last fetched; None if they never were."""
        return None if self._learned_at is None else self._now() - self._learned_at

    @property
    def state(self) -> Literal["known", "stale", "missing", "not asked for yet"]:
        """How they stand. Stale or missing: it was tried to fetch them, and failed. Asks nobody."""
        if self._failed and (self._keys is None or self._now() >= self._good_until):
            return "missing" if self._keys is None else "stale"
        return "known" if self._keys is not None else "not asked for yet"

    async def find(self, key_id: str | None, algorithm: str) -> jwt.PyJWK | None:
        if self._keys is None or self._now() >= self._good_until:
            await self._learn()
        key = self._found(key_id, algorithm)
        if key is None and (self._learning is not None or self._now() >= self._next_unknown):
            self._next_unknown = self._now() + AGAIN_SECONDS
            await self._learn()
            key = self._found(key_id, algorithm)
        return key

    def _found(self, key_id: str | None, algorithm: str) -> jwt.PyJWK | None:
        if self._keys is None:
            raise IdentityUnavailable()
        return self._keys.find(key_id, algorithm)

    async def _learn(self) -> None:
        """Fetch them, if it is time to; or wait for who does."""
        if self._learning is None:
            if self._now() < self._next_try:
                return
            self._learning = asyncio.create_task(self._fetch(), name=f"keys of {self._issuer.name}")
            self._learning.add_done_callback(self._learned)
        await asyncio.shield(self._learning)

    def _learned(self, task: asyncio.Task[None]) -> None:
        self._learning = None

    async def _fetch(self) -> None:
        try:
            document = await self._documents.fetch(self._issuer.jwks_url or await self._discovered())
            self._keys = KeySet.parse(document.content)
        except (NotFetched, BadKeySet) as failed:
            self._failed = True
            self.fetches["failed"] += 1
            self._next_try = self._now() + (_FIRST_AGAIN_SECONDS if self._keys is None else AGAIN_SECONDS)
            self._report("no keys of an issuer", issuer=self._issuer.name, why=str(failed))
            return
        self._failed = False
        self.fetches["fetched"] += 1
        self._learned_at = self._now()
        wanted = _KEPT_SECONDS if document.keep_seconds is None else document.keep_seconds
        self._good_until = self._now() + min(max(wanted, _KEPT_SECONDS_MIN), _KEPT_SECONDS_MAX)

    async def _discovered(self) -> str:
        """Where the issuer says that its keys are. Raises NotFetched."""
        document = await self._documents.fetch(f"{self._issuer.url.rstrip('/')}/{DISCOVERY}")
        try:
            said = json.loads(document.content)
        except (ValueError, RecursionError):
            raise NotFetched("its discovery is not JSON") from None
        if not isinstance(said, dict) or said.get("issuer") != self._issuer.url:
            raise NotFetched("its discovery is that of another issuer")
        url = said.get("jwks_uri")
        if not isinstance(url, str):
            raise NotFetched("its discovery does not say where its keys are")
        return url

    async def close(self) -> None:
        """Nobody waits any more."""
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.gather(self._learning, return_exceptions=True)
