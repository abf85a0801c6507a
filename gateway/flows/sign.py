"""What others may verify leaves with our signature, and comes back to be believed.

A token is made for who is to read it (`aud`), says what it is (`typ`), who made it (`iss`), and when it ends. One that
says no end, or a late one, is not signed: what nobody wrote down could not be taken back, and the key that signed it
could never go. Revoking one before its end is the business of who asked for it.
"""

from collections.abc import Mapping
from typing import Any

from gateway.core import jwts
from gateway.core.jwt_keys import LIFE_DAYS, JwtKeys
from gateway.core.jwts import NotAccepted
from gateway.ports import Clock

_LIFE_SECONDS = LIFE_DAYS * 86_400


class Sign:
    """Implements `ports.Signs`. `issuer` is what we are called, where a token says no other."""

    def __init__(self, keys: JwtKeys, *, issuer: str, clock: Clock) -> None:
        self._keys = keys
        self._issuer = issuer
        self._clock = clock

    def sign(self, claims: Mapping[str, Any], *, kind: str = "JWT") -> str:
        now = self._clock.now_ms() // 1000
        ends = claims.get("exp")
        if isinstance(ends, bool) or not isinstance(ends, int) or not now < ends <= now + _LIFE_SECONDS:
            raise ValueError(f"a token ends, in whole seconds, and {LIFE_DAYS} days from now at the latest")
        return self._keys.sign({"iss": self._issuer, "iat": now, **claims}, kind=kind)

    def verify(
        self,
        token: str,
        *,
        kind: str = "JWT",
        audience: str | None = None,
        issuer: str | None = None,
        even_ended: bool = False,
    ) -> Mapping[str, Any]:
        claims = self._keys.verified(token, kind=kind)
        now = self._clock.now_ms() / 1000
        if claims.get("iss") != (issuer or self._issuer):
            raise NotAccepted("its iss is another")
        if jwts.moment(claims, "exp") <= now and not even_ended:
            raise NotAccepted("it has expired")
        if "nbf" in claims and jwts.moment(claims, "nbf") > now:
            raise NotAccepted("its nbf is in the future")
        if audience is not None and audience not in jwts.texts(claims.get("aud")):
            raise NotAccepted("its aud is another")
        return claims

    def pem(self) -> str:
        return self._keys.pem()

    def jwks(self) -> dict[str, Any]:
        return self._keys.jwks()
