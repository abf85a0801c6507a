"""The shape of the configuration: every setting, what it is written like, and what it does.

These models are the one source of three things: what is accepted, the JSON Schema that editors complete from, and the
table in `config/REFERENCE.md`. They check each value by itself and keep it as it was written; what concerns several
values is in `rules` and `relay_rules`, and what they become is in `building`. Nothing is coerced (`strict`), nothing
unknown is let through (`extra="forbid"`).
"""

from typing import Annotated, Literal

from pydantic import Field

from gateway.settings.shapes.alerts import AlertsShape
from gateway.settings.shapes.extras import GeoShape, MailShape
from gateway.settings.shapes.identity import CorsShape, IdentityShape
from gateway.settings.shapes.licences import LicencesShape
from gateway.settings.shapes.oauth import OAuthShape
from gateway.settings.shapes.owners import ChargingShape, ConnectShape, OwnerShape, PayoutsShape, ServiceShape
from gateway.settings.shapes.payments import NoticesShape, PlanShape, StripeShape, WebhooksShape
from gateway.settings.shapes.process import (
    CapsShape,
    IdempotencyShape,
    LimitsShape,
    LogShape,
    RetentionShape,
    SecretsShape,
    TimeoutsShape,
    TlsShape,
    TokensShape,
)
from gateway.settings.shapes.routes import PriceListShape, RouteShape
from gateway.settings.shapes.sign_in import SignInShape
from gateway.settings.shapes.upstreams import UpstreamShape
from gateway.settings.texts import (
    AddressText,
    BasisPoints,
    CurrencyText,
    FileText,
    HostLabel,
    ListenerText,
    Name,
    OriginText,
    Otherwise,
    PasswordText,
    ProxyText,
    Shape,
    StoreText,
    Version,
    Whole,
)


class GatewayShape(Shape):
    """The whole file."""

    version: Annotated[Version, Field(description="Of this format.")] = 1
    mode: Annotated[
        Literal["test", "live"],
        Field(description="Keys, webhook secrets and events of the other mode are refused."),
    ] = "test"
    environment: Annotated[
        Literal["development", "staging", "production"] | None,
        Otherwise("`production` in mode live, else `development`"),
        Field(
            description="What this gateway is for. Only production is in mode live, and production in no other. Give "
            "each environment its own store, secrets, Stripe key and webhook endpoint."
        ),
    ] = None
    listen: Annotated[
        ListenerText,
        Field(description="Where callers are served. Port 0 is any free one. A unix socket needs `public_url`."),
    ] = "127.0.0.1:8402"
    tls: Annotated[TlsShape | None, Field(description="Makes `listen` speak https.")] = None
    workers: Annotated[
        Whole,
        Field(
            ge=1,
            le=64,
            description="How many processes serve callers. From 2 on, one more process keeps the books, and a parent "
            "watches over all of them.",
        ),
    ] = 1
    trusted_proxies: Annotated[
        list[ProxyText],
        Otherwise("nobody"),
        Field(
            description="Whose X-Forwarded-… headers are believed: addresses or networks of fronts; `unix` for those "
            "that come over a unix socket."
        ),
    ] = Field(default_factory=list)
    admin: Annotated[
        AddressText,
        Field(description="Where the operator's calls, health and metrics are served. Keep it off the internet."),
    ] = "127.0.0.1:8403"
    public_url: Annotated[
        OriginText | None,
        Otherwise("`http://` and `listen`, or `https://` with `tls`"),
        Field(description="How callers and Stripe reach `listen` from outside."),
    ] = None
    store: Annotated[
        StoreText,
        Field(
            description="Where balances are kept: a file for one host, or a PostgreSQL database for many, such as "
            "`postgresql://gateway@db.example/gateway`. A relative path starts at the working directory. The folder "
            "`secrets` is beside the file, or in `data` if there is none."
        ),
    ] = "sqlite:./data/gateway.db"
    store_password: Annotated[
        PasswordText | None,
        Otherwise("the one in the address, if any"),
        Field(description="The password of a PostgreSQL store, kept out of its address."),
    ] = None
    host_name: Annotated[
        HostLabel | None,
        Otherwise("the machine's name and the port of `listen`"),
        Field(
            description="What this gateway is called among those that share a PostgreSQL store; another for each, and "
            "always the same for one. It takes over what another of its name had."
        ),
    ] = None
    currency: Annotated[CurrencyText, Field(description="The one currency of every price and balance.")] = "usd"
    stripe: Annotated[
        StripeShape | None,
        Field(description="Takes the payments. Without it the gateway starts, but nobody can pay."),
    ] = None
    plans: Annotated[
        dict[Name, PlanShape], Field(max_length=20, description="Subscriptions that add balance each period, by name.")
    ] = Field(default_factory=dict)
    licences: Annotated[
        LicencesShape | None,
        Field(description="Signed proofs of a subscription, which an application verifies by itself. `{}` is enough."),
    ] = None
    compat: Annotated[
        list[Literal["stripeflare"]],
        Field(
            description="Whose callers and upstreams are served as they are used to: `/me` and `/rotate-token` where "
            "no route serves them, the cookie `access_token`, `X-Price`, `X-Balance` and `x-payment-link`."
        ),
    ] = Field(default_factory=list)
    tokens: Annotated[TokensShape, Field(description="How callers show who they are.")] = TokensShape()
    identity: Annotated[
        IdentityShape, Field(description="Outside identity providers that vouch for callers: Clerk, Auth0, Supabase.")
    ] = IdentityShape()
    oauth: Annotated[
        OAuthShape | None,
        Field(description="Lets people allow programs to spend from their wallet: OAuth 2.1, as MCP clients speak it."),
    ] = None
    sign_in: Annotated[
        SignInShape, Field(description="People sign in through an outside provider: Amazon, Google, GitHub, any other.")
    ] = SignInShape()
    cors: Annotated[
        CorsShape | None,
        Field(description="Which pages of other sites may call. Without it, what the upstream says of that passes."),
    ] = None
    secrets: Annotated[
        SecretsShape, Field(description="Keys of our own, if they are not to be files beside the store.")
    ] = SecretsShape()
    upstreams: Annotated[dict[Name, UpstreamShape], Field(description="The servers that answer, by name.")] = Field(
        default_factory=dict
    )
    routes: Annotated[list[RouteShape], Field(description="Which path goes to which upstream, at what price.")] = Field(
        default_factory=list
    )
    commission_bps: Annotated[
        BasisPoints,
        Field(
            description="What the platform keeps of what routes of others than `operator` take, in hundredths of a "
            "percent: 2000 is 20 %."
        ),
    ] = 2000
    owners: Annotated[
        dict[Name, OwnerShape],
        Otherwise("each route may name its own"),
        Field(max_length=1000, description="Those whose upstreams are sold here, by name; `operator` is ourselves."),
    ] = Field(default_factory=dict)
    routes_folder: Annotated[
        FileText,
        Field(
            description="Where owners' own routes are, each in `OWNER.yaml`, for those whose `owners.*.routes` allows "
            "it. A reload reads them again. A relative path starts at the working directory."
        ),
    ] = "config/routes.d"
    connect: Annotated[
        ConnectShape | None,
        Otherwise("owners are paid outside of this gateway, or into `owners.*.stripe_account`"),
        Field(description="Opens an account at Stripe for each owner who signs in (Stripe Connect)."),
    ] = None
    payouts: Annotated[
        PayoutsShape | None,
        Otherwise("nobody is paid"),
        Field(description="Pays what is due to owners into their accounts at Stripe. `{}` is enough."),
    ] = None
    charging: Annotated[
        ChargingShape | None,
        Otherwise("nobody is charged by agreement"),
        Field(
            description="Charges the platform's fee of a confirmed refund from a saved payment method, when a service "
            "asks for it (`gateway service`). `{}` is enough."
        ),
    ] = None
    services: Annotated[
        dict[Name, ServiceShape],
        Otherwise("`gateway service add` makes them"),
        Field(max_length=100, description="Programs of the platform's own that call this gateway, by name."),
    ] = Field(default_factory=dict)
    prices_file: Annotated[
        FileText | None,
        Otherwise("each route says what it costs"),
        Field(
            description="A YAML file with the prices of routes by their names: a price, or `price`, `methods`, `plans` "
            "and `charge_when`, which the route itself then leaves out. A reload reads it again. A relative path "
            "starts at the working directory."
        ),
    ] = None
    price_list: Annotated[PriceListShape, Field(description="What is told of prices to everybody.")] = PriceListShape()
    timeouts: Annotated[TimeoutsShape, Field(description="How long callers, and the books, may take.")] = (
        TimeoutsShape()
    )
    limits: Annotated[LimitsShape, Field(description="What is too large or too many.")] = LimitsShape()
    idempotency: Annotated[
        IdempotencyShape, Field(description="What is kept of priced requests with an `Idempotency-Key`.")
    ] = IdempotencyShape()
    caps: Annotated[CapsShape, Field(description="What accounts may spend in a period.")] = CapsShape()
    retention: Annotated[RetentionShape, Field(description="What the books keep, and for how long.")] = RetentionShape()
    webhooks: Annotated[WebhooksShape, Field(description="What Stripe has delivered.")] = WebhooksShape()
    notices: Annotated[
        NoticesShape | None,
        Field(description="Tells an owner or operator what happens to accounts. Without it nobody is told."),
    ] = None
    alerts: Annotated[AlertsShape, Field(description="Tells operators what they have to know of.")] = AlertsShape()
    mail: Annotated[
        MailShape | None,
        Field(
            description="Writes to who holds a wallet what `notices` tells of it, where Link has told their address "
            "(the extra `mail`)."
        ),
    ] = None
    geo: Annotated[
        GeoShape | None,
        Field(description="From which countries payments are taken (the extra `geo`). Without it, from everywhere."),
    ] = None
    log: Annotated[LogShape, Field(description="What is written down of requests, and of what else happens.")] = (
        LogShape()
    )
    trace: Annotated[
        Literal["pass", "make", "off"],
        Field(
            description="What becomes of a caller's `traceparent` (W3C Trace Context). pass: a valid one goes on byte "
            "for byte; make: its trace goes on with a span of ours, the one field that is replaced. In both, where "
            "there is no valid one, ours names the request. off: it is a field like any other, and none is made."
        ),
    ] = "pass"
