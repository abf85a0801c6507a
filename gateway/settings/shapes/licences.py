"""Licences: what they say, how long they are good, and how they come to another device."""

from typing import Annotated, Literal

from pydantic import Field

from gateway.settings.texts import ClaimText, Name, OriginText, Otherwise, RateText, Shape, Whole

_Status = Literal["active", "trialing", "past_due", "paused"]
_PRO: tuple[_Status, ...] = ("active", "trialing")


class LicencesShape(Shape):
    issuer: Annotated[
        ClaimText | None, Otherwise("`public_url`"), Field(description="What `iss` says in every licence.")
    ] = None
    audience: Annotated[
        ClaimText | None,
        Otherwise("`public_url`"),
        Field(description="What `aud` says: the application that they are for."),
    ] = None
    plans: Annotated[list[Name], Otherwise("all of them"), Field(description="The plans that come with a licence.")] = (
        Field(default_factory=list)
    )
    days: Annotated[
        Whole,
        Field(ge=1, le=90, description="How long a licence is good without asking. It can be renewed after that."),
    ] = 30
    pro_statuses: Annotated[
        list[_Status],
        Field(
            min_length=1,
            description="In which states of its subscription a plan counts: in licences, and in prices by plan. "
            "Stripe's `unpaid` is `past_due` here.",
        ),
    ] = Field(default_factory=lambda: list(_PRO))
    origins: Annotated[
        list[OriginText],
        Otherwise("only pages of `public_url`"),
        Field(description="Whose pages may ask for licences, and be returned to with a code for one."),
    ] = Field(default_factory=list)
    restore_proof: Annotated[
        Literal["code", "none"],
        Field(
            description="What brings a licence to another device: a code that is sent by e-mail (`mail`), or nothing "
            "but the address, which gives everybody who knows it the licence."
        ),
    ] = "code"
    restores_per_address: Annotated[
        RateText, Field(description="How often one e-mail address may be asked for, by all clients together.")
    ] = "5/hour"
    restores_per_client: Annotated[
        RateText, Field(description="How often one network address may ask, and try codes.")
    ] = "20/hour"
    devices: Annotated[
        Whole,
        Field(
            ge=1,
            le=10_000,
            description="How many restores in 30 days are usual; one more is reported.",
        ),
    ] = 5
    aliases: Annotated[
        list[Literal["/api/entitlement", "/api/stripe/subscription"]],
        Field(
            description="Older paths that are served besides our own ones under `/-/`: the first restores licences, "
            "the second tells operators of the subscriptions of an address."
        ),
    ] = Field(default_factory=list)
