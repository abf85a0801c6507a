"""What the rest of the gateway is given: frozen, checked, in the types of `core`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gateway.core.money import Money
from gateway.core.routes import RouteTable, Upstream
from gateway.core.secrets import Secret

Mode = Literal["test", "live"]
Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class StripeSettings:
    """How payments are taken."""

    secret_key: Secret
    webhook_secrets: tuple[Secret, ...]
    webhook_tolerance_seconds: int
    webhook_aliases: tuple[str, ...]
    top_up: Money
    """What one payment link sells."""
    api_url: str

    @property
    def live(self) -> bool:
        """Whether the key moves real money."""
        return self.secret_key.reveal().startswith(("sk_live_", "rk_live_"))


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """Where callers put their token."""

    header: str
    cookie: str


@dataclass(frozen=True, slots=True)
class SecretSettings:
    """Keys of our own, newest first. Empty or None only if they are yet to be made and were not to be made now."""

    sealing_keys: tuple[Secret, ...]
    peppers: tuple[Secret, ...]
    operator_token: Secret | None


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """What is too large."""

    request_body_bytes_max: int
    request_head_bytes_max: int


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How events that are not requests are written."""

    format: Literal["auto", "json", "console"]
    level: Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set."""

    mode: Mode
    listen: Address
    admin: Address
    public_url: str
    """Without a slash at its end. If it was not given, it follows `listen`, whose port may still be 0."""
    public_url_given: bool
    store_path: Path
    """Absolute."""
    secrets_path: Path
    """The folder of the secrets that the gateway makes for itself: `secrets` beside the store."""
    currency: str
    stripe: StripeSettings | None
    tokens: TokenSettings
    secrets: SecretSettings
    upstreams: Mapping[str, Upstream]
    routes: RouteTable
    limits: LimitSettings
    log: LogSettings
