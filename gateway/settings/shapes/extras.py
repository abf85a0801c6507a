"""The shape of settings for what is an extra to install: where addresses are (`geo`), letters to holders (`mail`)."""

from typing import Annotated, Literal

from pydantic import Field

from gateway.settings.texts import (
    CountryText,
    FileText,
    MailAddress,
    Otherwise,
    PasswordText,
    RateText,
    ServerName,
    Shape,
    Truth,
    UserText,
    Whole,
)


class GeoShape(Shape):
    database: Annotated[
        FileText,
        Field(
            description="Your own database of countries in MaxMind's format (`.mmdb`), such as GeoLite2 Country. "
            "A relative path starts as `store` does. A newer file is taken up by a restart."
        ),
    ]
    allow: Annotated[
        list[CountryText],
        Otherwise("all"),
        Field(min_length=1, description="The countries that are offered a way to pay; no others are."),
    ] = Field(default_factory=list)
    deny: Annotated[
        list[CountryText], Field(description="The countries that are not. Balances can be spent from everywhere.")
    ] = Field(default_factory=list)
    unknown: Annotated[
        Literal["allow", "deny"] | None,
        Otherwise("`deny` where `allow` is given, else `allow`"),
        Field(
            description="What becomes of an address that the database does not know; those of private networks are "
            "among them."
        ),
    ] = None
    checkouts: Annotated[
        RateText | None,
        Otherwise("not bounded"),
        Field(description="How often checkouts may be asked for from one country, all its addresses together."),
    ] = None


class MailShape(Shape):
    host: Annotated[ServerName, Field(description="Your mail server, which sends for you.")]
    port: Annotated[
        Whole, Field(ge=1, le=65_535, description="Where it takes mail. With 465 TLS begins with the connection.")
    ] = 587
    user: Annotated[UserText | None, Otherwise("no login"), Field(description="Who you are there.")] = None
    password: Annotated[PasswordText | None, Otherwise("no login"), Field(description="How you prove it.")] = None
    sender: Annotated[
        MailAddress,
        Field(description="Whose letters they are. What comes back goes there, too."),
    ]
    starttls: Annotated[
        Truth,
        Field(description="Whether nothing is said before TLS has begun. `false` only for a server of this machine."),
    ] = True
