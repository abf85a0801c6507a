"""What becomes of the settings of signing in: presets, and what they mean for routes."""

from dataclasses import dataclass, field, replace

from gateway.core.routes import Route
from gateway.core.sign_ins import Kind, Provider, Sync
from gateway.settings import forms
from gateway.settings.shapes.sign_in import ProviderShape, SignInShape
from gateway.settings.values import SignInSettings

INJECTED = "oauth:"
_AMAZON_TOKENS = "https://api.amazon.com/auth/o2/token"
_AMAZON_HEADER = "x-amz-access-token"


@dataclass(frozen=True, slots=True)
class _Preset:
    title: str
    kind: Kind = "sign_in"
    issuer: str | None = None
    discovers: bool = False
    authorize_url: str = ""
    token_url: str = ""
    profile_url: str = ""
    revoke_url: str | None = None
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    subject: str = "sub"
    header: str = "Authorization"
    asks: dict[str, str] = field(default_factory=dict)


_PRESETS = {
    None: _Preset("", discovers=True),
    "amazon": _Preset(
        "Amazon",
        authorize_url="https://www.amazon.com/ap/oa",
        token_url=_AMAZON_TOKENS,
        profile_url="https://api.amazon.com/user/profile",
        scopes=("profile",),
        subject="user_id",
        header=_AMAZON_HEADER,
    ),
    "amazon-sp": _Preset(
        "Amazon Seller Central",
        kind="consent",
        authorize_url="https://sellercentral.amazon.com/apps/authorize/consent",
        token_url=_AMAZON_TOKENS,
        scopes=(),
        header=_AMAZON_HEADER,
    ),
    "google": _Preset(
        "Google",
        issuer="https://accounts.google.com",
        discovers=True,
        asks={"access_type": "offline", "prompt": "consent"},
    ),
    "github": _Preset(
        "GitHub",
        issuer="https://github.com/login/oauth",
        authorize_url="https://github.com/login/oauth/authorize",
        token_url="https://github.com/login/oauth/access_token",  # noqa: S106 -- an address
        profile_url="https://api.github.com/user",
        scopes=("read:user", "user:email"),
        subject="id",
    ),
}


def sign_in(shape: SignInShape) -> SignInSettings:
    return SignInSettings(
        providers={one.name: _provider(one) for one in shape.providers},
        after=shape.after,
        session_idle_seconds=int(forms.duration(shape.session_idle)),
        session_seconds_max=forms.days(shape.session_max) * 86_400,
        older_paths=shape.older_paths,
        private_addresses=shape.private_addresses,
    )


def _provider(shape: ProviderShape) -> Provider:
    preset = _PRESETS[shape.preset]
    sync = shape.sync
    return Provider(
        name=shape.name,
        title=shape.title or preset.title or shape.name,
        kind=preset.kind,
        client_id=shape.client_id,
        client_secret=shape.client_secret,
        issuer=shape.issuer or preset.issuer,
        discovers=preset.discovers,
        authorize_url=shape.authorize_url or preset.authorize_url,
        token_url=shape.token_url or preset.token_url,
        profile_url=shape.profile_url or preset.profile_url,
        revoke_url=shape.revoke_url or preset.revoke_url,
        probe_url=shape.probe_url,
        scopes=tuple(shape.scopes) or preset.scopes,
        asks=preset.asks,
        application_id=shape.application_id,
        subject=shape.subject or preset.subject,
        header=shape.header or preset.header,
        sync=Sync(sync.url, sync.items, sync.next, sync.parameter) if sync else None,
    )


def closed(route: Route, shape: SignInShape) -> Route:
    """The same: what an upstream is told in somebody's name, it is told by nobody else."""
    if route.inject is None:
        return route
    [provider] = [_provider(one) for one in shape.providers if one.name == route.inject]
    removed = route.request_fields.remove | {provider.header.lower()}
    return route.everywhere(lambda one: replace(one, request_fields=replace(one.request_fields, remove=removed)))
