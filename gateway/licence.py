"""Verifies licences in other programs: this file and PyJWT are all that it takes, so it may be copied.

    licences = Licences(jwks, issuer="https://api.example", audience="my-app")
    claims = licences.verify(text)         # None for anything that is not good
    if claims and claims["proActive"]: ...

`jwks` is what `/.well-known/jwks.json` of the gateway says; fetch it now and then, and when a licence names a key that
is not in it. A licence that is good says what was so when it was issued: who must know at once that a subscription was
cancelled asks `/-/api/v1/entitlement/refresh`.
"""

from collections.abc import Mapping
from typing import Any

import jwt

KIND = "licence+jwt"


class Licences:
    """Holds public keys, and never a secret: so a public key is none, and no other algorithm counts."""

    def __init__(self, jwks: Mapping[str, Any], *, issuer: str, audience: str) -> None:
        keys = [one for one in jwks["keys"] if one.get("kty") == "RSA" and one.get("use", "sig") == "sig"]
        self._keys = {str(one["kid"]): jwt.PyJWK(dict(one), algorithm="RS256") for one in keys if "kid" in one}
        self._issuer = issuer
        self._audience = audience

    def verify(self, text: str, *, leeway_seconds: float = 0) -> dict[str, Any] | None:
        """What a licence says; None if it is not good, or has ended."""
        try:
            header = jwt.get_unverified_header(text)
            key = self._keys[header["kid"]]
            if header.get("typ") != KIND or "crit" in header:
                return None
            return jwt.decode(
                text,
                key.key,
                algorithms=["RS256"],
                issuer=self._issuer,
                audience=self._audience,
                leeway=leeway_seconds,
                options={"require": ["exp", "iss", "aud"]},
            )
        except (jwt.PyJWTError, KeyError):
            return None
