"""Upstreams: where requests go, over what, and with which credential of theirs."""

from typing import Annotated

from pydantic import Field

from gateway.settings.texts import (
    CheckPath,
    CredentialText,
    DurationText,
    FileText,
    Otherwise,
    PasswordText,
    QueryName,
    RelayedName,
    RelayedValue,
    RelayedValues,
    ServerName,
    ServerText,
    Shape,
    UserText,
    Whole,
)


class EjectionShape(Shape):
    failures: Annotated[
        Whole, Field(ge=1, le=1000, description="After how many failures in a row a server is left out.")
    ] = 3
    time: Annotated[DurationText, Field(description="For how long at first; twice as long each time after.")] = "1s"
    time_max: Annotated[DurationText, Field(description="For how long at most.")] = "60s"


class HealthCheckShape(Shape):
    path: Annotated[CheckPath, Field(description="What each server is asked for; an answer of 2xx or 3xx is good.")]
    every: Annotated[DurationText, Field(description="How often.")] = "5s"


class UpstreamTlsShape(Shape):
    ca: Annotated[
        FileText | None,
        Otherwise("the system's"),
        Field(
            description="Certificates (PEM) that are trusted instead. A relative path starts as `store` does. Since"
            " Python 3.13 they must say that they may sign others (`keyUsage`, RFC 5280)."
        ),
    ] = None
    server_name: Annotated[
        ServerName | None,
        Otherwise("the host of the URL"),
        Field(description="Whom the server's certificate must be for; also sent as SNI."),
    ] = None


class HeaderCredentialShape(Shape):
    name: Annotated[RelayedName, Field(description="Which header the upstream wants it in.")]
    value: Annotated[CredentialText, Field(description="All of the header's value, such as `Bearer ${API_KEY}`.")]


class QueryCredentialShape(Shape):
    name: Annotated[QueryName, Field(description="Which parameter of the query the upstream wants it in.")]
    value: Annotated[CredentialText, Field(description="The parameter's value, as it is before it is encoded.")]


class BasicCredentialShape(Shape):
    user: Annotated[UserText, Field(description="The user name, without a colon.")]
    password: Annotated[PasswordText, Field(description="The password.")]


class CredentialShape(Shape):
    header: Annotated[HeaderCredentialShape | None, Field(description="A header of the request.")] = None
    query: Annotated[QueryCredentialShape | None, Field(description="A parameter of the request's query.")] = None
    basic: Annotated[
        BasicCredentialShape | None, Field(description="User name and password in Authorization, as `Basic`.")
    ] = None


class UpstreamShape(Shape):
    url: Annotated[
        ServerText | None,
        Otherwise("this or `servers` is **required**"),
        Field(description="Where it listens: scheme, host and port, or the path of a unix socket."),
    ] = None
    servers: Annotated[
        list[ServerText],
        Otherwise("the one of `url`"),
        Field(min_length=1, max_length=64, description="Where it listens, if in several places, each as good as all."),
    ] = Field(default_factory=list)
    connect_timeout: Annotated[DurationText, Field(description="How long a connection may take to be made.")] = "5s"
    first_byte_timeout: Annotated[
        DurationText, Field(description="How long the answer may take to begin after the request was sent.")
    ] = "60s"
    idle_timeout: Annotated[
        DurationText, Field(description="How long either side may be silent in the middle of a request or an answer.")
    ] = "60s"
    total_timeout: Annotated[
        DurationText | None,
        Otherwise("not bounded"),
        Field(description="How long all may take, from the request to the end of its answer. It bounds streams, too."),
    ] = None
    keep_alive: Annotated[
        DurationText, Field(description="How long a connection to it is kept for the next request.")
    ] = "30s"
    connections: Annotated[
        Whole, Field(ge=1, le=65_535, description="How many connections to it are open at most, over all servers.")
    ] = 1024
    retries: Annotated[
        Whole,
        Field(
            ge=0,
            le=5,
            description="How often a request goes to another server: if it reached none, or none answered and "
            "its method may be repeated.",
        ),
    ] = 1
    ejection: Annotated[
        EjectionShape,
        Field(
            description="When a server that fails is left out. One that is reached but breaks off or is late, only "
            "while another is in."
        ),
    ] = EjectionShape()
    health_check: Annotated[
        HealthCheckShape | None,
        Field(description="Asks each server by itself, so that no caller's request has to find out."),
    ] = None
    tls: Annotated[
        UpstreamTlsShape | None, Field(description="How servers at https:// prove who they are, if not as usual.")
    ] = None
    credential: Annotated[
        CredentialShape | None, Field(description="What the upstream wants to see of us: one of the three kinds.")
    ] = None


class FieldRulesShape(Shape):
    set: Annotated[
        dict[RelayedName, RelayedValue], Field(description="Headers that replace every one of their name.")
    ] = Field(default_factory=dict)
    add: Annotated[
        dict[RelayedName, RelayedValues],
        Field(description="Headers that are added to those of their name; one value, or a list."),
    ] = Field(default_factory=dict)
    remove: Annotated[
        list[RelayedName], Field(description="Names of headers that do not pass. What is added is added after that.")
    ] = Field(default_factory=list)
