"""Who sends a request."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.core.caps import Cap
from gateway.core.grants import OwnLimit, Scope
from gateway.core.secrets import Secret


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller as far as the request tells. `account` is empty for one without a credential on a free route.

    `on_record` says that a payment was made with this token. `fresh` is a token that was made for this very request.
    `pepper_id` names what `token_digest` was made with. `caps` bind whatever it spends: its own first,
    then those above.
    """

    account: str = ""
    token_digest: bytes = b""
    token_tag: int = 0
    on_record: bool = False
    fresh: Secret | None = None
    pepper_id: str = "0000"
    caps: tuple[Cap, ...] = ()
    scope: Scope | None = None
    """Where its token may be used; None if everywhere."""
    limits: tuple[OwnLimit, ...] = ()
    """How often its token may be used, and those that it came of."""
    is_narrowed: bool = False
    is_viewer: bool = False
    """Whether its token does not stand for the account: what is of the holder alone is not for it."""
    token_id: str = ""
    """What its holder calls the token; empty if it is not on record."""
    claims: Mapping[str, Any] | None = None
    """What an outside provider says of them; None where nobody is told of it."""
    injected: tuple[str, Secret] | None = None
    """A field of theirs at an outside provider, which the upstream is told."""
    is_outside: bool = False
    """Whether an outside provider says who it is, and not a token of ours."""
    is_licence: bool = False
    """Whether it is a licence: a token that says itself whose it is, and until when."""
    audience: str = ""
    """The one resource at which its token may be shown; empty for all, and for our own addresses."""


ANONYMOUS = Caller()
