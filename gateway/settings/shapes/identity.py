"""Who vouches for callers (`identity`), and which pages of other sites may call from a browser (`cors`)."""

from typing import Annotated, Literal

from pydantic import Field

from gateway.settings.texts import (
    ClaimText,
    CookieName,
    DurationText,
    EndpointText,
    FieldName,
    Name,
    OriginText,
    Otherwise,
    RelayedName,
    SecretText,
    Shape,
    Truth,
)

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
_METHODS: tuple[Method, ...] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class IssuerShape(Shape):
    name: Annotated[Name, Field(description="What routes call it; unique.")]
    preset: Annotated[
        Literal["clerk", "auth0", "supabase"] | None,
        Otherwise("none"),
        Field(description="Whose ways are taken for what is not said here."),
    ] = None
    issuer: Annotated[
        EndpointText,
        Field(
            description="What `iss` says in its tokens, exactly, with or without a slash at its "
            "end. With another, everybody is somebody else."
        ),
    ]
    jwks_url: Annotated[
        EndpointText | None,
        Otherwise("the preset's, or what its OpenID Connect Discovery says"),
        Field(description="Where its public keys are."),
    ] = None
    audience: Annotated[
        list[ClaimText],
        Otherwise("supabase: `authenticated`; else this or `azp` is **required**"),
        Field(min_length=1, description="A token is good if one of these is in its `aud`."),
    ] = Field(default_factory=list)
    azp: Annotated[
        list[ClaimText],
        Otherwise("any"),
        Field(min_length=1, description="A token is good if its `azp` is one of these; for Clerk: your sites."),
    ] = Field(default_factory=list)
    algorithms: Annotated[
        list[Algorithm],
        Otherwise("`RS256`; supabase: `ES256`, `RS256`"),
        Field(min_length=1, description="How its tokens may be signed. Never with a key that both sides know."),
    ] = Field(default_factory=list)
    leeway: Annotated[DurationText, Field(description="How far its clock and ours may be apart.")] = "10s"
    header: Annotated[FieldName, Field(description="The header that a token is looked for in, behind `Bearer `.")] = (
        "Authorization"
    )
    cookie: Annotated[
        CookieName | None,
        Otherwise("clerk: `__session`; else none"),
        Field(description="The cookie that a token is looked for in as well."),
    ] = None
    hs256_secret: Annotated[
        SecretText | None,
        Otherwise("none: it has a key pair"),
        Field(
            description="The secret of an older Supabase project, which signs with it instead of a key pair. Whoever "
            "has it can be anybody: move to signing keys. Takes the place of `jwks_url` and `algorithms`."
        ),
    ] = None


class IdentityShape(Shape):
    issuers: Annotated[
        list[IssuerShape],
        Field(
            max_length=16,
            description="Whose tokens say who is calling. With any here, every route and every address of ours needs "
            "one, but those that are marked `public`.",
        ),
    ] = Field(default_factory=list)
    private_addresses: Annotated[
        Truth,
        Field(description="Whether an issuer may be at a private address, or spoken to in http://. Not in mode live."),
    ] = False


class OriginsShape(Shape):
    production: Annotated[
        list[OriginText], Otherwise("none"), Field(description="The sites that may in production.")
    ] = Field(default_factory=list)
    staging: Annotated[list[OriginText], Otherwise("none"), Field(description="The sites that may in staging.")] = (
        Field(default_factory=list)
    )
    development: Annotated[
        list[OriginText], Otherwise("none"), Field(description="The sites that may in development.")
    ] = Field(default_factory=list)


class CorsShape(Shape):
    origins: Annotated[
        OriginsShape,
        Field(description="Which sites' pages may call, by `environment`. Exactly these; there is no `*`."),
    ] = OriginsShape()
    methods: Annotated[
        list[Method],
        Otherwise("all of these"),
        Field(min_length=1, description="What they may send."),
    ] = Field(default_factory=lambda: list(_METHODS))
    headers: Annotated[
        list[RelayedName],
        Otherwise("`Authorization`, `Content-Type`, `Idempotency-Key`, and `tokens.header`"),
        Field(description="The headers that they may send, besides those that need no leave."),
    ] = Field(default_factory=list)
    exposed: Annotated[
        list[RelayedName],
        Otherwise("what the gateway says of cost, balance, limits and errors"),
        Field(description="The headers of answers that they may read, besides those."),
    ] = Field(default_factory=list)
    max_age: Annotated[DurationText, Field(description="For how long a browser remembers what it may.")] = "10m"
    credentials: Annotated[Truth, Field(description="Whether their pages may send cookies along.")] = False
