"""A gateway on its listeners, in this process."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from socket import socket
from typing import Any

from aiohttp import web

from gateway.adapters.metrics import Counts
from gateway.adapters.own_door import door_at
from gateway.app import measured, seen
from gateway.app.addresses import admin_application
from gateway.app.alerting import Alerting
from gateway.app.gateway import Gateway, url_of
from gateway.app.marketplace import platform
from gateway.app.measured import Pulse, Scrapes
from gateway.app.operating import Operating
from gateway.app.own_routes import own_routes
from gateway.app.places import listening
from gateway.core.readiness import Check
from gateway.core.refusals import RecordsUnavailable
from gateway.core.targets import TARGET_BYTES_MAX
from gateway.relay.listener import Relay
from gateway.settings import Settings, SettingsInvalid, UnixSocket
from gateway.web.front import Front
from gateway.web.lined import lining


class Running:
    """A gateway on its listeners. `load` reads the configuration anew, for a reload.

    A worker of several gets its `listening` socket from its parent; the admin listener is not its business. `ask` makes
    all of them read it.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        load: Callable[..., Settings] | None = None,
        listening: socket | None = None,
        ask: Callable[[], Awaitable[dict[str, Any]]] | None = None,
    ) -> None:
        self.gateway = gateway
        if load is not None:
            gateway.own_routes = own_routes(
                gateway.settings,
                load,
                ask or self.reload,
                served=lambda: gateway.serve.routes,
                witness=gateway.witness,
                report=gateway.report,
            )
        self._listening = listening
        self._load = load
        self._reloading = asyncio.Lock()
        self._runners: list[web.AppRunner] = []
        self._relay: Relay | None = None
        self._stopped = False
        self._pulse = Pulse()
        self._scrapes: Scrapes | None = None
        self._operating: Operating | None = None
        self._alerting: Alerting | None = None

    async def start(self) -> None:
        """Listen. Raises OSError when an address is taken, StoreDamaged, StoreLocked."""
        settings = self.gateway.settings
        await self.gateway.open()
        try:
            own = web.Application()
            self.gateway.add_own_to(own)
            lender = await self._runner(own)
            assert lender.server is not None
            self._relay = self.gateway.relay(lender.server)
            self._relay.pools.watch(settings.upstreams.values())
            self.gateway.left_out = self._relay.pools.left_out
            self.address = await self._listen(self._relay)
            self._pulse.start()
            if self._listening is None:
                await self._administer()
        except BaseException:
            await self.stop()
            raise

    async def _administer(self) -> None:
        """Where an operator is served."""
        gateway = self.gateway
        self._scrapes = Scrapes(
            workers=lambda: (self.counts(), 1),
            wanted=1,
            ledger=gateway.ledger,
            slices=lambda: 0,
            forgotten=lambda: gateway.limiter.forgotten,
            records=gateway.records,
            hears=gateway.settings.stripe is not None,
            clock=gateway.clock,
            voided=lambda: gateway.recovered.count,
        )
        self._operating = Operating(
            settings=lambda: gateway.settings,
            records=gateway.records,
            entries=gateway.ledger,
            scrapes=self._scrapes,
            operators=gateway.identity.operators,
            witness=gateway.witness,
            books=gateway.look_at_owners,
            clock=gateway.clock,
            report=gateway.report,
        )
        self._operating.open()
        self._alerting = Alerting(
            gateway.settings,
            gateway.records,
            workers=lambda: (self.counts(), 1),
            checks=self._parts,
            witness=gateway.witness,
            clock=gateway.clock,
            report=gateway.report,
        )
        await self._alerting.open()
        admin = await self._runner(
            admin_application(
                self.gateway.settings,
                self.gateway.ledger,
                self.gateway.identity.aliases,
                self.gateway.identity.freezes,
                self.gateway.clock,
                witness=self.gateway.witness,
                operators=self.gateway.identity.operators,
                reload=self.reload,
                restart=_no_restart,
                metrics=self._scrapes.scrape,
                inbox=self.gateway.records,
                platform=platform(
                    gateway.settings,
                    gateway.records,
                    gateway.look_at_owners,
                    lambda: gateway.serve.routes,
                    gateway.clock,
                ),
                parts=self._parts,
                alerts=self._alerting.place,
                operating=self._operating,
                line=lining(gateway.request_log, gateway.new_id),
            )
        )
        host, port = self.gateway.settings.admin
        with listening("admin", f"{host}:{port}"):
            await web.TCPSite(admin, host, port, backlog=128).start()
        self.admin_address = url_of("http", admin.addresses[0])

    def _parts(self) -> dict[str, Check]:
        return {**seen.ledger(self.gateway.ledger, draining=self._stopped), **self.outside()}

    def outside(self) -> dict[str, Check]:
        """How those outside stand that this process talks to."""
        return seen.outside(self.gateway, self._relay)

    def counts(self) -> Counts:
        """What this process has counted, and how it stands."""
        return measured.of_worker(self.gateway, self._relay, self._pulse)

    async def _listen(self, relay: Relay) -> str:
        """Where callers are served."""
        settings, tls = self.gateway.settings, None
        if settings.tls is not None:
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.minimum_version = ssl.TLSVersion.TLSv1_2
            tls.load_cert_chain(settings.tls.certificate, settings.tls.key)
            tls.set_alpn_protocols(["http/1.1"])
        host = settings.public_url.partition("://")[2]
        if self._listening is not None:
            self.gateway.door = door_at(self._listening, tls=tls is not None, host=host)
            await relay.listen(sock=self._listening, ssl=tls)
            return ""
        if isinstance(settings.listen, UnixSocket):
            with listening("listen", settings.listen.path):
                opened = await relay.listen(path=settings.listen.path, ssl=tls)
            self.gateway.door = door_at(opened.sockets[0], tls=tls is not None, host=host)
            return f"unix:{settings.listen.path}"
        host, port = settings.listen
        with listening("listen", f"{host}:{port}"):
            opened = await relay.listen(host=host, port=port, ssl=tls)
        self.gateway.door = door_at(opened.sockets[0], tls=tls is not None, host=host)
        return url_of("https" if tls else "http", opened.sockets[0].getsockname())

    async def reload(self) -> dict[str, Any]:
        """Read the configuration again and serve by it. With a mistake in it, nothing changes but what is reported."""
        async with self._reloading:
            try:
                settings = await asyncio.to_thread(self._load) if self._load else self.gateway.settings
            except SettingsInvalid as invalid:
                self._count_reload(taken=False)
                return refused(invalid, self.gateway.report)
            self._count_reload(taken=True)
            outcome = await self.apply(settings)
            self.gateway.report("configuration reloaded", level="info", **outcome)
            return outcome

    def _count_reload(self, *, taken: bool) -> None:
        if self._scrapes is not None:
            self._scrapes.reloaded(taken=taken)

    async def apply(self, settings: Settings) -> dict[str, Any]:
        """Serve by these routes, upstreams and keys from now on; what has changed."""
        before, after = self.gateway.serve.routes.routes, settings.routes.routes
        try:
            await self.gateway.note_prices.changed(before, after)
        except RecordsUnavailable:
            self.gateway.report("trail", problem="it cannot be written, so it does not say that prices have changed")
        outcome = self.gateway.reload(settings)
        with suppress(RecordsUnavailable):
            await self.gateway.identity.call_in.now()
        if self._relay is not None:
            self._relay.pools.watch(settings.upstreams.values())
        return outcome

    async def stop(self, *, grace_seconds: float = 0) -> None:
        """Stop listening, let requests in flight finish (within the bound), then close the gateway; once.

        Connections that are idle may ask once more within the grace.
        """
        if self._stopped:
            return
        self._stopped = True
        self._pulse.stop()
        if self._relay is not None:
            await self._relay.stop(grace_seconds=grace_seconds)
        for runner in self._runners:
            await runner.cleanup()
        if self._operating is not None:
            await self._operating.close()
        if self._alerting is not None:
            await self._alerting.close()
        await self.gateway.close()

    async def _runner(self, app: web.Application) -> web.AppRunner:
        runner = front(app, self.gateway.settings, report=self.gateway.report, new_id=self.gateway.new_id)
        await runner.setup()
        self._runners.append(runner)
        return runner


def front(
    app: web.Application, settings: Settings, *, report: Callable[..., None], new_id: Callable[[], str]
) -> web.AppRunner:
    """What serves pages and calls of our own."""
    return Front(
        app,
        report=report,
        new_id=new_id,
        access_log=None,
        auto_decompress=False,
        handler_cancellation=True,
        keepalive_timeout=75,
        shutdown_timeout=10,
        lingering_time=1,  # for a refused body that is still coming, so that its sender can read the answer
        max_line_size=TARGET_BYTES_MAX + 256,
        max_field_size=settings.limits.request_head_bytes_max,
        max_headers=256,
    )


async def _no_restart() -> dict[str, Any]:
    """One process cannot stand in for itself."""
    return {"restarted": False, "mistakes": ["workers: there is only one; restart the service, or set 2 or more"]}


def refused(invalid: SettingsInvalid, report: Callable[..., None]) -> dict[str, Any]:
    """What is said of a configuration that cannot be served by."""
    mistakes = [str(mistake) for mistake in invalid.mistakes]
    report("configuration refused", mistakes=mistakes)
    return {"reloaded": False, "mistakes": mistakes}
