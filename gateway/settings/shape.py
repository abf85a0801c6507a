"""The shape of the configuration: every setting, what it is written like, and what it does.

These models are the one source of three things: what is accepted, the JSON Schema that editors complete from, and the
table in `config/REFERENCE.md`. They check each value by itself and keep it as it was written; what concerns several
values is in `rules`, and what they become is in `building`. Nothing is coerced (`strict`), nothing unknown is let
through (`extra="forbid"`).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from gateway.core.secrets import Secret
from gateway.settings import forms
from gateway.settings.nodes import EnvironmentText

STRIPE_API_URL = "https://api.stripe.com"


@dataclass(frozen=True, slots=True)
class Form:
    """What a setting is written like: in words and as an example."""

    words: str
    example: str
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Otherwise:
    """In words, the default that follows from other settings."""

    words: str


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True)


def _check(form: Callable[[str], object]) -> AfterValidator:
    def check(text: str) -> str:
        form(text)
        return text

    return AfterValidator(check)


def _hidden(form: Callable[[str], str]) -> BeforeValidator:
    def hide(text: object) -> object:
        return Secret(form(str(text))) if isinstance(text, str) else text

    return BeforeValidator(hide)


def _whole_number(value: object) -> object:
    if isinstance(value, EnvironmentText) and re.fullmatch(r"[0-9]{1,18}", value):
        return int(value)
    return value


def _number_of_version(value: object) -> object:
    return None if isinstance(value, bool) else _whole_number(value)  # true would pass for 1


def _yes_or_no(value: object) -> object:
    if isinstance(value, EnvironmentText) and value in ("true", "false"):
        return value == "true"
    return value


_VARIABLE = r"|.*\$\{.*"  # an editor must let `${VAR}` stand where a form is expected


def _written(pattern: str) -> Any:
    return Field(json_schema_extra={"pattern": f"^({pattern}{_VARIABLE})$"})


_SECRET_SCHEMA = WithJsonSchema({"type": "string"})

Name = Annotated[str, _check(forms.name), Form("name", "weather")]
AddressText = Annotated[str, _check(forms.address), Form("host:port", "127.0.0.1:8402"), _written(r".+:[0-9]+")]
OriginText = Annotated[str, _check(forms.origin), Form("URL", "http://127.0.0.1:9001"), _written(r"https?://.+")]
StoreText = Annotated[str, _check(forms.store), Form("store", "sqlite:./data/gateway.db"), _written(r"sqlite:.+")]
CurrencyText = Annotated[str, _check(forms.currency), Form("currency", "usd"), _written(r"[a-z]{3}")]
AmountText = Annotated[
    str, _check(forms.amount), Form("amount", '"5.00 usd"'), _written(r"[0-9]+(\.[0-9]+)? ?[A-Za-z]{3}")
]
PriceText = Annotated[
    str,
    _check(forms.price),
    Form("amount, or `free`", '"0.002 usd"'),
    _written(r"free|[0-9]+(\.[0-9]+)? ?[A-Za-z]{3}"),
]
RateText = Annotated[
    str,
    _check(forms.rate),
    Form("count/time", "100/minute"),
    _written(r"[0-9]+ *(/|per) *[0-9]* *([Ss]econd|[Mm]inute|[Hh]our|[Dd]ay)s?"),
]
DurationText = Annotated[
    str, _check(forms.duration), Form("duration", '"5s"'), _written(r"[0-9]+(\.[0-9]+)? ?(ms|s|m|h)")
]
_SIZE = _written(r"[0-9]+(\.[0-9]+)? ?([KMG]i?)?B")
BodySizeText = Annotated[str, _check(forms.body_size), Form("size", '"100 MiB"'), _SIZE]
HeadSizeText = Annotated[str, _check(forms.head_size), Form("size", '"32 KiB"'), _SIZE]
MatchText = Annotated[str, _check(forms.match), Form("path", "/weather/"), _written(r"/.*")]
FieldName = Annotated[str, _check(forms.field_name), Form("header name", "Authorization")]
CookieName = Annotated[str, _check(forms.cookie_name), Form("cookie name", "gateway_token")]
SecretText = Annotated[Secret, _hidden(forms.secret), Form("secret", "…", secret=True), _SECRET_SCHEMA]
StripeKeyText = Annotated[Secret, _hidden(forms.stripe_key), Form("secret", "sk_test_…", secret=True), _SECRET_SCHEMA]
WebhookText = Annotated[Secret, _hidden(forms.webhook_secret), Form("secret", "whsec_…", secret=True), _SECRET_SCHEMA]
Whole = Annotated[int, BeforeValidator(_whole_number), Form("whole number", "256")]
Truth = Annotated[bool, BeforeValidator(_yes_or_no), Form("true or false", "true")]


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
    ] = []
    top_up: Annotated[
        AmountText | None,
        Otherwise("ten times the least that Stripe takes: `5.00 usd`"),
        Field(description="What one payment link sells: the balance that a caller gets for it."),
    ] = None
    api_url: Annotated[
        OriginText,
        Field(description="Where Stripe's API is. Another one is for stand-ins, and only in mode test."),
    ] = STRIPE_API_URL


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


class UpstreamShape(Shape):
    url: Annotated[OriginText, Field(description="Where it listens: scheme, host and port.")]
    connect_timeout: Annotated[DurationText, Field(description="How long a connection may take to be made.")] = "5s"
    first_byte_timeout: Annotated[
        DurationText, Field(description="How long the answer may take to begin after the request was sent.")
    ] = "60s"
    idle_timeout: Annotated[
        DurationText, Field(description="How long either side may be silent in the middle of a request or an answer.")
    ] = "60s"
    connections: Annotated[
        Whole, Field(ge=1, le=65_535, description="How many connections to it are open at most.")
    ] = 256


class RouteShape(Shape):
    name: Annotated[Name, Field(description="What it is called in statements, logs and metrics; unique.")]
    match: Annotated[
        MatchText,
        Field(
            description="A path; if it ends in `/`, everything below it. The longest match wins, whatever the order."
        ),
    ]
    upstream: Annotated[Name, Field(description="The name of the upstream that answers.")]
    price: Annotated[PriceText, Field(description="What an answered call costs. Never left out: `free` must be said.")]
    strip_prefix: Annotated[Truth, Field(description="Whether the upstream is sent the path without `match`.")] = False
    limit: Annotated[
        RateText | None,
        Otherwise("none"),
        Field(description="How often one caller may call. second, minute, hour or day; also `5/10 second`."),
    ] = None
    unpaid: Annotated[
        Literal["redirect", "page"],
        Field(description="What a browser without balance gets: a redirect to the payment link, or a page with it."),
    ] = "redirect"
    durability: Annotated[
        Literal["strict", "relaxed"],
        Field(description="strict: the price is on disk before the answer starts. relaxed: a moment after."),
    ] = "strict"
    owner: Annotated[Name, Field(description="Who earns what this route takes.")] = "operator"


class LimitsShape(Shape):
    request_body_max: Annotated[BodySizeText, Field(description="The largest body that a request may have.")] = (
        "100 MiB"
    )
    request_head_max: Annotated[
        HeadSizeText, Field(description="The largest request line and headers together that a request may have.")
    ] = "32 KiB"


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

    version: Annotated[Literal[1], BeforeValidator(_number_of_version), Field(description="Of this format.")] = 1
    mode: Annotated[
        Literal["test", "live"],
        Field(description="Keys, webhook secrets and events of the other mode are refused."),
    ] = "test"
    listen: Annotated[AddressText, Field(description="Where callers are served. Port 0 is any free one.")] = (
        "127.0.0.1:8402"
    )
    admin: Annotated[
        AddressText,
        Field(description="Where the operator's calls, health and metrics are served. Keep it off the internet."),
    ] = "127.0.0.1:8403"
    public_url: Annotated[
        OriginText | None,
        Otherwise("`http://` and `listen`"),
        Field(description="How callers and Stripe reach `listen` from outside."),
    ] = None
    store: Annotated[
        StoreText,
        Field(
            description="Where balances are kept. A relative path starts at the working directory. The folder "
            "`secrets` is beside it."
        ),
    ] = "sqlite:./data/gateway.db"
    currency: Annotated[CurrencyText, Field(description="The one currency of every price and balance.")] = "usd"
    stripe: Annotated[
        StripeShape | None,
        Field(description="Takes the payments. Without it the gateway starts, but nobody can pay."),
    ] = None
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
    limits: Annotated[LimitsShape, Field(description="What is too large.")] = LimitsShape()
    log: Annotated[LogShape, Field(description="Events that are not requests.")] = LogShape()
