"""The process: its secrets, bounds, times, and what it keeps for how long."""

from typing import Annotated, Literal

from pydantic import Field

from gateway.settings.shapes.routes import LimitShape
from gateway.settings.texts import (
    BodySizeText,
    CookieName,
    DurationText,
    FieldName,
    FileText,
    HeadSizeText,
    KeyPairsText,
    Otherwise,
    RateText,
    SecretText,
    Shape,
    StorageText,
    Whole,
    ZoneText,
)


class TokensShape(Shape):
    header: Annotated[
        FieldName,
        Field(description="The header that programs send their token in. In Authorization it follows `Bearer `."),
    ] = "Authorization"
    cookie: Annotated[CookieName, Field(description="The cookie that browsers keep their token in.")] = "gateway_token"
    per_account_max: Annotated[
        Whole, Field(ge=1, le=10_000, description="The most tokens that an account may have, without those that ended.")
    ] = 100
    rotation_grace: Annotated[
        DurationText, Field(description="For how long a token is still good that another took the place of.")
    ] = "24h"


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
    jwt_keys: Annotated[
        KeyPairsText | None,
        Otherwise("made at the first start: `secrets/jwt.pem`"),
        Field(
            description="RSA private keys in PEM, of 2048 bits or more, that sign what others verify. Newest first: it "
            "signs; the public halves of all are at `/.well-known/jwks.json`."
        ),
    ] = None
    operator_token: Annotated[
        SecretText | None,
        Otherwise("made at the first start: `secrets/operator_token`"),
        Field(description="What an operator shows to the admin address."),
    ] = None
    auditor_token: Annotated[
        SecretText | None,
        Otherwise("there is no auditor"),
        Field(description="What an auditor shows to the admin address: it reads, and changes nothing."),
    ] = None


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
    failed_credentials: Annotated[
        RateText,
        Field(
            description="How often one address may show a token that is not good. After that it is told 429, also for "
            "tokens that it shows for the first time."
        ),
    ] = "30/minute"
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
    answers_max: Annotated[
        BodySizeText,
        Field(description="How much all kept answers may take. Of what is more, the oldest can be replayed no longer."),
    ] = "1 GiB"
    body_max: Annotated[
        BodySizeText, Field(description="The largest body that a request with a key may have. It is held in memory.")
    ] = "1 MiB"
    wait: Annotated[
        DurationText, Field(description="How long a request waits for another with its key to be answered.")
    ] = "10s"


class CapsShape(Shape):
    time_zone: Annotated[
        ZoneText,
        Field(description="Whose calendar has the days and months of spending caps."),
    ] = "UTC"
    tell_at_percent: Annotated[
        Whole,
        Field(ge=1, le=100, description="How much of a cap is spent when `notices` tell of it, once a period."),
    ] = 80


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
    readings_days: Annotated[
        Whole,
        Field(
            ge=0,
            le=36_500,
            description="For how many days it stays on record what meters read of requests with a price by use, for "
            "`gateway prices replay`: numbers, never a body. 0: nothing is recorded.",
        ),
    ] = 30
    readings_max: Annotated[
        Whole, Field(ge=1, le=10**9, description="Of how many requests at most; the oldest go first.")
    ] = 1_000_000


class LogShape(Shape):
    format: Annotated[
        Literal["auto", "json", "console"],
        Field(description="auto: console in a terminal, json elsewhere."),
    ] = "auto"
    level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="The least serious event to be logged.")
    ] = "info"
    requests: Annotated[
        Literal["all", "errors", "sampled", "off"],
        Field(
            description="Which requests get a line: all; errors, those answered with 400 and above or cut; sampled, "
            "errors and one in `sample_one_in` of the rest; off, none."
        ),
    ] = "all"
    sample_one_in: Annotated[
        Whole, Field(ge=1, le=1_000_000, description="Of how many requests one gets a line when they are sampled.")
    ] = 100
    file: Annotated[
        FileText | None,
        Otherwise("events to stderr, requests to stdout"),
        Field(
            description="A file for events and requests, in place of stderr and stdout, always as JSON. One that was "
            "moved away or removed is made anew at once. A relative path starts at the working directory."
        ),
    ] = None
    rotate_size: Annotated[
        BodySizeText | None,
        Otherwise("at no size"),
        Field(description="From which size on `file` is put aside, with the time in its name."),
    ] = None
    rotate_daily: Annotated[bool, Field(description="Whether `file` is put aside when a day (UTC) is over.")] = False
    keep_days: Annotated[
        Whole | None,
        Otherwise("for ever"),
        Field(ge=1, le=36_500, description="For how many days files that were put aside are kept."),
    ] = None
