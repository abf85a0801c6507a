"""Owners: who runs upstreams, what the platform keeps of what they sell, and how they come by their share."""

from typing import Annotated, Literal

from pydantic import Field

from gateway.core.services import ServiceRole
from gateway.settings.texts import (
    AccountIdText,
    AmountText,
    BasisPoints,
    CountryText,
    MatchText,
    Name,
    Otherwise,
    OwnHostText,
    SecretText,
    Shape,
    SubjectText,
    Truth,
    Whole,
)

Every = Literal["daily", "weekly", "monthly"]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


class OwnerPayoutsShape(Shape):
    every: Annotated[Every | None, Otherwise("`payouts.every`"), Field(description="How often this owner is paid.")] = (
        None
    )
    weekday: Annotated[
        Weekday | None, Otherwise("`payouts.weekday`"), Field(description="On which day of the week.")
    ] = None
    day: Annotated[
        Whole | None, Otherwise("`payouts.day`"), Field(ge=1, le=28, description="On which day of the month.")
    ] = None
    minimum: Annotated[
        AmountText | None, Otherwise("`payouts.minimum`"), Field(description="Less than this waits.")
    ] = None
    hold_back_days: Annotated[
        Whole | None,
        Otherwise("`payouts.hold_back_days`"),
        Field(ge=0, le=180, description="What was earned since then waits."),
    ] = None
    reserve_bps: Annotated[
        BasisPoints | None,
        Otherwise("`payouts.reserve_bps`"),
        Field(description="What waits of older earnings, in hundredths of a percent."),
    ] = None
    reserve_days: Annotated[
        Whole | None, Otherwise("`payouts.reserve_days`"), Field(ge=1, le=730, description="And for how long.")
    ] = None


class OwnRoutesShape(Shape):
    hosts: Annotated[
        list[OwnHostText],
        Field(
            min_length=1,
            max_length=50,
            description="At which hosts their upstreams may be: names, `*.anna.example` for all below one, or "
            "IP addresses.",
        ),
    ]
    price_max: Annotated[AmountText, Field(description="The most that a call of theirs may cost.")]
    price_min: Annotated[
        AmountText | None,
        Otherwise("nothing, and they may be `free`"),
        Field(description="The least that an answered call of theirs costs."),
    ] = None
    prefix: Annotated[
        MatchText | None,
        Otherwise("`/NAME/`"),
        Field(description="What the paths of their routes begin with; it ends in `/`."),
    ] = None
    routes_max: Annotated[Whole, Field(ge=1, le=200, description="How many routes they may have.")] = 20
    private_addresses: Annotated[
        Truth,
        Field(
            description="Whether their hosts may be at addresses that are not of the internet. Whatever a name means "
            "is looked at for every connection."
        ),
    ] = False


class OwnerShape(Shape):
    commission_bps: Annotated[
        BasisPoints | None,
        Otherwise("`commission_bps` of all"),
        Field(description="What the platform keeps of what this owner's routes take, in hundredths of a percent."),
    ] = None
    charge_bps: Annotated[
        BasisPoints | None,
        Otherwise("`charging.commission_bps`"),
        Field(description="The fee of refunds of who acts for this owner, in hundredths of a percent."),
    ] = None
    signs_in: Annotated[
        list[SubjectText],
        Field(
            max_length=100,
            description="Who acts for them: a provider of `sign_in`, a colon, and what that provider calls the person "
            "for ever. Others come by `gateway owners invite`.",
        ),
    ] = Field(default_factory=list)
    country: Annotated[
        CountryText | None,
        Otherwise("`connect.country`"),
        Field(description="Where they are, for the account at Stripe that is opened for them."),
    ] = None
    stripe_account: Annotated[
        AccountIdText | None,
        Otherwise("the one that `connect` opens for them"),
        Field(description="The account at Stripe that they are paid into, if the operator sees to it."),
    ] = None
    payouts: Annotated[
        OwnerPayoutsShape | None,
        Otherwise("as everybody"),
        Field(description="What is otherwise for this owner than in `payouts`."),
    ] = None
    routes: Annotated[
        OwnRoutesShape | None,
        Otherwise("the operator alone writes their routes"),
        Field(description="Lets this owner have routes of their own, within these bounds."),
    ] = None


class ConnectShape(Shape):
    country: Annotated[
        CountryText, Field(description="Where owners are, if theirs says no other: Stripe has to know it at once.")
    ]
    api: Annotated[
        Literal["v2", "v1"], Field(description="Which of Stripe's APIs opens accounts: Accounts v2, or v1.")
    ] = "v2"
    older_paths: Annotated[
        Truth, Field(description="Whether `/api/v1/stripe/connect-account` is the address under `/-/`, too.")
    ] = False


class PayoutsShape(Shape):
    every: Annotated[Every, Field(description="How often owners are paid: at midnight, UTC.")] = "weekly"
    weekday: Annotated[Weekday, Field(description="On which day, if `every` is weekly.")] = "monday"
    day: Annotated[Whole, Field(ge=1, le=28, description="On which day of the month, if `every` is monthly.")] = 1
    minimum: Annotated[
        AmountText | None,
        Otherwise("the least that Stripe moves"),
        Field(description="Less than this waits until there is more."),
    ] = None
    hold_back_days: Annotated[
        Whole,
        Field(ge=0, le=180, description="What was earned since then waits: callers may still get their money back."),
    ] = 7
    reserve_bps: Annotated[
        BasisPoints,
        Field(description="What waits for disputes of what was earned before that, in hundredths of a percent."),
    ] = 0
    reserve_days: Annotated[Whole, Field(ge=1, le=730, description="For how long that part waits.")] = 90
    claw_back: Annotated[
        Literal["owners", "platform"],
        Field(
            description="Who bears what a caller spent and then took back: `owners` their share, until it is settled, "
            "or `platform` all of it."
        ),
    ] = "owners"


class ChargingShape(Shape):
    commission_bps: Annotated[
        BasisPoints,
        Field(description="The fee of a confirmed refund, in hundredths of a percent of its amount: 2000 is 20 %."),
    ] = 2000
    maximum: Annotated[AmountText | None, Otherwise("no bound"), Field(description="The most that one fee may be.")] = (
        None
    )
    per_day: Annotated[
        AmountText | None,
        Otherwise("no bound"),
        Field(description="The most that all fees of one person may be in any 24 hours."),
    ] = None
    count_per_day: Annotated[
        Whole, Field(ge=1, le=100_000, description="How many fees of one person there may be in any 24 hours.")
    ] = 100
    retry_hours: Annotated[
        list[Annotated[Whole, Field(ge=1, le=720)]],
        Field(
            max_length=10,
            description="After how many hours a charge that the bank declined is tried again, each time; after the "
            "last it has failed.",
        ),
    ] = Field(default_factory=lambda: [24, 72, 120])
    hold_proceeds: Annotated[
        Truth,
        Field(
            description="Whether what was refunded is with the platform: it is held in the books for the owner whom "
            "the person acts for, and due to them when the fee is paid. `payouts` pays it."
        ),
    ] = False
    older_paths: Annotated[
        Truth, Field(description="Whether the addresses under `/-/api/v1/stripe/` are under `/api/v1/stripe/`, too.")
    ] = False


class ServiceShape(Shape):
    role: Annotated[
        ServiceRole,
        Field(
            description="What it may call: `commission` charges fees and looks at them, `auditor` looks, `monitor` "
            "neither; `owner` reads and writes the own routes of one owner."
        ),
    ]
    owner: Annotated[
        Name | None, Otherwise("none"), Field(description="Whose program it is; the role `owner` needs it.")
    ] = None
    secret: Annotated[SecretText, Field(description="What it shows for a token; of it alone, and of no other.")]
    older_secret: Annotated[
        SecretText | None,
        Otherwise("none"),
        Field(description="The one before, as long as the service may still show it."),
    ] = None
