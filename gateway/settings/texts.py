"""What settings are written like: the texts, numbers and truths that the `shape` is made of.

Each is a type of its own with a form, an example, and a pattern for editors. Nothing is coerced but what comes from
the environment, where all is text.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from gateway.core.secrets import Secret
from gateway.settings import forms, price_forms, relay_forms
from gateway.settings.nodes import EnvironmentText


@dataclass(frozen=True, slots=True)
class Form:
    """What a setting is written like: in words and as an example. What is `private` is no secret but never quoted."""

    words: str
    example: str
    secret: bool = False
    private: bool = False


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


def _status_as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


_STATUS_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 200, "maximum": 599}]}


def _in_a_list(value: object) -> object:
    return [value] if isinstance(value, str | int | float) else value


_VARIABLE = r"|.*\$\{.*"  # an editor must let `${VAR}` stand where a form is expected


def _written(pattern: str) -> Any:
    return Field(json_schema_extra={"pattern": f"^({pattern}{_VARIABLE})$"})


_SECRET_SCHEMA = WithJsonSchema({"type": "string"})

Name = Annotated[str, _check(forms.name), Form("name", "weather")]
AddressText = Annotated[str, _check(forms.address), Form("host:port", "127.0.0.1:8402"), _written(r".+:[0-9]+")]
ListenerText = Annotated[
    str,
    _check(relay_forms.listener),
    Form("host:port, or unix:/path", "127.0.0.1:8402"),
    _written(r".+:[0-9]+|unix:/.+"),
]
ServerText = Annotated[
    str,
    _check(relay_forms.server),
    Form("URL, or unix:/path", "http://127.0.0.1:9001"),
    _written(r"https?://.+|unix:/.+"),
]
ProxyText = Annotated[str, _check(relay_forms.proxy), Form("address, network or `unix`", "10.0.0.0/8")]
FileText = Annotated[str, _check(relay_forms.file), Form("path of a file", "tls/server.pem")]
OriginText = Annotated[str, _check(forms.origin), Form("URL", "http://127.0.0.1:9001"), _written(r"https?://.+")]
EndpointText = Annotated[
    str, _check(forms.endpoint), Form("URL", "https://shop.example/told"), _written(r"https?://.+")
]
StoreText = Annotated[
    str,
    _check(forms.store),
    Form("store", "sqlite:./data/gateway.db"),
    _written(r"sqlite:.+|postgres(ql)?://.+"),
]
StorageText = Annotated[
    str,
    _check(forms.limits_storage),
    Form("`memory`, or URL of Redis", "redis://cache.example:6379/0", private=True),
    _written(r"memory|rediss?://.+"),
]
HostLabel = Annotated[str, _check(forms.host_label), Form("name of a host", "shop-1")]
CurrencyText = Annotated[str, _check(forms.currency), Form("currency", "usd"), _written(r"[a-z]{3}")]
ZoneText = Annotated[str, _check(forms.time_zone), Form("time zone", "Europe/Berlin"), _written(r"[A-Za-z].*")]
CountryText = Annotated[str, _check(forms.country), Form("country", "NO"), _written(r"[A-Z]{2}")]
MailAddress = Annotated[
    str, _check(forms.mail_address), Form("e-mail address", "shop@example.com"), _written(r"[^ @]+@[^ @]+")
]
AmountText = Annotated[
    str, _check(forms.amount), Form("amount", '"5.00 usd"'), _written(r"[0-9]+(\.[0-9]+)? ?[A-Za-z]{3}")
]
PriceIdText = Annotated[str, _check(forms.price_id), Form("id of a price", "price_1abc")]
PriceText = Annotated[
    str,
    _check(forms.price),
    Form("amount, named credit, or `free`", '"0.002 usd"'),
    _written(r"free|[0-9]+(\.[0-9]+)? ?[A-Za-z]{3}|[0-9]+ unit:[a-z][a-z0-9_-]*"),
]
GrantText = Annotated[
    str,
    _check(forms.grant),
    Form("amount, or named credit", '"12.00 usd"'),
    _written(r"[0-9]+(\.[0-9]+)? ?[A-Za-z]{3}|[0-9]+ unit:[a-z][a-z0-9_-]*"),
]
AmountPerText = Annotated[
    str,
    _check(price_forms.amount_per),
    Form("amount for so many", '"3.00 usd per 1M"'),
    _written(r"[0-9]+(\.[0-9]+)? ?[A-Za-z]{3}( *(/|per) *.+)?"),
]
MethodName = Annotated[str, _check(price_forms.method)]
CallName = Annotated[str, _check(price_forms.call_name), Form("name", "search")]
UnitName = Annotated[str, _check(price_forms.unit)]
OwnUnit = Annotated[str, _check(price_forms.own_unit)]
JsonPath = Annotated[str, _check(price_forms.json_path), Form("path in JSON", "usage.pages")]
JsonPaths = Annotated[
    list[JsonPath],
    BeforeValidator(_in_a_list),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
PercentText = Annotated[str, _check(price_forms.percent), Form("`free` or a percentage", '"50%"')]
StatusText = Annotated[
    str,
    BeforeValidator(_status_as_text),
    _check(price_forms.statuses),
    Form("status", "2xx"),
    WithJsonSchema(_STATUS_SCHEMA),
]
RateText = Annotated[
    str,
    _check(forms.rate),
    Form("count/time", "100/minute"),
    _written(r"[0-9]+ *(/|per) *[0-9]* *([Ss]econd|[Mm]inute|[Hh]our|[Dd]ay|[Mm]onth)s?"),
]
QuotaText = Annotated[
    str,
    _check(forms.quota),
    Form("count/time, or amount/time", "10/second"),
    _written(r"[0-9.]+( ?[A-Za-z]{3})? *(/|per) *[0-9]* *([Ss]econd|[Mm]inute|[Hh]our|[Dd]ay|[Mm]onth)s?"),
]
DurationText = Annotated[
    str, _check(forms.duration), Form("duration", '"5s"'), _written(r"[0-9]+(\.[0-9]+)? ?(ms|s|m|h)")
]
DaysText = Annotated[str, _check(forms.days), Form("days", '"90d"'), _written(r"[0-9]+ ?d")]
_SIZE = _written(r"[0-9]+(\.[0-9]+)? ?([KMG]i?)?B")
BodySizeText = Annotated[str, _check(forms.body_size), Form("size", '"100 MiB"'), _SIZE]
HeadSizeText = Annotated[str, _check(forms.head_size), Form("size", '"32 KiB"'), _SIZE]
MatchText = Annotated[str, _check(forms.match), Form("path", "/weather/"), _written(r"/.*")]
RewriteText = Annotated[str, _check(relay_forms.rewrite), Form("path", "/v2/"), _written(r"/.*")]
LocalPath = Annotated[str, _check(forms.local_path), Form("path", "/-/wallet"), _written(r"/.*")]
DottedText = Annotated[str, _check(forms.dotted), Form("names with dots", "payload.Orders")]
InjectText = Annotated[
    str, _check(forms.injected), Form("`oauth:` and a provider", "oauth:amazon"), _written(r"oauth:[a-z].*")
]
CheckPath = Annotated[str, _check(relay_forms.check_path), Form("path", "/healthz"), _written(r"/.*")]
HostText = Annotated[str, _check(relay_forms.host), Form("`upstream`, `caller` or a host", "api.example.com")]
ServerName = Annotated[str, _check(forms.host_name), Form("host", "api.example.com")]
OwnHostText = Annotated[
    str,
    _check(forms.own_host),
    Form("host, or `*.` and a host", "api.anna.example"),
]
SubjectText = Annotated[
    str,
    _check(forms.subject),
    Form("provider:subject", '"amazon:amzn1.account.ANNA"'),
    _written(r"[a-z][a-z0-9_-]*:.+"),
]
AccountIdText = Annotated[
    str, _check(forms.stripe_account), Form("id of an account", "acct_1abc"), _written(r"acct_[A-Za-z0-9]+")
]
RelayedName = Annotated[str, _check(relay_forms.field_name), Form("header name", "X-Api-Version")]
RelayedValue = Annotated[str, _check(relay_forms.field_value), Form("header value", "no-store", private=True)]
RelayedValues = Annotated[
    list[RelayedValue],
    BeforeValidator(_in_a_list),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
QueryName = Annotated[str, _check(relay_forms.query_name), Form("query name", "api_key")]
UserText = Annotated[str, _check(relay_forms.user), Form("user name", "gateway", private=True)]
ClaimText = Annotated[str, _check(forms.claim), Form("text", "https://app.example.com")]
ClaimName = Annotated[str, _check(forms.claim), Form("name of a claim", "sub")]
FieldName = Annotated[str, _check(forms.field_name), Form("header name", "Authorization")]
CookieName = Annotated[str, _check(forms.cookie_name), Form("cookie name", "gateway_token")]
SecretText = Annotated[Secret, _hidden(forms.secret), Form("secret", "…", secret=True), _SECRET_SCHEMA]
KeyPairsText = Annotated[Secret, _hidden(forms.key_pairs), Form("PEM", "…", secret=True), _SECRET_SCHEMA]
StripeKeyText = Annotated[Secret, _hidden(forms.stripe_key), Form("secret", "sk_test_…", secret=True), _SECRET_SCHEMA]
PublishableText = Annotated[str, _check(forms.publishable_key), Form("publishable key", "pk_test_…")]
WebhookText = Annotated[Secret, _hidden(forms.webhook_secret), Form("secret", "whsec_…", secret=True), _SECRET_SCHEMA]
CredentialText = Annotated[Secret, _hidden(relay_forms.credential), Form("secret", "…", secret=True), _SECRET_SCHEMA]
PasswordText = Annotated[Secret, _hidden(relay_forms.password), Form("secret", "…", secret=True), _SECRET_SCHEMA]
Whole = Annotated[int, BeforeValidator(_whole_number), Form("whole number", "256")]
BasisPoints = Annotated[Whole, Field(ge=0, le=10_000)]
Truth = Annotated[bool, BeforeValidator(_yes_or_no), Form("true or false", "true")]
Version = Annotated[Literal[1], BeforeValidator(_number_of_version)]
