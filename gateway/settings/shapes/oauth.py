"""OAuth 2.1 for agents (`oauth`), and prices of tools (`mcp` of a route)."""

from typing import Annotated, Literal

from pydantic import Field

from gateway.settings.texts import (
    AmountText,
    DaysText,
    DurationText,
    Name,
    Otherwise,
    RateText,
    Shape,
    Truth,
    Whole,
)


class OAuthShape(Shape):
    routes: Annotated[
        list[Name],
        Field(
            min_length=1,
            description="The routes that grant access this way. Each is a resource by its address, and a scope by its "
            "name; programs without a token are told where to get one.",
        ),
    ]
    spend_default: Annotated[
        AmountText | None,
        Otherwise("`5.00` of `currency`"),
        Field(description="What the consent page suggests that a client may spend in a month."),
    ] = None
    access_for: Annotated[DurationText, Field(description="How long an access token is good.")] = "1h"
    refresh_for: Annotated[
        DaysText, Field(description="How long a client may stay away before it has to ask again.")
    ] = "90d"
    registrations: Annotated[
        RateText,
        Field(
            description="How often clients may be registered, or have their document fetched, from one address; "
            "five times as often from all of an IPv6 network of 48 bits. "
            "Answers go to https://, to the person's own machine, or to a program's own scheme: a domain backwards "
            "(com.example.app:), or claude, cursor, vscode, vscode-insiders, warp, windsurf, zed."
        ),
    ] = "20/hour"
    clients_max: Annotated[
        Whole,
        Field(
            ge=1,
            le=1_000_000,
            description="How many registered clients are kept. One that nobody allows anything is forgotten after 7 "
            "days, and the oldest of these as soon as there is no room for a new one.",
        ),
    ] = 10_000
    private_addresses: Annotated[
        Truth,
        Field(description="Whether a client's document may be at a private address, or in http://. Not in mode live."),
    ] = False
    consent: Annotated[
        Literal["ask", "given"],
        Field(
            description="given: whoever has a wallet is not asked, and allows `spend_default`. For tests by machines; "
            "not in mode live."
        ),
    ] = "ask"
