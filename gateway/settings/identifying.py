"""What becomes of the settings of outside identity providers and of CORS: presets, and what both mean for routes."""

from dataclasses import replace

from gateway.core import cors as core_cors
from gateway.core.cors import Cors
from gateway.core.jwts import Issuer
from gateway.core.routes import Route
from gateway.settings import forms
from gateway.settings.shapes import GatewayShape
from gateway.settings.shapes.identity import IdentityShape, IssuerShape
from gateway.settings.values import IdentitySettings

_JWKS = ".well-known/jwks.json"
_COOKIES = {"clerk": "__session"}
_AUDIENCES: dict[str, tuple[str, ...]] = {"supabase": ("authenticated",)}
_ALGORITHMS: dict[str, tuple[str, ...]] = {"supabase": ("ES256", "RS256")}
_REFUSED_ROLES = frozenset(("service_role", "supabase_admin"))
_HEADERS = ("Authorization", "Content-Type", "Idempotency-Key", "Gateway-Max-Price", "Gateway-Final-Event")
_EXPOSED = (
    "Gateway-Cost", "Gateway-Cost-Max", "Gateway-Balance", "Gateway-Request-Id", "Gateway-Error", "RateLimit",
    "RateLimit-Policy", "Retry-After",
)  # fmt: skip


def identity(shape: IdentityShape) -> IdentitySettings:
    return IdentitySettings(tuple(_issuer(one) for one in shape.issuers), shape.private_addresses)


def _issuer(shape: IssuerShape) -> Issuer:
    preset = shape.preset or ""
    jwks_url = shape.jwks_url or (f"{shape.issuer.rstrip('/')}/{_JWKS}" if preset else None)
    return Issuer(
        name=shape.name,
        url=shape.issuer,
        algorithms=frozenset(shape.algorithms or _ALGORITHMS.get(preset, ("RS256",))),
        audiences=frozenset(shape.audience or _AUDIENCES.get(preset, ())),
        parties=frozenset(shape.azp),
        leeway_seconds=forms.duration(shape.leeway),
        header=shape.header.lower(),
        cookie=shape.cookie or _COOKIES.get(preset),
        refused_roles=_REFUSED_ROLES if preset == "supabase" else frozenset(),
        jwks_url=None if shape.hs256_secret else jwks_url,
        secret=shape.hs256_secret,
    )


def cors(shape: GatewayShape) -> Cors | None:
    given = shape.cors
    if given is None:
        return None
    environment = shape.environment or ("production" if shape.mode == "live" else "development")
    origins: list[str] = getattr(given.origins, environment)
    return Cors(
        origins=frozenset(str(forms.origin(text)) for text in origins),
        methods=tuple(given.methods),
        headers=tuple(dict.fromkeys((*_HEADERS, shape.tokens.header, *given.headers))),
        exposed=tuple(dict.fromkeys((*_EXPOSED, *given.exposed))),
        max_age_seconds=int(forms.duration(given.max_age)),
        credentials=given.credentials,
    )


def closed(route: Route, shape: GatewayShape) -> Route:
    """The same: no token of an issuer's reaches the upstream, nor what we tell it; and CORS is whose it is to be."""
    issuers = [_issuer(one) for one in shape.identity.issuers]
    headers = {issuer.header for issuer in issuers if issuer.header}
    asked = route.request_fields
    told = frozenset(name.lower() for name, _ in route.pass_claims)
    ours = shape.cors is not None and route.cors == "gateway"
    if not (issuers or told or ours):
        return route
    asked = replace(
        asked,
        remove=asked.remove | told | (headers - {"authorization"}),
        cookies=tuple(dict.fromkeys(issuer.cookie for issuer in issuers if issuer.cookie)),
        jwts=frozenset({"authorization"} if issuers else ()),
    )
    answered = route.answer_fields
    if ours:
        answered = replace(answered, remove=answered.remove | core_cors.FIELDS)
    return route.everywhere(lambda one: replace(one, request_fields=asked, answer_fields=answered))
