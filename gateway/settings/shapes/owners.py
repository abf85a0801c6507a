"""Owners: who runs upstreams, what the platform keeps of what they sell, and how they come by their share."""

from typing import Annotated, Literal

from pydantic import Field

from gateway.settings.texts import (
    AccountIdText,
    BasisPoints,
    CountryText,
    Otherwise,
    Shape,
    SubjectText,
    Truth,
)


class OwnerShape(Shape):
    commission_bps: Annotated[
        BasisPoints | None,
        Otherwise("`commission_bps` of all"),
        Field(description="What the platform keeps of what this owner's routes take, in hundredths of a percent."),
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
