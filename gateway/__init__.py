"""Farebox: a gateway that stands in front of any HTTP API and makes it pay-per-use.

Start reading at `gateway/flows/serve.py`: the life of one request, top to bottom. The rooms:

- `core` holds the nouns: money, prices, routes, tokens, the ledger. Pure.
- `flows` holds the verbs: serve a request, top up, receive a webhook.
- `ports` is the wall between the two and the outside world.
- `adapters` holds the brand names: SQLite, Stripe, the rate-limit library.
- `web` holds the places: every address that a person or program can visit.
- `demo` holds a stand-in for Stripe and toy upstreams.
- `settings` reads the configuration, `app` wires everything, `cli` is what an operator types.

`gateway.mount(app, …)` puts the gateway inside any aiohttp application.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gateway.app import mount as mount


def __getattr__(name: str) -> Any:
    """`gateway.mount` is loaded when it is first asked for, so that `gateway --help` stays quick."""
    if name == "mount":
        from gateway.app import mount

        return mount
    raise AttributeError(f"module 'gateway' has no attribute {name!r}")
