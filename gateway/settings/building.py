"""From the checked shape to the values that the gateway is given. Nothing can be wrong any more."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from gateway.core.money import Money
from gateway.core.pricing import Price
from gateway.core.routes import Route, RouteTable, Server, Upstream
from gateway.core.secrets import Secret
from gateway.settings import forms, payable, secret_files
from gateway.settings.shape import GatewayShape, RouteShape, StripeShape, UpstreamShape
from gateway.settings.values import (
    LimitSettings,
    LogSettings,
    SecretSettings,
    Settings,
    StripeSettings,
    TokenSettings,
)

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- read, not bound


def build(shape: GatewayShape, *, store_path: Path, files: Mapping[str, Sequence[str]]) -> Settings:
    """`files` are the texts of our secret files by name, for those that no setting replaces."""
    listen = forms.address(shape.listen)
    upstreams = {name: _upstream(name, upstream) for name, upstream in shape.upstreams.items()}
    return Settings(
        mode=shape.mode,
        listen=listen,
        admin=forms.address(shape.admin),
        public_url=str(forms.origin(shape.public_url)) if shape.public_url else _own_url(listen),
        public_url_given=shape.public_url is not None,
        store_path=store_path,
        secrets_path=store_path.parent / secret_files.FOLDER,
        currency=shape.currency,
        stripe=_stripe(shape.stripe, shape.currency) if shape.stripe else None,
        tokens=TokenSettings(header=shape.tokens.header, cookie=shape.tokens.cookie),
        secrets=_secrets(shape, files),
        upstreams=MappingProxyType(upstreams),
        routes=RouteTable(_route(route, upstreams, shape.currency) for route in shape.routes),
        limits=LimitSettings(
            request_body_bytes_max=forms.body_size(shape.limits.request_body_max),
            request_head_bytes_max=forms.head_size(shape.limits.request_head_max),
        ),
        log=LogSettings(format=shape.log.format, level=shape.log.level),
    )


def _own_url(listen: forms.Address) -> str:
    host, port = listen
    return str(forms.Origin("http", _WILDCARDS.get(host, host), port))


def _stripe(shape: StripeShape, currency: str) -> StripeSettings:
    top_up = forms.amount(shape.top_up) if shape.top_up else payable.usual(currency)
    if top_up is None:
        raise AssertionError("the rules ask for a top-up where there is no usual one")
    return StripeSettings(
        secret_key=shape.secret_key,
        webhook_secrets=tuple(shape.webhook_secrets),
        webhook_tolerance_seconds=shape.webhook_tolerance_seconds,
        webhook_aliases=tuple(shape.webhook_aliases),
        top_up=top_up,
        api_url=str(forms.origin(shape.api_url)),
    )


def _secrets(shape: GatewayShape, files: Mapping[str, Sequence[str]]) -> SecretSettings:
    def of_file(name: str) -> tuple[Secret, ...]:
        return tuple(Secret(text) for text in files.get(name, ()))

    given = shape.secrets
    tokens = of_file("operator_token")
    return SecretSettings(
        sealing_keys=tuple(given.sealing_keys) or of_file("sealing_key"),
        peppers=tuple(given.peppers) or of_file("pepper"),
        operator_token=given.operator_token or (tokens[0] if tokens else None),
    )


def _upstream(name: str, shape: UpstreamShape) -> Upstream:
    return Upstream(
        name=name,
        servers=(_server(forms.origin(shape.url)),),
        connect_seconds=forms.duration(shape.connect_timeout),
        first_byte_seconds=forms.duration(shape.first_byte_timeout),
        idle_seconds=forms.duration(shape.idle_timeout),
        connections_max=shape.connections,
    )


def _server(origin: forms.Origin) -> Server:
    return Server("https" if origin.scheme == "https" else "http", origin.host, origin.port)


def _route(shape: RouteShape, upstreams: Mapping[str, Upstream], currency: str) -> Route:
    return Route(
        name=shape.name,
        match=shape.match,
        upstream=upstreams[shape.upstream],
        price=Price(forms.price(shape.price) or Money.zero(currency)),
        rewrite="/" if shape.strip_prefix else None,
        limit=forms.rate(shape.limit) if shape.limit else None,
        unpaid=shape.unpaid,
        durability=shape.durability,
        owner=shape.owner,
    )
