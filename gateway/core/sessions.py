"""Somebody who signed in, as their browser shows it: a JWT of ours in the cookie that a token would be in.

It is signed with a key of the ring that is for nothing else (HS256: nobody but us ever reads it, so there is no public
key to be had, and a rotation is that of the ring). It says which session it is and until when the browser may be idle;
whose that session is, and whether it still is one, stands on record. So a session that was ended is over everywhere
within two seconds, whatever its cookie says. `end` bounds it, however often it is shown.
"""

from dataclasses import dataclass

import jwt

from gateway.core import jwts
from gateway.core.keyring import Keyring, UnknownKey

_PURPOSE = "session"
_ALGORITHM = "HS256"
_TYPE = "session+jwt"
_CHARACTERS_MAX = 1024


@dataclass(frozen=True, slots=True)
class Session:
    """What a cookie says that opens. Times are seconds since 1970."""

    id: str
    user: str
    key_id: str
    issued: int
    until: int
    """Until when its browser may be idle."""
    end: int

    @property
    def identity(self) -> str:
        """Names it. It is no secret: who shows it is not signed in."""
        return f"session\0{self.id}"


class SessionMint:
    """Makes sessions' cookies and reads its own. `issuer` is our address: one of another gateway is none here."""

    __slots__ = ("_idle_seconds", "_issuer", "_keyring")

    def __init__(self, keyring: Keyring, *, issuer: str, idle_seconds: int) -> None:
        self._keyring = keyring
        self._issuer = issuer
        self._idle_seconds = idle_seconds

    def mint(self, id: str, user: str, *, now: int, end: int) -> str:
        key = self._keyring.newest
        claims = {"iss": self._issuer, "sub": user, "sid": id, "iat": now, "end": end}
        claims["exp"] = min(now + self._idle_seconds, end)
        return jwt.encode(claims, key.subkey(_PURPOSE), algorithm=_ALGORITHM, headers={"kid": key.id, "typ": _TYPE})

    def recognise(self, text: str, *, now: float) -> Session | None:
        """The session, if one of our keys signed it, for this gateway, and its browser was not idle for too long."""
        if len(text) > _CHARACTERS_MAX or not jwts.is_jwt(text):
            return None
        try:
            head = jwt.get_unverified_header(text)
            if head.get("typ") != _TYPE:
                return None
            key = self._keyring.key(str(head.get("kid")))
            claims = jwt.decode(
                text,
                key.subkey(_PURPOSE),
                algorithms=[_ALGORITHM],
                issuer=self._issuer,
                options={
                    "verify_exp": False,
                    "verify_iat": False,
                    "require": ["iss", "sub", "sid", "iat", "exp", "end"],
                },
            )
        except (jwt.PyJWTError, UnknownKey, ValueError):
            return None
        session = Session(claims["sid"], claims["sub"], key.id, claims["iat"], claims["exp"], claims["end"])
        return session if now < session.until else None

    def renewed(self, session: Session, *, now: int) -> str | None:
        """The same for a browser that was here now; None while the one before is fresh enough."""
        if now - session.issued < self._idle_seconds // 8 or session.until >= session.end:
            return None
        return self.mint(session.id, session.user, now=now, end=session.end)
