"""The shape of the configuration: every setting, what it is written like, and what it does.

These models are the one source of three things: what is accepted, the JSON Schema that editors complete from, and the
table in `config/REFERENCE.md`. They check each value by itself and keep it as it was written; what concerns several
values is in `rules` and `relay_rules`, and what they become is in `building`. Nothing is coerced (`strict`), nothing
unknown is let through (`extra="forbid"`).
"""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from gateway.settings.extras_shape import GeoShape, MailShape
from gateway.settings.texts import (
    AddressText,
    AmountPerText,
    AmountText,
    BodySizeText,
    CheckPath,
    CookieName,
    CredentialText,
    CurrencyText,
    DaysText,
    DurationText,
    EndpointText,
    FieldName,
    FileText,
    HeadSizeText,
    HostLabel,
    HostText,
    JsonPath,
    JsonPaths,
    ListenerText,
    MatchText,
    MethodName,
    Name,
    OriginText,
    Otherwise,
    OwnUnit,
    PasswordText,
    PercentText,
    PriceIdText,
    PriceText,
    ProxyText,
    QueryName,
    QuotaText,
    RateText,
    RelayedName,
    RelayedValue,
    RelayedValues,
    RewriteText,
    SecretText,
    ServerName,
    ServerText,
    Shape,
    StatusText,
    StorageText,
    StoreText,
    StripeKeyText,
    Truth,
    UnitName,
    UserText,
    Version,
    WebhookText,
    Whole,
)

STRIPE_API_URL = "https://api.stripe.com"


class AutoTopUpShape(Shape):
    per_day: Annotated[
        AmountText | None,
        Otherwise("ten times `stripe.top_up`"),
        Field(description="The most that a saved card is charged without its owner in any 24 hours, for one account."),
    ] = None
    per_month: Annotated[
        AmountText | None,
        Otherwise("four times `per_day`"),
        Field(description="The same in any 30 days."),
    ] = None


class StripeShape(Shape):
    secret_key: Annotated[
        StripeKeyText,
        Field(description="Stripe's secret key (sk_…), or a restricted one (rk_…). Its mode must agree with `mode`."),
    ]
    webhook_secrets: Annotated[
        list[WebhookText],
        Field(
            min_length=1,
            description="The signing secrets of the webhook endpoint at Stripe, newest first; several while one is "
            "being replaced.",
        ),
    ]
    webhook_tolerance_seconds: Annotated[
        Whole,
        Field(ge=1, le=86_400, description="How far a webhook's time stamp may be from our clock, in both directions."),
    ] = 300
    webhook_aliases: Annotated[
        list[Literal["/stripe-webhook", "/stripe/webhooks", "/webhooks/stripe"]],
        Field(description="More paths on which Stripe's webhooks are received, besides our own one under `/-/`."),
    ] = Field(default_factory=list)
    reconcile_seconds: Annotated[
        Whole,
        Field(
            ge=0,
            le=86_400,
            description="How often Stripe's list of events is read for webhooks that were missed, besides once at "
            "start. 0: never.",
        ),
    ] = 300
    customer_portal: Annotated[
        Truth,
        Field(
            description="Whether the wallet leads to Stripe's customer portal. Whoever has a token of the account sees "
            "there what Stripe knows of the buyer who saved its card: only where these are the same."
        ),
    ] = False
    login_by_payment: Annotated[
        Literal["off", "same_browser", "on"],
        Field(
            description="Whether who has paid before gets their old wallet when they pay again with the same card or "
            "Link account. `same_browser`: only the browser that began the checkout; `on`: also a checkout that was "
            "begun elsewhere, by a code that the browser which paid is shown."
        ),
    ] = "same_browser"
    freeze_on_fraud_warning: Annotated[
        Truth,
        Field(
            description="Whether an early warning of fraud about a payment freezes the account that it was credited "
            "to, and a card that is tried too often the account that it is tried for."
        ),
    ] = True
    top_up: Annotated[
        AmountText | None,
        Otherwise("ten times the least that Stripe takes: `5.00 usd`"),
        Field(description="What one payment link sells: the balance that a caller gets for it."),
    ] = None
    payment_link: Annotated[
        Literal["fixed", "choose"],
        Field(
            description="Whether the payment link sells `top_up`, or whatever its payer chooses from `amount_min` to "
            "`amount_max`, with `top_up` filled in."
        ),
    ] = "fixed"
    amounts: Annotated[
        list[AmountText],
        Otherwise("once, twice and five times `top_up`"),
        Field(max_length=12, description="What is offered where a caller chooses an amount."),
    ] = Field(default_factory=list)
    amount_min: Annotated[
        AmountText | None,
        Otherwise("the least of `amounts` and `top_up`"),
        Field(description="The least that a caller may choose to pay at once."),
    ] = None
    amount_max: Annotated[
        AmountText | None,
        Otherwise("twenty times the largest of `amounts` and `top_up`"),
        Field(description="The most that a caller may choose to pay at once."),
    ] = None
    amount_day_max: Annotated[
        AmountText | None,
        Otherwise("five times `amount_max`"),
        Field(
            description="The most that checkouts are offered for in any 24 hours for one account, by what was paid "
            "into it. A payment link can be paid all the same, and what arrives is always credited."
        ),
    ] = None
    checkouts_per_account: Annotated[
        RateText, Field(description="How often a checkout may be asked for one account, from any address.")
    ] = "20/hour"
    tries_per_card: Annotated[
        RateText | None,
        Otherwise("`10/hour` in mode live; not bounded in mode test, where all cards are the same"),
        Field(
            description="How often one card may be tried, with or without success; charges of saved cards do not "
            "count. After that `freeze_on_fraud_warning` freezes the account that it is tried for."
        ),
    ] = None
    auto_top_up: Annotated[
        AutoTopUpShape | None,
        Otherwise("no cards are saved"),
        Field(description="Lets callers save a card that pays when their balance runs low. `{}` is enough."),
    ] = None
    api_url: Annotated[
        OriginText,
        Field(description="Where Stripe's API is. Another one is for stand-ins, and only in mode test."),
    ] = STRIPE_API_URL


class PlanShape(Shape):
    price: Annotated[
        PriceIdText, Field(description="The id of its recurring price at Stripe: of one currency, with one amount.")
    ]
    costs: Annotated[
        AmountText,
        Field(description="What a period costs there, for one. Grants are measured by it, and callers are told it."),
    ]
    every: Annotated[
        Literal["day", "week", "month", "year"], Field(description="How long a period is, as callers are told.")
    ] = "month"
    grants: Annotated[
        AmountText | None,
        Otherwise("what it costs"),
        Field(description="The balance that each paid period adds; of a period that is paid in part, that part."),
    ] = None
    priority: Annotated[
        Whole,
        Field(ge=-1000, le=1000, description="When it is spent: lower numbers first. What callers pay in has 0."),
    ] = 0
    expires: Annotated[
        Literal["never", "period_end"], Field(description="When what a period granted and was not spent is gone.")
    ] = "never"
    grace: Annotated[
        DurationText,
        Field(description="How long after the period's end that is: Stripe has the next one paid an hour into it."),
    ] = "24h"
    grants_unpaid: Annotated[
        Truth,
        Field(description="Whether a period grants all of it though less was paid for it: a trial, a coupon."),
    ] = False


class TokensShape(Shape):
    header: Annotated[
        FieldName,
        Field(description="The header that programs send their token in. In Authorization it follows `Bearer `."),
    ] = "Authorization"
    cookie: Annotated[CookieName, Field(description="The cookie that browsers keep their token in.")] = "gateway_token"


class SecretsShape(Shape):
    sealing_keys: Annotated[
        list[SecretText],
        Otherwise("made at the first start: `secrets/sealing_key`"),
        Field(min_length=1, description="Seal payment references. Newest first: it seals, all of them still open."),
    ] = Field(default_factory=list)
    peppers: Annotated[
        list[SecretText],
        Otherwise("made at the first start: `secrets/pepper`"),
        Field(min_length=1, description="Key the digests of tokens. Newest first: it digests, all are still known."),
    ] = Field(default_factory=list)
    operator_token: Annotated[
        SecretText | None,
        Otherwise("made at the first start: `secrets/operator_token`"),
        Field(description="What an operator shows to the admin address."),
    ] = None


class EjectionShape(Shape):
    failures: Annotated[
        Whole, Field(ge=1, le=1000, description="After how many failures in a row a server is left out.")
    ] = 3
    time: Annotated[DurationText, Field(description="For how long at first; twice as long each time after.")] = "1s"
    time_max: Annotated[DurationText, Field(description="For how long at most.")] = "60s"


class HealthCheckShape(Shape):
    path: Annotated[CheckPath, Field(description="What each server is asked for; an answer of 2xx or 3xx is good.")]
    every: Annotated[DurationText, Field(description="How often.")] = "5s"


class UpstreamTlsShape(Shape):
    ca: Annotated[
        FileText | None,
        Otherwise("the system's"),
        Field(description="Certificates (PEM) that are trusted instead. A relative path starts as `store` does."),
    ] = None
    server_name: Annotated[
        ServerName | None,
        Otherwise("the host of the URL"),
        Field(description="Whom the server's certificate must be for; also sent as SNI."),
    ] = None


class HeaderCredentialShape(Shape):
    name: Annotated[RelayedName, Field(description="Which header the upstream wants it in.")]
    value: Annotated[CredentialText, Field(description="All of the header's value, such as `Bearer ${API_KEY}`.")]


class QueryCredentialShape(Shape):
    name: Annotated[QueryName, Field(description="Which parameter of the query the upstream wants it in.")]
    value: Annotated[CredentialText, Field(description="The parameter's value, as it is before it is encoded.")]


class BasicCredentialShape(Shape):
    user: Annotated[UserText, Field(description="The user name, without a colon.")]
    password: Annotated[PasswordText, Field(description="The password.")]


class CredentialShape(Shape):
    header: Annotated[HeaderCredentialShape | None, Field(description="A header of the request.")] = None
    query: Annotated[QueryCredentialShape | None, Field(description="A parameter of the request's query.")] = None
    basic: Annotated[
        BasicCredentialShape | None, Field(description="User name and password in Authorization, as `Basic`.")
    ] = None


class UpstreamShape(Shape):
    url: Annotated[
        ServerText | None,
        Otherwise("this or `servers` is **required**"),
        Field(description="Where it listens: scheme, host and port, or the path of a unix socket."),
    ] = None
    servers: Annotated[
        list[ServerText],
        Otherwise("the one of `url`"),
        Field(min_length=1, max_length=64, description="Where it listens, if in several places, each as good as all."),
    ] = Field(default_factory=list)
    connect_timeout: Annotated[DurationText, Field(description="How long a connection may take to be made.")] = "5s"
    first_byte_timeout: Annotated[
        DurationText, Field(description="How long the answer may take to begin after the request was sent.")
    ] = "60s"
    idle_timeout: Annotated[
        DurationText, Field(description="How long either side may be silent in the middle of a request or an answer.")
    ] = "60s"
    total_timeout: Annotated[
        DurationText | None,
        Otherwise("not bounded"),
        Field(description="How long all may take, from the request to the end of its answer. It bounds streams, too."),
    ] = None
    keep_alive: Annotated[
        DurationText, Field(description="How long a connection to it is kept for the next request.")
    ] = "30s"
    connections: Annotated[
        Whole, Field(ge=1, le=65_535, description="How many connections to it are open at most, over all servers.")
    ] = 1024
    retries: Annotated[
        Whole,
        Field(
            ge=0,
            le=5,
            description="How often a request goes to another server: if it reached none, or none answered and "
            "its method may be repeated.",
        ),
    ] = 1
    ejection: Annotated[
        EjectionShape,
        Field(
            description="When a server that fails is left out. One that is reached but breaks off or is late, only "
            "while another is in."
        ),
    ] = EjectionShape()
    health_check: Annotated[
        HealthCheckShape | None,
        Field(description="Asks each server by itself, so that no caller's request has to find out."),
    ] = None
    tls: Annotated[
        UpstreamTlsShape | None, Field(description="How servers at https:// prove who they are, if not as usual.")
    ] = None
    credential: Annotated[
        CredentialShape | None, Field(description="What the upstream wants to see of us: one of the three kinds.")
    ] = None


class FieldRulesShape(Shape):
    set: Annotated[
        dict[RelayedName, RelayedValue], Field(description="Headers that replace every one of their name.")
    ] = Field(default_factory=dict)
    add: Annotated[
        dict[RelayedName, RelayedValues],
        Field(description="Headers that are added to those of their name; one value, or a list."),
    ] = Field(default_factory=dict)
    remove: Annotated[
        list[RelayedName], Field(description="Names of headers that do not pass. What is added is added after that.")
    ] = Field(default_factory=list)


class LimitShape(Shape):
    name: Annotated[
        Name | None,
        Otherwise("route, `per` and time: `weather-address-second`"),
        Field(description="What callers are told that it is called; unique."),
    ] = None
    rate: Annotated[
        QuotaText | None,
        Otherwise("this or `concurrent` is **required**"),
        Field(
            description="How much in what time, from a second to a month of 30 days: requests, or money as "
            "`5.00 usd/day`. Of money, the most that a request can cost counts."
        ),
    ] = None
    concurrent: Annotated[
        Whole | None,
        Otherwise("not bounded"),
        Field(ge=1, le=65_535, description="How many requests may be under way at once."),
    ] = None
    per: Annotated[
        Literal["caller", "token", "account", "address", "route", "owner"],
        Field(
            description="Whose requests are counted together. caller is the account. As long as nothing was paid, "
            "caller, token and account are the address: an IPv4 address, or 64 bits of IPv6."
        ),
    ] = "caller"
    window: Annotated[
        Literal["sliding", "fixed", "moving"],
        Field(
            description="sliding: by periods, and the part of the one before that lies within the time. fixed: from "
            "the first request on. moving: exactly the time before, at any moment; 10000 requests at most."
        ),
    ] = "sliding"
    callers: Annotated[
        Literal["all", "paid", "unpaid"],
        Field(description="Whom it is for: all, those that have paid, or those that have not."),
    ] = "all"


class MeteredPriceShape(Shape):
    base: Annotated[AmountText | None, Otherwise("nothing"), Field(description="What every charged answer costs.")] = (
        None
    )
    per: Annotated[
        dict[UnitName, AmountPerText],
        Otherwise("nothing"),
        Field(
            description="What is added for each unit: `request_bytes`, `answer_bytes`, `seconds`, `rows`, "
            "`input_tokens`, `cached_tokens`, `output_tokens`, `total_tokens`, or one of `fields`."
        ),
    ] = Field(default_factory=dict)
    fields: Annotated[
        dict[OwnUnit, JsonPath],
        Field(description="Units of its own, and where the answer's JSON, events or lines say how many there are."),
    ] = Field(default_factory=dict)
    rows: Annotated[
        JsonPath | None,
        Otherwise("the document itself, or the lines of NDJSON"),
        Field(description="Where the array stands whose elements are `rows`."),
    ] = None
    reported: Annotated[
        Truth, Field(description="Whether what the upstream says in a `Gateway-Price` header is added.")
    ] = False
    minimum: Annotated[
        AmountText | None, Otherwise("nothing"), Field(description="The least that a charged answer costs.")
    ] = None
    maximum: Annotated[
        AmountText | None,
        Otherwise("`base`, where nothing is added"),
        Field(description="The most that an answer costs; so much is held before a request is forwarded."),
    ] = None
    slice: Annotated[
        AmountText | None,
        Otherwise("all at once"),
        Field(
            description="How much is held at a time, if an answer is paid for as it comes, and ends when the balance "
            "does. Only for bytes, rows and seconds."
        ),
    ] = None
    bounds: Annotated[
        dict[UnitName, JsonPaths],
        Otherwise("`maximum` is held"),
        Field(
            description="Where a request's JSON says how much its answer has of a unit at most, such as `max_tokens`, "
            "or `request_bytes`, the length of its body. "
            "If all units have a bound there, or are `request_bytes`, no more than that costs is held."
        ),
    ] = Field(default_factory=dict)
    unreported: Annotated[
        Literal["maximum", "minimum"],
        Field(description="What an answer costs that does not say how many there are of something that has a price."),
    ] = "maximum"


class LateShape(Shape):
    after: Annotated[DurationText, Field(description="How long the upstream may take until its answer begins.")]
    due: Annotated[PercentText, Field(description="The part of its price that a later answer costs.")] = "free"


class ChargeShape(Shape):
    statuses: Annotated[
        list[StatusText],
        Otherwise("`2xx`, `3xx`"),
        Field(min_length=1, description="The upstream's answers that are charged; all others are free."),
    ] = Field(default_factory=lambda: ["2xx", "3xx"])
    empty: Annotated[
        PercentText, Field(description="The part of its price that an answer costs which has no body but could.")
    ] = "100%"
    cut: Annotated[
        PercentText | None,
        Otherwise("`free`; of a metered price `100%` of what was delivered"),
        Field(description="The part that an answer costs which the upstream breaks off."),
    ] = None
    late: Annotated[
        LateShape | None, Otherwise("charged in full"), Field(description="Answers that take too long.")
    ] = None


def _kind_of_price(value: object) -> str:
    return METERED if isinstance(value, dict | MeteredPriceShape) else FLAT


FLAT, METERED = "flat price", "metered price"
"""The two forms of a price, as pydantic tells them apart in what it reports."""

PriceOfRoute = Annotated[
    Annotated[PriceText, Tag(FLAT)] | Annotated[MeteredPriceShape, Tag(METERED)], Discriminator(_kind_of_price)
]


class RouteShape(Shape):
    name: Annotated[Name, Field(description="What it is called in statements, logs and metrics; unique.")]
    match: Annotated[
        MatchText,
        Field(
            description="A path; if it ends in `/`, everything below it. The longest match wins, whatever the order."
        ),
    ]
    upstream: Annotated[Name, Field(description="The name of the upstream that answers.")]
    price: Annotated[
        PriceOfRoute,
        Field(description="What an answered call costs, or how it adds up. Never left out: `free` must be said."),
    ]
    methods: Annotated[
        dict[MethodName, PriceOfRoute],
        Otherwise("all cost the same"),
        Field(description="What a call costs by its method, such as `POST`; all others cost `price`."),
    ] = Field(default_factory=dict)
    charge_when: Annotated[ChargeShape, Field(description="Which answers are charged, and for what part.")] = (
        ChargeShape()
    )
    strip_prefix: Annotated[Truth, Field(description="Whether the upstream is sent the path without `match`.")] = False
    rewrite: Annotated[
        RewriteText | None,
        Otherwise("the path is sent as it came"),
        Field(
            description="What the path begins with for the upstream in place of `match`; both end in `/`, or neither."
        ),
    ] = None
    host: Annotated[
        HostText,
        Field(description="Whose name the upstream sees in Host: its own, the one that the caller used, or this one."),
    ] = "upstream"
    request_headers: Annotated[
        FieldRulesShape, Field(description="What is done to the headers of a request on its way to the upstream.")
    ] = FieldRulesShape()
    answer_headers: Annotated[
        FieldRulesShape, Field(description="What is done to the headers of an answer on its way to the caller.")
    ] = FieldRulesShape()
    concurrency: Annotated[
        Whole | None,
        Otherwise("not bounded"),
        Field(ge=1, le=65_535, description="How many requests may be under way on this route at once."),
    ] = None
    context_key: Annotated[
        SecretText | None,
        Otherwise("none: it is not told"),
        Field(description="Signs the JWT in `Gateway-Context` that tells the upstream whose request it is."),
    ] = None
    limit: Annotated[
        RateText | None,
        Otherwise("none"),
        Field(description="How often one caller may call. second, minute, hour, day or month; also `5/10 second`."),
    ] = None
    limits: Annotated[
        list[LimitShape],
        Field(max_length=16, description="More limits of this route. A request meets all, or none counts it."),
    ] = Field(default_factory=list)
    limits_down: Annotated[
        Literal["open", "closed"],
        Field(description="What becomes of requests that cannot be counted: they pass, or are refused with a 503."),
    ] = "open"
    unpaid: Annotated[
        Literal["redirect", "page"],
        Field(description="What a browser without balance gets: a redirect to the payment link, or a page with it."),
    ] = "redirect"
    durability: Annotated[
        Literal["strict", "relaxed"],
        Field(description="strict: the price is on disk before the answer starts. relaxed: a moment after."),
    ] = "strict"
    idempotency: Annotated[
        Literal["gateway", "upstream"],
        Field(
            description="Whose affair an `Idempotency-Key` is, on a priced route. gateway: what is asked for with one "
            "key is sold once. upstream: only passed on, which it is in any case."
        ),
    ] = "gateway"
    owner: Annotated[Name, Field(description="Who earns what this route takes.")] = "operator"
    listed: Annotated[Truth, Field(description="Whether it is in the public price list, and in the wallet's.")] = True


class PriceListShape(Shape):
    aliases: Annotated[
        list[Literal["/pricing", "/pricing.json", "/llms.txt", "/openapi.json"]],
        Field(
            description="Paths at the root under which the price list is served, too. None that a route serves: the "
            "upstream's own is never hidden."
        ),
    ] = Field(default_factory=list)


class LimitsShape(Shape):
    request_body_max: Annotated[BodySizeText, Field(description="The largest body that a request may have.")] = (
        "100 MiB"
    )
    request_head_max: Annotated[
        HeadSizeText, Field(description="The largest request line and headers together that a request may have.")
    ] = "32 KiB"
    request_headers_max: Annotated[
        Whole, Field(ge=1, le=1000, description="The most headers that a request may have.")
    ] = 100
    connections_max: Annotated[
        Whole, Field(ge=1, le=1_000_000, description="The most connections that callers may have open, all together.")
    ] = 10_000
    checkouts: Annotated[
        RateText, Field(description="How often one address may begin a payment of an amount of its own.")
    ] = "10/minute"
    checkouts_altogether: Annotated[
        RateText, Field(description="The same for all together. Each is a call to Stripe, which bounds them, too.")
    ] = "10/second"
    payment_looks: Annotated[
        RateText,
        Field(description="How often one address may have Stripe asked about a payment, by the page after it."),
    ] = "20/minute"
    everywhere: Annotated[
        list[LimitShape],
        Field(max_length=16, description="Limits that all routes have, and count together unless `per` is route."),
    ] = Field(default_factory=list)
    storage: Annotated[
        StorageText,
        Field(
            description="Where windows are counted: in memory on each host, or for many hosts in a Redis or Valkey, "
            "such as `redis://:${REDIS_PASSWORD}@cache.example:6379/0`. `concurrent` counts on each host."
        ),
    ] = "memory"
    storage_timeout: Annotated[
        DurationText,
        Field(description="How long a request waits for `storage` at most. What then, a route says: `limits_down`."),
    ] = "100ms"
    subjects_max: Annotated[
        Whole,
        Field(
            ge=1000,
            le=10_000_000,
            description="How many windows are kept at most. With more, some that were not asked for lately begin anew.",
        ),
    ] = 100_000


class IdempotencyShape(Shape):
    keep: Annotated[DurationText, Field(description="How long a key means the request that it was first used for.")] = (
        "24h"
    )
    answer_max: Annotated[
        BodySizeText,
        Field(description="The largest body of an answer that is kept. A larger one is passed on, and not replayed."),
    ] = "256 KiB"
    body_max: Annotated[
        BodySizeText, Field(description="The largest body that a request with a key may have. It is held in memory.")
    ] = "1 MiB"
    wait: Annotated[
        DurationText, Field(description="How long a request waits for another with its key to be answered.")
    ] = "10s"


class TlsShape(Shape):
    certificate: Annotated[
        FileText,
        Field(description="The certificate and its chain (PEM). A relative path starts at the working directory."),
    ]
    key: Annotated[FileText, Field(description="The certificate's private key (PEM).")]


class TimeoutsShape(Shape):
    head: Annotated[DurationText, Field(description="How long a caller may take for the head of a request.")] = "10s"
    keep_alive: Annotated[
        DurationText, Field(description="How long a caller's connection may wait for the next request.")
    ] = "75s"
    body: Annotated[DurationText, Field(description="How long a caller may be silent in the middle of a body.")] = "30s"
    send: Annotated[DurationText, Field(description="How long a caller may take nothing of an answer.")] = "60s"
    shutdown: Annotated[
        DurationText, Field(description="How long requests under way may still take when the gateway stops.")
    ] = "30s"
    ledger: Annotated[
        DurationText,
        Field(
            description="How long an answer may wait until its price is on disk. A commit that takes half of that "
            "closes the paid routes (503) until it is done; a disk that often pauses wants more."
        ),
    ] = "1s"


class RetentionShape(Shape):
    batches_days: Annotated[
        Whole | None,
        Otherwise("for ever"),
        Field(
            ge=1,
            le=36_500,
            description="For how many days single requests stay on record. Their hourly sums, every transfer and every "
            "credit stay for ever.",
        ),
    ] = None


class WebhooksShape(Shape):
    keep_events: Annotated[
        DaysText,
        Field(
            description="For how long events that were acted on are kept, to look at and to replay. Parked ones stay; "
            "an event that comes again after that credits nothing."
        ),
    ] = "90d"


class NoticesShape(Shape):
    url: Annotated[
        EndpointText,
        Field(description="Where messages about accounts are sent, as signed `POST` requests with JSON."),
    ]
    secrets: Annotated[
        list[SecretText],
        Field(
            min_length=1,
            description="Sign the messages. Several while one is being replaced: each signs, and one that fits is "
            "enough.",
        ),
    ]
    low_balance: Annotated[
        AmountText | None,
        Otherwise("nothing is told of balances"),
        Field(description="The line below which a balance is told of, once until it was above it again."),
    ] = None
    private_addresses: Annotated[
        Truth,
        Field(
            description="Whether `url` may be in the clear, and may mean an address that is not one of the internet's: "
            "this machine's, or a private network's."
        ),
    ] = False


class LogShape(Shape):
    format: Annotated[
        Literal["auto", "json", "console"],
        Field(description="auto: console in a terminal, json elsewhere."),
    ] = "auto"
    level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="The least serious event to be logged.")
    ] = "info"


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
    tokens: Annotated[TokensShape, Field(description="How callers show who they are.")] = TokensShape()
    secrets: Annotated[
        SecretsShape, Field(description="Keys of our own, if they are not to be files beside the store.")
    ] = SecretsShape()
    upstreams: Annotated[dict[Name, UpstreamShape], Field(description="The servers that answer, by name.")] = Field(
        default_factory=dict
    )
    routes: Annotated[list[RouteShape], Field(description="Which path goes to which upstream, at what price.")] = Field(
        default_factory=list
    )
    price_list: Annotated[PriceListShape, Field(description="What is told of prices to everybody.")] = PriceListShape()
    timeouts: Annotated[TimeoutsShape, Field(description="How long callers, and the books, may take.")] = (
        TimeoutsShape()
    )
    limits: Annotated[LimitsShape, Field(description="What is too large or too many.")] = LimitsShape()
    idempotency: Annotated[
        IdempotencyShape, Field(description="What is kept of priced requests with an `Idempotency-Key`.")
    ] = IdempotencyShape()
    retention: Annotated[RetentionShape, Field(description="What the books keep, and for how long.")] = RetentionShape()
    webhooks: Annotated[WebhooksShape, Field(description="What Stripe has delivered.")] = WebhooksShape()
    notices: Annotated[
        NoticesShape | None,
        Field(description="Tells an owner or operator what happens to accounts. Without it nobody is told."),
    ] = None
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
    log: Annotated[LogShape, Field(description="Events that are not requests.")] = LogShape()
