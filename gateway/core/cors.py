"""Which pages of other sites may call, from a browser: an allow-list of exact origins (the Fetch standard, CORS).

An origin that is not on the list is never answered with, and none is ever `*`. So that no cache gives the answer to one
site to another, every answer says that it depends on `Origin`, also one to a request without any. Errors say it as
well, or a page could not read why it was refused. Everything is put together once, when the gateway is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.core.headers import Fields

FIELDS = frozenset(
    "access-control-allow-origin access-control-allow-credentials access-control-allow-methods"
    " access-control-allow-headers access-control-expose-headers access-control-max-age".split()
)
"""Those that an upstream would say, where the gateway says them."""
_VARY = ("Vary", "Origin")
_ASKS = "Access-Control-Request-Method"


@dataclass(frozen=True, slots=True)
class Cors:
    """The list, and what pages on it may do."""

    origins: frozenset[str]
    methods: tuple[str, ...]
    headers: tuple[str, ...]
    """Besides those that need no leave."""
    exposed: tuple[str, ...]
    max_age_seconds: int
    credentials: bool

    _answer: Fields = field(init=False, compare=False, repr=False)
    _preflight: Fields = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        credentials = [("Access-Control-Allow-Credentials", "true")] if self.credentials else []
        exposed = [("Access-Control-Expose-Headers", ", ".join(self.exposed))] if self.exposed else []
        object.__setattr__(self, "_answer", [_VARY, *credentials, *exposed])
        preflight = [
            ("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
            *credentials,
            ("Access-Control-Allow-Methods", ", ".join(self.methods)),
            ("Access-Control-Allow-Headers", ", ".join(self.headers)),
            ("Access-Control-Max-Age", str(self.max_age_seconds)),
        ]
        object.__setattr__(self, "_preflight", preflight)

    def fields(self, headers: Mapping[str, str]) -> Fields:
        """What the answer to a request says."""
        origin = headers.get("Origin")
        if origin is None or origin not in self.origins:
            return [_VARY]
        return [("Access-Control-Allow-Origin", origin), *self._answer]

    def preflight(self, headers: Mapping[str, str]) -> Fields | None:
        """What the answer to a preflight says; None if its page is not on the list."""
        origin = headers.get("Origin")
        if origin is None or origin not in self.origins:
            return None
        return [("Access-Control-Allow-Origin", origin), *self._preflight]


def is_preflight(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a browser asks, before it sends a request, whether it may. Nothing else of it is of use: not a body."""
    if method != "OPTIONS" or "Origin" not in headers or _ASKS not in headers:
        return False
    return "Transfer-Encoding" not in headers and headers.get("Content-Length", "0") == "0"
