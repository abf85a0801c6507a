"""A gateway, three toy upstreams and a Stripe stand-in on this machine, wired to each other.

`gateway demo` and the stories among the tests run this same stage. The gateway talks to the stand-in as it would to
Stripe; nothing in it knows the difference but its base address.
"""

import secrets
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gateway.adapters.stripe.parameters import parameters
from gateway.app import Gateway, Running
from gateway.demo.standin import Endpoint, StandIn
from gateway.demo.upstreams import ToyUpstream, all_three
from gateway.ports import Served
from gateway.settings import Settings, from_mapping

_QUIET_PORTS = range(20_000, 32_000)
"""Linux gives outgoing connections ports from 32768 on."""


class Stage:
    """The whole cast. `start` before anything else; `stop` in any state."""

    def __init__(
        self,
        data: Path,
        *,
        port: int = 0,
        overrides: Mapping[str, Any] | None = None,
        served: Served | None = None,
        report: Callable[..., None],
    ) -> None:
        self._data = data
        self._port = port
        self._overrides = overrides or {}
        self._served = served
        self._report = report
        self.webhook_secret = f"whsec_{secrets.token_hex(24)}"
        self.connect_secrets = [f"whsec_{secrets.token_hex(24)}" for _ in range(2)]
        """Of the endpoints for what happens to owners' accounts: of Stripe's first API, and of its second."""
        self._stripe_key = f"sk_test_{secrets.token_hex(24)}"
        self.upstreams: list[ToyUpstream] = all_three()
        self.stand_in = StandIn(api_key=self._stripe_key, parameters=parameters, business="Farebox demo")
        self.running: Running | None = None

    @property
    def gateway(self) -> Gateway:
        if self.running is None:
            raise RuntimeError("the stage has not been started")
        return self.running.gateway

    @property
    def settings(self) -> Settings:
        return self.gateway.settings

    @property
    def url(self) -> str:
        return self.settings.public_url

    async def start(self) -> None:
        for upstream in self.upstreams:
            await upstream.start()
        await self.stand_in.start()
        listen = free_port(self._port)
        admin = free_port(listen + 1)
        settings = from_mapping(self._config(listen, admin), base=self._data, environ={}, make_secrets=True)
        self._listen(
            f"{settings.public_url}/-/webhooks/stripe",
            others=settings.connect is not None or settings.payouts is not None,
        )
        await self.start_gateway(settings)

    def _listen(self, url: str, *, others: bool) -> None:
        """As in Stripe's dashboard: what happens to others' accounts comes by endpoints of its own."""
        self.stand_in.add_endpoint(Endpoint(url, self.webhook_secret))
        if others:
            self.stand_in.add_endpoint(Endpoint(url, self.connect_secrets[0], hears="connected"))
            self.stand_in.add_endpoint(Endpoint(url, self.connect_secrets[1], hears="thin"))

    async def start_gateway(self, settings: Settings) -> None:
        """Start the gateway alone, for instance again after `stop_gateway`."""
        gateway = Gateway(settings, served=self._served, report=self._report)
        self.running = Running(gateway, load=self._load if self._can_reread else None)
        await self.running.start()

    @property
    def _can_reread(self) -> bool:
        return any("routes" in (owner or {}) for owner in self._overrides.get("owners", {}).values())

    def _load(self, instead: Mapping[str, str] | None = None) -> Settings:
        """The configuration once more, with what owners have written of their routes by now."""
        listen, admin = self.settings.public_url.rpartition(":")[2], self.settings.admin[1]
        config = self._config(int(listen), admin)
        return from_mapping(config, base=self._data, environ={}, make_secrets=False, instead=instead)

    async def stop_gateway(self) -> None:
        if self.running is not None:
            await self.running.stop()

    async def stop(self) -> None:
        await self.stop_gateway()
        await self.stand_in.stop()
        for upstream in self.upstreams:
            await upstream.stop()

    def _config(self, listen: int, admin: int) -> dict[str, Any]:
        """The demo's configuration; an override of a block is laid over it, None takes it out."""
        config = self._demo_config(listen, admin)
        for name, value in self._overrides.items():
            if value is None:
                del config[name]
            elif isinstance(value, dict):
                config[name] = {**config.get(name, {}), **value}
            else:
                config[name] = value
        return config

    def _demo_config(self, listen: int, admin: int) -> dict[str, Any]:
        connects = self.connect_secrets if {"connect", "payouts"} & set(self._overrides) else []
        weather, echo, llm = (upstream.url for upstream in self.upstreams)
        return {
            "version": 1,
            "mode": "test",
            "listen": f"127.0.0.1:{listen}",
            "admin": f"127.0.0.1:{admin}",
            "public_url": f"http://127.0.0.1:{listen}",
            "store": "sqlite:./gateway.db",
            "currency": "usd",
            "stripe": {
                "secret_key": self._stripe_key,
                "webhook_secrets": [self.webhook_secret, *connects],
                "api_url": self.stand_in.url,
                "top_up": "5.00 usd",
            },
            "upstreams": {"weather": {"url": weather}, "echo": {"url": echo}, "llm": {"url": llm}},
            "routes": [
                {"name": "weather", "match": "/weather/", "upstream": "weather", "strip_prefix": True,
                 "price": "0.002 usd", "limit": "100/minute"},
                {"name": "echo", "match": "/echo/", "upstream": "echo", "strip_prefix": True, "price": "0.001 usd"},
                {"name": "llm", "match": "/llm/", "upstream": "llm", "strip_prefix": True, "price": "0.01 usd"},
                {"name": "forecast", "match": "/forecast/", "upstream": "weather", "strip_prefix": True,
                 "price": "0.25 usd", "unpaid": "page"},
                {"name": "status", "match": "/status/", "upstream": "weather", "strip_prefix": True, "price": "free"},
            ],
        }  # fmt: skip


def free_port(wanted: int) -> int:
    """`wanted`, or the next port after it that nobody listens on; any free one for 0.

    Any: not what the kernel would pick, for an outgoing connection may be given that before somebody listens on it.
    """
    for port in range(wanted, wanted + 50) if wanted else secrets.SystemRandom().sample(_QUIET_PORTS, 50):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError(f"no free port between {wanted} and {wanted + 49}" if wanted else "no free port")
