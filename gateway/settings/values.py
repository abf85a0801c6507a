"""What the rest of the gateway is given: frozen, checked, in the types of `core`."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal

from gateway.core.alerts import Thresholds
from gateway.core.auto_top_ups import Ceilings
from gateway.core.charges import ChargeTerms
from gateway.core.compat import Compat
from gateway.core.cors import Cors
from gateway.core.countries import CountryRule
from gateway.core.jwts import Issuer
from gateway.core.licences import Terms
from gateway.core.limits import Rate
from gateway.core.money import Money
from gateway.core.owning import Api
from gateway.core.payouts import PayoutTerms
from gateway.core.plans import Plan
from gateway.core.routes import RouteTable, Upstream
from gateway.core.secrets import Secret
from gateway.core.services import ServiceRole
from gateway.core.sign_ins import Provider
from gateway.core.traces import TraceMode

Mode = Literal["test", "live"]
Environment = Literal["development", "staging", "production"]
Address = tuple[str, int]
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """A place to listen that has no address: the absolute path of a socket."""

    path: str


Listener = Address | UnixSocket


@dataclass(frozen=True, slots=True)
class ChoiceSettings:
    """What a caller may choose to pay at once."""

    presets: tuple[Money, ...]
    least: Money
    most: Money
    day_most: Money
    """For one account, in any 24 hours."""
    per_account: Rate
    """How often a checkout may be asked for."""


@dataclass(frozen=True, slots=True)
class StripeSettings:
    """How payments are taken."""

    secret_key: Secret
    webhook_secrets: tuple[Secret, ...]
    webhook_tolerance_seconds: int
    webhook_aliases: tuple[str, ...]
    reconcile_seconds: int
    """0: never."""
    customer_portal: bool
    login_by_payment: Literal["off", "same_browser", "on"]
    freeze_on_fraud_warning: bool
    top_up: Money
    """What one payment link sells."""
    payer_chooses: bool
    """Whether its payer chooses another amount, within the bounds of `choice`."""
    choice: ChoiceSettings
    tries_per_card: Rate | None
    declines_per_account: Rate | None
    auto_top_up: Ceilings | None
    """What a saved card may be charged at most without its owner; None: no cards are saved."""
    api_url: str
    publishable_key: str | None = None

    @property
    def live(self) -> bool:
        """Whether the key moves real money."""
        return self.secret_key.reveal().startswith(("sk_live_", "rk_live_"))


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """Where callers put their token."""

    header: str
    cookie: str
    per_account_max: int
    """Of those that are good."""
    rotation_grace_seconds: float


@dataclass(frozen=True, slots=True)
class SecretSettings:
    """Keys of our own, newest first. Empty or None only if they are yet to be made and were not to be made now."""

    sealing_keys: tuple[Secret, ...]
    peppers: tuple[Secret, ...]
    jwt_keys: tuple[Secret, ...]
    """Each in PEM."""
    operator_token: Secret | None
    auditor_token: Secret | None
    """None where there is no auditor."""


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """How callers are spoken to in https. Both files were there when the settings were read."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class CallerTimeouts:
    """How long callers may take."""

    head_seconds: float
    keep_alive_seconds: float
    """How long a connection waits for its next request."""
    body_seconds: float
    """How long a caller may be silent in the middle of a body."""
    send_seconds: float
    """How long a caller may take nothing of its answer."""
    shutdown_seconds: float
    """How long requests in flight may still take when the gateway stops."""


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """What is too large or too many."""

    request_body_bytes_max: int
    request_head_bytes_max: int
    request_fields_max: int
    connections_max: int
    """Of callers, all together."""
    checkouts: Rate
    """Of one address, as `payment_looks`."""
    checkouts_altogether: Rate
    payment_looks: Rate
    failed_credentials: Rate
    storage_url: Secret | None
    """Where hosts count together; None: in memory. It may hold a password."""
    storage_seconds_max: float
    subjects_max: int
    """How many windows are kept."""


@dataclass(frozen=True, slots=True)
class IdempotencySettings:
    """What is kept of requests with a key."""

    keep_seconds: float
    answer_bytes_max: int
    answers_bytes_max: int
    """Of all answers together."""
    body_bytes_max: int
    wait_seconds: float


@dataclass(frozen=True, slots=True)
class CapSettings:
    """What is so of all caps."""

    time_zone: str
    tell_at_percent: int


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """What the books and the records keep."""

    batches_days: int | None
    """For how long single requests stay on record; None: for ever."""
    events_days: int
    """For how long webhook events do that were acted on."""
    readings_days: int
    """For how long what meters read does; 0: it is not kept at all."""
    readings_max: int


@dataclass(frozen=True, slots=True)
class NoticeSettings:
    """Who is told what happens to accounts."""

    url: str
    secrets: tuple[Secret, ...]
    low_balance: Money | None
    private_addresses: bool


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """Of what operators are told, and where."""

    url: str | None
    secrets: tuple[Secret, ...]
    private_addresses: bool
    mail_to: tuple[str, ...]
    every_seconds: float
    remind_ms: int
    ends_ms: int
    thresholds: Thresholds
    audit_seconds: float

    @property
    def tells(self) -> bool:
        """Whether anybody is told."""
        return self.url is not None or bool(self.mail_to)


@dataclass(frozen=True, slots=True)
class MailSettings:
    """How letters are sent."""

    host: str
    port: int
    user: str | None
    password: Secret | None
    sender: str
    starttls: bool


@dataclass(frozen=True, slots=True)
class GeoSettings:
    """From where payments are taken."""

    database: Path
    """It was there when the settings were read."""
    rule: CountryRule
    per_country: Rate | None


@dataclass(frozen=True, slots=True)
class LicenceSettings:
    """Signed proofs of a subscription."""

    terms: Terms
    origins: frozenset[str]
    """Besides our own."""
    restore_proof: Literal["code", "none"]
    restores_per_address: Rate
    restores_per_client: Rate
    devices: int
    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """Who vouches for callers. Without issuers, nobody needs to."""

    issuers: tuple[Issuer, ...]
    private_addresses: bool


@dataclass(frozen=True, slots=True)
class OAuthSettings:
    """How agents are authorized."""

    spend_default: Money
    """In a month."""
    access_ms: int
    refresh_ms: int
    registrations: Rate
    clients_max: int
    private_addresses: bool
    asks: bool
    """Whether people are asked; only tests by machines do without."""


@dataclass(frozen=True, slots=True)
class SignInSettings:
    """Through whom people sign in, and for how long."""

    providers: Mapping[str, Provider]
    after: str
    """The path that they are sent to."""
    session_idle_seconds: int
    session_seconds_max: int
    older_paths: bool
    private_addresses: bool


@dataclass(frozen=True, slots=True)
class OwnRoutesSettings:
    """What the operator lets an owner's own routes be. `hosts` are names, `*.name`, or addresses."""

    hosts: tuple[str, ...]
    price_max: Money
    price_min: Money | None
    prefix: str
    routes_max: int
    private_addresses: bool


@dataclass(frozen=True, slots=True)
class OwnerSettings:
    """Somebody whose upstreams are sold here. A route of theirs may say another commission."""

    name: str
    commission_points: int
    named: bool
    """Whether `owners` holds them, and not just a route."""
    signs_in: tuple[tuple[str, str], ...] = ()
    """Who acts for them: a provider, and what it calls them."""
    country: str | None = None
    stripe_account: str | None = None
    terms: PayoutTerms | None = None
    """How they are paid, if anybody is."""
    routes: OwnRoutesSettings | None = None
    """Within which they may have routes of their own, if they may."""


@dataclass(frozen=True, slots=True)
class ConnectSettings:
    """How owners come by an account at Stripe."""

    country: str
    api: Api
    older_paths: bool


@dataclass(frozen=True, slots=True)
class PayoutSettings:
    """How owners are paid, if nothing else is set for one."""

    terms: PayoutTerms
    owners_bear: bool
    """What a caller spent and then took back; else the platform does."""


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """A program of the platform's own. `older` is good beside its secret."""

    name: str
    role: ServiceRole
    owner: str
    secret: Secret
    older: Secret | None


@dataclass(frozen=True, slots=True)
class ChargingSettings:
    """How the fees of confirmed refunds are charged."""

    terms: ChargeTerms
    older_paths: bool


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How events and requests are written."""

    format: Literal["auto", "json", "console"]
    level: Literal["debug", "info", "warning", "error"]
    requests: Literal["all", "errors", "sampled", "off"]
    sample_one_in: int
    file: Path | None
    rotate_bytes: int | None
    rotate_daily: bool
    keep_days: int | None


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set."""

    mode: Mode
    environment: Environment
    listen: Listener
    tls: TlsSettings | None
    workers: int
    """How many processes serve callers; with more than one, another keeps the books."""
    trusted_proxies: tuple[Network, ...]
    """Whose forwarding fields are believed."""
    trust_unix: bool
    """Whether those of callers on a unix socket are."""
    admin: Address
    public_url: str
    """Without a slash at its end. If it was not given, it follows `listen`, whose port may still be 0."""
    public_url_given: bool
    store_path: Path
    """Absolute. Of a database, a file that is not there, beside which our own files stand."""
    store_url: Secret | None
    """The address of a database, if the store is one; it may hold a password."""
    store_password: Secret | None
    host_name: str
    """What this gateway is called among those that share a database."""
    secrets_path: Path
    """The folder of the secrets that the gateway makes for itself: `secrets` beside the store."""
    currency: str
    stripe: StripeSettings | None
    plans: tuple[Plan, ...]
    """Subscriptions that are sold."""
    licences: LicenceSettings | None
    compat: frozenset[Compat]
    """Whose callers and upstreams are served as they are used to."""
    tokens: TokenSettings
    identity: IdentitySettings
    oauth: OAuthSettings | None
    sign_in: SignInSettings
    cors: Cors | None
    secrets: SecretSettings
    owners: Mapping[str, OwnerSettings]
    """Those that are named, here or by a route; in that order."""
    routes_folder: Path
    """Where owners' own routes are."""
    connect: ConnectSettings | None
    payouts: PayoutSettings | None
    charging: ChargingSettings | None
    services: tuple[ServiceSettings, ...]
    upstreams: Mapping[str, Upstream]
    routes: RouteTable
    price_list_aliases: tuple[str, ...]
    """Paths at the root under which the price list is served, too; no route serves them."""
    timeouts: CallerTimeouts
    ledger_seconds: float
    """How long an answer may wait for the record of its price."""
    limits: LimitSettings
    idempotency: IdempotencySettings
    caps: CapSettings
    retention: RetentionSettings
    notices: NoticeSettings | None
    alerts: AlertSettings
    mail: MailSettings | None
    geo: GeoSettings | None
    log: LogSettings
    trace: TraceMode
    file: Path | None = None
    """Where this was read, absolute; None where the environment alone configures."""

    @property
    def is_for_services(self) -> bool:
        """Whether there is anything that a service could call."""
        return self.charging is not None or any(owner.routes is not None for owner in self.owners.values())
