"""Through which outside providers people sign in (`sign_in`), and what is connected of theirs."""

from typing import Annotated, Literal

from pydantic import Field

from gateway.settings.texts import (
    ClaimName,
    ClaimText,
    CredentialText,
    DaysText,
    DottedText,
    DurationText,
    EndpointText,
    LocalPath,
    Name,
    Otherwise,
    QueryName,
    RelayedName,
    Shape,
    Truth,
)


class SyncShape(Shape):
    url: Annotated[EndpointText, Field(description="The first page, asked for with the person's own token.")]
    items: Annotated[DottedText, Field(description="Where a page has its list, such as `payload.Orders`.")]
    next: Annotated[
        DottedText, Field(description="Where a page has what the next one is asked for with; nothing on the last.")
    ]
    parameter: Annotated[QueryName, Field(description="The query parameter that it is asked for with.")]


class ProviderShape(Shape):
    name: Annotated[Name, Field(description="What addresses and routes call it; unique.")]
    preset: Annotated[
        Literal["amazon", "amazon-sp", "google", "github"] | None,
        Otherwise("none: any OpenID Connect issuer"),
        Field(
            description="Whose ways are taken. `amazon-sp` is a seller's consent: it signs nobody in, and is for who "
            "is signed in."
        ),
    ] = None
    title: Annotated[
        ClaimText | None, Otherwise("the preset's, or the name"), Field(description="What its button says.")
    ] = None
    client_id: Annotated[ClaimText, Field(description="What the provider calls this gateway.")]
    client_secret: Annotated[CredentialText, Field(description="What goes with it.")]
    application_id: Annotated[
        ClaimText | None, Otherwise("none"), Field(description="What Seller Central calls it; `amazon-sp` needs it.")
    ] = None
    issuer: Annotated[
        EndpointText | None,
        Otherwise("the preset's"),
        Field(description="What `iss` says, exactly. Without a preset, where its OpenID Connect Discovery is."),
    ] = None
    authorize_url: Annotated[
        EndpointText | None, Otherwise("the preset's, or its discovery's"), Field(description="Where people are sent.")
    ] = None
    token_url: Annotated[
        EndpointText | None,
        Otherwise("the preset's, or its discovery's"),
        Field(description="Where codes are exchanged, and tokens renewed."),
    ] = None
    profile_url: Annotated[
        EndpointText | None,
        Otherwise("the preset's; an ID token needs none"),
        Field(description="Where it says who somebody is."),
    ] = None
    revoke_url: Annotated[
        EndpointText | None,
        Otherwise("its discovery's, if any"),
        Field(description="Where it is told that a token is not wanted any more."),
    ] = None
    probe_url: Annotated[
        EndpointText | None,
        Otherwise("none: it is taken to work"),
        Field(description="What is called with a new token, to see whether it works."),
    ] = None
    scopes: Annotated[
        list[ClaimText], Otherwise("the preset's, or `openid email profile`"), Field(description="What is asked for.")
    ] = Field(default_factory=list)
    subject: Annotated[
        ClaimName | None,
        Otherwise("amazon: `user_id`; github: `id`; else `sub`"),
        Field(description="Under which name it says who somebody is, for ever."),
    ] = None
    header: Annotated[
        RelayedName | None,
        Otherwise("amazon, amazon-sp: `x-amz-access-token`; else `Authorization`"),
        Field(description="The header that shows an access token to an upstream; after `Bearer ` in `Authorization`."),
    ] = None
    sync: Annotated[
        SyncShape | None,
        Otherwise("nothing is read"),
        Field(description="What is read of somebody, page by page, after they signed in for the first time."),
    ] = None


class SignInShape(Shape):
    providers: Annotated[
        list[ProviderShape],
        Field(max_length=16, description="Through whom people sign in, at `/-/auth/{name}/start`."),
    ] = Field(default_factory=list)
    after: Annotated[LocalPath, Field(description="Where they are sent afterwards.")] = "/-/wallet"
    session_idle: Annotated[
        DurationText, Field(description="A session ends when its browser was not here for so long; 1m at least.")
    ] = "24h"
    session_max: Annotated[DaysText, Field(description="A session ends then in any case; 400d at most.")] = "30d"
    older_paths: Annotated[
        Truth, Field(description="Whether `/api/auth/{name}/start` and `/callback` are these addresses, too.")
    ] = False
    private_addresses: Annotated[
        Truth,
        Field(description="Whether a provider may be at a private address, or spoken to in http://. Not in mode live."),
    ] = False
