"""The public halves of the keys that sign our tokens, for who verifies them: `/.well-known/jwks.json` (RFC 7517).

A verifier may keep the set for `KEPT_SECONDS`; one that meets a key id that it does not know fetches it again at once,
as verifiers do.
"""

from aiohttp import web

from gateway.core.indented import indented
from gateway.ports import Signs
from gateway.web.answers import OwnAnswer

JWKS_PATH = "/.well-known/jwks.json"
PEM_PATH = "/-/licence.pem"
KEPT_SECONDS = 300
_KEPT = {"Cache-Control": f"public, max-age={KEPT_SECONDS}", "Access-Control-Allow-Origin": "*"}


class PublishedKeys:
    """One address, for everybody."""

    def __init__(self, signs: Signs) -> None:
        self._signs = signs

    async def pem(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/licence.pem`: the same for who reads no JWKS, newest first."""
        return OwnAnswer(text=self._signs.pem(), content_type="application/x-pem-file", headers=_KEPT)

    async def show(self, request: web.Request) -> web.StreamResponse:
        """`GET /.well-known/jwks.json`."""
        return OwnAnswer(text=indented(self._signs.jwks()), content_type="application/json", headers=_KEPT)
