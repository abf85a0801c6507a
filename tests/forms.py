"""The two forms of the exchange, each as a stage: the relay, and the gateway inside an aiohttp application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from gateway.cli.stage import Stage
from gateway.core.targets import TARGET_BYTES_MAX
from gateway.settings import Settings
from gateway.web.front import Front
from tests import leaks
from tests.gateway_process import patiently


class MountedStage(Stage):
    """A stage whose gateway is also mounted in an aiohttp application; that is where its callers go."""

    _front: Front | None = None
    _url = ""

    @property
    def url(self) -> str:
        return self._url or super().url

    async def start_gateway(self, settings: Settings) -> None:
        await super().start_gateway(settings)
        app = web.Application()
        self.gateway.add_to(app)
        self._front = Front(
            app,
            report=self._report,
            new_id=self.gateway.new_id,
            access_log=None,
            auto_decompress=False,
            handler_cancellation=True,
            lingering_time=1,
            max_line_size=TARGET_BYTES_MAX + 256,
            max_field_size=settings.limits.request_head_bytes_max,
            max_headers=256,
        )
        await self._front.setup()
        await web.TCPSite(self._front, "127.0.0.1", 0).start()
        self._url = f"http://127.0.0.1:{self._front.addresses[0][1]}"

    async def stop_gateway(self) -> None:
        if self._front is not None:
            await self._front.cleanup()
            self._front = None
        await super().stop_gateway()


@asynccontextmanager
async def staged(form: str, folder: Path, **overrides: Any) -> AsyncIterator[Stage]:
    """A stage of this form, which says nothing."""
    stage = await leaks.started(FORMS[form], folder, patiently(overrides))
    try:
        yield stage
    finally:
        await stage.stop()


FORMS: dict[str, type[Stage]] = {"aiohttp": MountedStage, "relay": Stage}
