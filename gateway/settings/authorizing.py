"""What becomes of the settings of OAuth, and what they mean for routes."""

from gateway.core.money import Money
from gateway.core.oauth import resource_of
from gateway.settings import forms
from gateway.settings.shapes import GatewayShape
from gateway.settings.values import OAuthSettings

_SUGGESTED_MICROS = 5_000_000
_DAY_MS = 86_400_000


def oauth(shape: GatewayShape) -> OAuthSettings | None:
    given = shape.oauth
    if given is None:
        return None
    suggested = forms.amount(given.spend_default) if given.spend_default else Money(_SUGGESTED_MICROS, shape.currency)
    return OAuthSettings(
        spend_default=suggested,
        access_ms=int(forms.duration(given.access_for) * 1000),
        refresh_ms=forms.days(given.refresh_for) * _DAY_MS,
        registrations=forms.rate(given.registrations),
        clients_max=given.clients_max,
        private_addresses=given.private_addresses,
        asks=given.consent == "ask",
    )


def resource(shape: GatewayShape, name: str, match: str, public_url: str) -> str:
    """What a route is called as a resource; empty where no agent is authorized for it."""
    return resource_of(public_url, match) if shape.oauth is not None and name in shape.oauth.routes else ""
