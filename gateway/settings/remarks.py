"""What is allowed but worth a word: for `gateway check`, and for the log when the gateway starts."""

from collections.abc import Iterator

from gateway.settings import forms
from gateway.settings.values import Settings, UnixSocket


def notes(settings: Settings) -> list[str]:
    """Remarks on settings that are right, each one sentence that names the setting."""
    return [
        *_on_payments(settings),
        *_on_addresses(settings),
        *_on_routes(settings),
        *_on_owners(settings),
        *_on_secrets(settings),
    ]


def _on_payments(settings: Settings) -> Iterator[str]:
    if settings.licences is not None and settings.licences.restore_proof == "none":
        yield "licences.restore_proof: none; whoever knows a subscriber's e-mail address gets the licence."
    every = [one for route in settings.routes.routes for one in route.variants if not one.price.free]
    priced = [route for route in every if not route.price.ceiling.named]
    granted = {plan.grants.currency: plan.grants for plan in settings.plans}
    for route in every:
        price = route.price.ceiling
        if price.named and price.currency not in granted:
            yield f"routes.{route.name}.price: no plan grants {price.currency}; it is had by hand alone."
        elif price.named and granted[price.currency] < price:
            yield f"routes.{route.name}.price: a period of a plan does not buy one call at {route.rule}."
    if settings.stripe is None:
        without = "stripe: not set; the gateway starts, but "
        yield without + ("a 402 carries no payment_url." if priced else "no payment can be taken.")
        return
    top_up = settings.stripe.top_up
    for route in priced:
        if top_up < route.price.ceiling:
            yield f"routes.{route.name}.price: one payment of {top_up} does not buy one call at {route.rule}."


def _on_addresses(settings: Settings) -> Iterator[str]:
    if not forms.is_loopback(settings.admin[0]):
        yield (
            f"admin: {settings.admin[0]} can be reached from other machines; whoever reaches it is kept out by the "
            "operator token alone."
        )
    public_url = forms.origin(settings.public_url) if settings.public_url_given else None
    if public_url and public_url.scheme == "http" and not public_url.is_loopback:
        yield f"public_url: {public_url} is not https://, so callers' tokens travel in the clear."
    for network in settings.trusted_proxies:
        if not network.prefixlen:
            yield f"trusted_proxies: {network} is everybody, so every caller can claim any address."
    if isinstance(settings.listen, UnixSocket) and not settings.trust_unix:
        yield "trusted_proxies: does not hold `unix`; callers over the socket have no address to be told apart by."
    if settings.stripe and public_url is None:
        yield "public_url: not set; Stripe cannot send webhooks to this machine, and payers do not find back to it."


def _on_routes(settings: Settings) -> Iterator[str]:
    routes = settings.routes.routes
    if not routes:
        yield "routes: none; every request is answered with 404."
    used = {route.upstream.name for route in routes}
    for name in settings.upstreams:
        if name not in used:
            yield f"upstreams.{name}: no route leads to it."
    for route in routes:
        if not route.match.endswith("/"):
            yield f"routes.{route.name}.match: {route.match} is this one path; for all below it, end it in a slash."


def _on_owners(settings: Settings) -> Iterator[str]:
    for owner in settings.owners.values():
        if owner.commission_points and not owner.named:
            rate = f"{owner.commission_points} bps of what their routes take are the platform's"
            yield f"owners: {owner.name} is named by a route alone; {rate}."


def _on_secrets(settings: Settings) -> Iterator[str]:
    ours = settings.secrets
    missing = {
        "sealing_key": not ours.sealing_keys,
        "pepper": not ours.peppers,
        "jwt.pem": not ours.jwt_keys,
        "operator_token": ours.operator_token is None,
    }
    for name, is_missing in missing.items():
        if is_missing:
            yield f"secrets: {settings.secrets_path / name} is made when the gateway first starts."
