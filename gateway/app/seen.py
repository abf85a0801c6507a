"""What one process sees of itself and of those outside that it talks to, without asking any of them."""

from typing import TYPE_CHECKING

from gateway.core.readiness import Check

if TYPE_CHECKING:
    from gateway.app.gateway import Gateway
    from gateway.flows.keep import Keeper
    from gateway.relay.listener import Relay


def ledger(keeper: "Keeper", *, draining: bool) -> dict[str, Check]:
    """What is seen where the books are kept."""
    stuck = keeper.stuck
    return {
        "ledger": Check(not stuck, "it cannot commit; paid routes are closed" if stuck else "it commits"),
        "draining": Check(not draining, "the gateway is stopping" if draining else "it is not stopping"),
    }


def outside(gateway: "Gateway", relay: "Relay | None") -> dict[str, Check]:
    """What is seen where callers are served."""
    return {
        "provider": _provider(gateway),
        "limits": _limits(gateway),
        "issuers": _issuers(gateway),
        "upstreams": _upstreams(relay),
    }


def _provider(gateway: "Gateway") -> Check:
    payments = gateway.paying.payments
    if payments is None:
        return Check(True, "stripe is not set")
    if payments.resting:
        return Check(False, "Stripe did not answer several times in a row; it is tried every few seconds")
    return Check(True, "nothing is known against it")


def _limits(gateway: "Gateway") -> Check:
    if gateway.limits.down:
        return Check(False, "limits.storage did not answer when it was last asked; routes do what their limits say")
    return Check(True, "they count" if gateway.settings.limits.storage_url else "this host counts alone")


def _issuers(gateway: "Gateway") -> Check:
    keys = gateway.identity.keys
    bad = {name: state for name, one in keys.items() if (state := one.state) in ("stale", "missing")}
    if bad:
        return Check(False, "; ".join(f"keys of {name}: {state}, and cannot be fetched" for name, state in bad.items()))
    told = (f"keys of {name}: {one.state}" for name, one in keys.items())
    return Check(True, "; ".join(told) or "identity.issuers is not set")


def _upstreams(relay: "Relay | None") -> Check:
    out = relay.pools.left_out() if relay is not None else {}
    words = [f"{name}: {count} of {servers} servers left out" for name, (count, servers) in sorted(out.items())]
    return Check(not words, "; ".join(words) or "no server is left out")
