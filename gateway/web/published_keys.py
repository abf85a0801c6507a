"""The public halves of the keys that sign our tokens, for who verifies them: `/.well-known/jwks.json` (RFC 7517).

A verifier may keep the set for `KEPT_SECONDS`; one that meets a key id that it does not know fetches it again at once,
as verifiers do.
"""

import json

from aiohttp import web

from gateway.ports import Signs
from gateway.web.answers import OwnAnswer

JWKS_PATH = "/.well-known/jwks.json"
KEPT_SECONDS = 300


class PublishedKeys:
    """One address, for everybody."""

    def __init__(self, signs: Signs) -> None:
        self._signs = signs

    async def show(self, request: web.Request) -> web.StreamResponse:
        """`GET /.well-known/jwks.json`."""
        kept = {"Cache-Control": f"public, max-age={KEPT_SECONDS}", "Access-Control-Allow-Origin": "*"}
        return OwnAnswer(
            text=json.dumps(self._signs.jwks(), indent=2) + "\n", content_type="application/json", headers=kept
        )
