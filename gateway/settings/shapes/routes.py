"""Routes: what is matched, what it costs, and how often it may be asked."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from gateway.settings.shapes.upstreams import FieldRulesShape
from gateway.settings.texts import (
    AmountPerText,
    AmountText,
    BasisPoints,
    CallName,
    ClaimName,
    DurationText,
    HostText,
    InjectText,
    JsonPath,
    JsonPaths,
    MatchText,
    MethodName,
    Name,
    Otherwise,
    OwnUnit,
    PercentText,
    PriceText,
    QueryName,
    QuotaText,
    RateText,
    RelayedName,
    RewriteText,
    SecretText,
    Shape,
    StatusText,
    Truth,
    UnitName,
    Whole,
)


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


def _kind_of_step(value: object) -> str:
    return METERED if isinstance(value, dict | MeteredPriceShape) else FLAT


FLAT, METERED, STEPPED = "flat price", "metered price", "stepped price"


PriceOfStep = Annotated[
    Annotated[PriceText, Tag(FLAT)] | Annotated[MeteredPriceShape, Tag(METERED)], Discriminator(_kind_of_step)
]


class StepShape(Shape):
    price: Annotated[PriceOfStep, Field(description="What a call of this step costs, as a price without steps.")]
    up_to: Annotated[
        Whole | None,
        Otherwise("all that follow; only of the last step"),
        Field(ge=1, le=10**12, description="The last call of a period that is of this step."),
    ] = None


class SteppedPriceShape(Shape):
    period: Annotated[
        Literal["day", "week", "month"],
        Field(
            description="With `steps`: in what a caller's calls are counted, by the calendar of `caps.time_zone`; "
            "weeks begin on a Monday."
        ),
    ]
    steps: Annotated[
        list[StepShape],
        Field(
            min_length=1,
            max_length=16,
            description="Prices by how many calls an account has made in the period. Counted are those that are "
            "charged; free ones are for accounts that somebody paid into.",
        ),
    ]


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
    is_stepped = isinstance(value, SteppedPriceShape) or (isinstance(value, dict) and "steps" in value)
    return STEPPED if is_stepped else _kind_of_step(value)


PriceOfRoute = Annotated[
    Annotated[PriceText, Tag(FLAT)]
    | Annotated[MeteredPriceShape, Tag(METERED)]
    | Annotated[SteppedPriceShape, Tag(STEPPED)],
    Discriminator(_kind_of_price),
]


class PlanPricesShape(Shape):
    price: Annotated[
        PriceOfRoute | None,
        Otherwise("what it costs others"),
        Field(description="What a call costs an account with this plan."),
    ] = None
    methods: Annotated[
        dict[MethodName, PriceOfRoute],
        Otherwise("what `methods` say for others, else `price`"),
        Field(description="The same by its method."),
    ] = Field(default_factory=dict)


class McpShape(Shape):
    tools: Annotated[
        dict[CallName, PriceOfStep],
        Otherwise("all cost `price`"),
        Field(max_length=500, description="What a call of a tool costs, by the tool's name; all others cost `price`."),
    ] = Field(default_factory=dict)
    methods: Annotated[
        dict[CallName, PriceOfStep],
        Otherwise("all are free"),
        Field(
            max_length=50,
            description="What other methods cost, such as `resources/read`; those that are not here, `initialize` and "
            "`tools/list` among them, are free.",
        ),
    ] = Field(default_factory=dict)


def _price_may_stand_elsewhere(schema: dict[str, Any]) -> None:
    """In `prices_file`. That there is one is checked when both are read."""
    schema["required"].remove("price")


class RouteShape(Shape):
    model_config = ConfigDict(json_schema_extra=_price_may_stand_elsewhere)

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
    plans: Annotated[
        dict[Name, PlanPricesShape],
        Otherwise("all cost the same"),
        Field(
            description="What a call costs an account that subscribes to one of `plans`, by the plan's name. Of "
            "several that it has, the one that is written first counts."
        ),
    ] = Field(default_factory=dict)
    mcp: Annotated[
        McpShape | None,
        Otherwise("it is no MCP server, or all of its messages cost the same"),
        Field(
            description="The upstream is an MCP server, and calls of tools have prices: the body of each request is "
            "read, 1 MiB at most, and what cannot be paid is answered as an error of JSON-RPC."
        ),
    ] = None
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
    token_in_query: Annotated[
        QueryName | None,
        Otherwise("a token in an address is refused"),
        Field(
            description="The name under which a token may stand in the query, for callers that can send no header. "
            "It is taken out before the upstream. Addresses are kept in many places: prefer a header."
        ),
    ] = None
    public: Annotated[
        Truth, Field(description="Whether it is open to callers whom none of `identity.issuers` vouches for.")
    ] = False
    issuers: Annotated[
        list[Name],
        Otherwise("all"),
        Field(min_length=1, description="Which of `identity.issuers` count on this route."),
    ] = Field(default_factory=list)
    pass_claims: Annotated[
        dict[RelayedName, ClaimName],
        Otherwise("none"),
        Field(
            description="Headers that tell the upstream what an issuer says of the caller, such as `X-User: sub`. "
            "From a caller they never pass."
        ),
    ] = Field(default_factory=dict)
    inject: Annotated[
        InjectText | None,
        Otherwise("nothing"),
        Field(
            description="The upstream is told the caller's own token at one of `sign_in.providers`, kept fresh, in "
            "that provider's `header`. Who has not signed in is refused."
        ),
    ] = None
    cors: Annotated[
        Literal["gateway", "upstream"],
        Field(
            description="Who tells browsers which sites may call, where `cors` is set. upstream: its answers pass as "
            "they are, and a preflight reaches it free of charge."
        ),
    ] = "gateway"
    owner: Annotated[Name, Field(description="Who earns what this route takes.")] = "operator"
    commission_bps: Annotated[
        BasisPoints | None,
        Otherwise("its owner's"),
        Field(description="What the platform keeps of what this route takes, in hundredths of a percent."),
    ] = None
    listed: Annotated[Truth, Field(description="Whether it is in the public price list, and in the wallet's.")] = True


class PriceListShape(Shape):
    aliases: Annotated[
        list[Literal["/pricing", "/pricing.json", "/llms.txt", "/openapi.json"]],
        Field(
            description="Paths at the root under which the price list is served, too. None that a route serves: the "
            "upstream's own is never hidden."
        ),
    ] = Field(default_factory=list)
