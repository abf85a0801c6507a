"""Outside providers through which people sign in, and what a browser remembers on its way there and back.

OAuth 2.0 with a code, and what was learnt since (RFC 9700): PKCE with S256; a `state` that only this browser knows,
sealed in its cookie together with the provider that it set out for, so that an answer of another provider, or one that
was begun elsewhere, is none; the provider's `iss` (RFC 9207) where it says one; an address to come back to that is
ours alone, another for each provider; and a way back into the site that is only ever a path of this host.
"""

import hashlib
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from gateway.core.keyring import KEY_ID_CHARS, Keyring, NotOurs, UnknownKey
from gateway.core.secrets import Secret

AWAY_SECONDS = 600
"""How long somebody may be away to sign in."""
_PURPOSE = "signing in"
PROFILE_PURPOSE = "users.profile"
"""What a profile is sealed for, each in its own row alone."""
_NEXT_CHARACTERS_MAX = 1000
_NEXT = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")
_TEXT_CHARACTERS_MAX = 320
_OVER = ("invalid_grant", "bad_refresh_token")
_OVER_STATUSES = (400, 401, 200)
"""GitHub answers with 200, and calls it a bad_refresh_token."""
_OF_CLIENT = ("invalid_client", "unauthorized_client", "incorrect_client_credentials")
_ERROR = re.compile(r"[a-z_]{1,40}")

Kind = Literal["sign_in", "consent"]
State = Literal["connected", "failing", "consent_needed", "disconnected"]


@dataclass(frozen=True, slots=True)
class Sync:
    """How all of somebody's is read from an upstream, page by page: where, and what a page says."""

    url: str
    items: str
    """Where a page holds its list: names with dots between them."""
    next: str
    """The same of what the next page is asked for with; absent on the last."""
    parameter: str
    """The name that it has in the query."""


@dataclass(frozen=True, slots=True)
class Provider:
    """One way to sign in, or to connect something of somebody's who is signed in."""

    name: str
    title: str
    """What a button calls it."""
    kind: Kind
    client_id: str
    client_secret: Secret
    issuer: str | None = None
    """What `iss` says. With `discovers`, where it tells its addresses, and whose ID tokens say who somebody is."""
    discovers: bool = False
    authorize_url: str = ""
    token_url: str = ""
    profile_url: str = ""
    revoke_url: str | None = None
    probe_url: str | None = None
    """Where it is tried whether a token works; None: where the profile is."""
    scopes: tuple[str, ...] = ()
    asks: Mapping[str, str] = field(default_factory=dict)
    """What else is said on the way there."""
    application_id: str | None = None
    """What it calls us in its own consent, which is not OAuth's; None: OAuth's."""
    subject: str = "sub"
    """Under which name a profile says who it is of."""
    header: str = "Authorization"
    """The field that an access token is shown in; after `Bearer ` in this one."""
    sync: Sync | None = None

    def shows(self, access: Secret) -> tuple[str, str]:
        """The field that a call in somebody's name brings."""
        return self.header, f"Bearer {access.reveal()}" if self.header.lower() == "authorization" else access.reveal()


@dataclass(frozen=True, slots=True)
class Away:
    """What a browser remembers while it is at the provider's."""

    provider: str
    state: str
    nonce: str
    verifier: str
    redirect_uri: str
    next: str
    until: int
    user: str = ""
    """Who connects something; empty for one who signs in."""

    def sealed(self, keyring: Keyring, *, nonce: bytes) -> str:
        key_id, body = keyring.seal(_PURPOSE, json.dumps(asdict(self)).encode(), nonce=nonce)
        return key_id + urlsafe_b64encode(body).decode().rstrip("=")

    @classmethod
    def opened(cls, keyring: Keyring, text: str) -> "Away | None":
        """What was sealed; None for anything else."""
        body = text[KEY_ID_CHARS:]
        try:
            sealed = urlsafe_b64decode(body + "=" * (-len(body) % 4))
            return cls(**json.loads(keyring.open(_PURPOSE, text[:KEY_ID_CHARS], sealed)))
        except (ValueError, TypeError, NotOurs, UnknownKey):
            return None


def challenge(verifier: str) -> str:
    """S256 of a verifier (RFC 7636, section 4.2)."""
    return urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def way_back(wanted: str | None, otherwise: str) -> str:
    """Where to go afterwards: a path of this host, or else that one. Never another site, however it is spelt."""
    if wanted is None or len(wanted) > _NEXT_CHARACTERS_MAX or _NEXT.fullmatch(wanted) is None:
        return otherwise
    return wanted


@dataclass(frozen=True, slots=True)
class Profile:
    """Who signed in, as the provider says; what it did not say is empty."""

    subject: str
    email: str = ""
    name: str = ""
    seller: str = ""
    letters: bool = True
    """Whether they may be written to, there."""

    def after(self, before: "Profile") -> "Profile":
        """With what was known before and the provider does not say each time."""
        return replace(self, seller=before.seller, letters=before.letters or before.email != self.email)

    def text(self) -> str:
        """How it is kept."""
        kept = {"email": self.email, "name": self.name, "seller": self.seller}
        return json.dumps(kept if self.letters else {**kept, "letters": False})


def profile(provider: Provider, said: Mapping[str, Any]) -> Profile | None:
    """None where it does not say who it is of. An address that its provider did not verify is not taken for one."""
    subject = said.get(provider.subject)
    if isinstance(subject, int) and not isinstance(subject, bool):
        subject = str(subject)
    if not isinstance(subject, str) or not 0 < len(subject) <= 255 or not subject.isprintable():
        return None
    email = "" if said.get("email_verified") in (False, "false") else _text(said.get("email"))
    return Profile(subject, email, _text(said.get("name")) or _text(said.get("login")))


def opened_profile(keyring: Keyring, user: str, key_id: str, sealed: bytes) -> Profile:
    """What is known of somebody; nothing, where nobody can open it any more."""
    try:
        return Profile("", **read_object(keyring.open(PROFILE_PURPOSE, key_id, sealed, about=user)))
    except (NotOurs, UnknownKey):
        return Profile("")


def sealed_profile(keyring: Keyring, user: str, profile: Profile, *, nonce: bytes) -> tuple[str, bytes]:
    """Under which key, and the sealed text."""
    return keyring.seal(PROFILE_PURPOSE, profile.text().encode(), nonce=nonce, about=user)


def login_text(provider: Provider, subject: str) -> str:
    """What the keyed digest is made of by which somebody is found who signs in."""
    return f"user\0{provider.name}\0{provider.issuer or ''}\0{subject}"


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a provider gave for somebody. Without `expires_ms` the access token is good until it is not."""

    access: Secret
    refresh: Secret | None
    expires_ms: int | None

    def text(self) -> str:
        """How they are kept, before that is sealed."""
        return json.dumps({"access": self.access.reveal(), "refresh": self.refresh and self.refresh.reveal()})

    @classmethod
    def read(cls, text: str, expires_ms: int | None) -> "Tokens":
        kept = json.loads(text)
        return cls(Secret(kept["access"]), Secret(kept["refresh"]) if kept["refresh"] else None, expires_ms)


def tokens(said: Mapping[str, Any], *, before: Tokens | None, now_ms: int) -> Tokens | None:
    """What an answer of a token endpoint gives (RFC 6749, section 5.1); None if that is no token."""
    access, refresh, seconds = said.get("access_token"), said.get("refresh_token"), said.get("expires_in")
    if not isinstance(access, str) or not 0 < len(access) <= 8192 or not access.isascii() or not access.isprintable():
        return None
    if isinstance(seconds, str) and seconds.isdecimal() and len(seconds) < 10:
        seconds = int(seconds)
    known = isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds < 10**9
    kept = Secret(refresh) if isinstance(refresh, str) and refresh else before.refresh if before else None
    return Tokens(Secret(access), kept, now_ms + int(seconds * 1000) if known and seconds is not None else None)


def is_over(status: int, said: Mapping[str, Any]) -> bool:
    """Whether an answer to a refresh token says that what was allowed is at its end (RFC 6749, section 5.2).

    Only this does, and not what else an answer may be: a provider that is in trouble, or busy, or does not take our own
    secret, says nothing of what somebody allowed.
    """
    return status in _OVER_STATUSES and said.get("error") in _OVER


def problem(status: int, said: Mapping[str, Any]) -> str:
    """What an answer without a token says, for the log: its status, and its error where that is only a name."""
    error = said.get("error")
    named = isinstance(error, str) and _ERROR.fullmatch(error) is not None
    return f"it answered {status}" + (f" {error}" if named else "")


def is_of_client(said: Mapping[str, Any]) -> bool:
    """Whether an error is about the gateway itself, whose id or secret at the provider is wrong."""
    return said.get("error") in _OF_CLIENT


def read_object(body: bytes) -> dict[str, Any]:
    """A JSON object; empty for anything else."""
    with suppress(ValueError, RecursionError):
        found = json.loads(body)
        if isinstance(found, dict):
            return found
    return {}


def _text(value: object) -> str:
    fits = isinstance(value, str) and len(value) <= _TEXT_CHARACTERS_MAX and value.isprintable()
    return str(value) if fits else ""
