"""Who proved the books when, and what came of it, goes on the trail, where the operators' page of money finds it.

The proof itself needs nothing but the books. So where the records cannot be written, it is a proof all the same.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from gateway.app.stores import records_path
from gateway.cli.configuration import read
from gateway.cli.records import opened, write_down
from gateway.core.refusals import RecordsUnavailable
from gateway.ports import StoreDamaged, StoreFailed
from gateway.settings import Settings
from gateway.web.watched import AUDITED


def audit_and_note(config: Path, store: str | None, since: str | None, audit: Callable[[], None]) -> None:
    """Run the audit, whose exit code says what was found; a copy of the books is nobody's news.

    Nor may it be: a copy has a trail of its own, and to write on that would move this host's head of the trail to it.
    """
    try:
        audit()
    except SystemExit as ended:
        if store is None and ended.code in (0, 1):
            _note(read(config, make_secrets=False), clean=not ended.code, since=since)
        raise


def _note(settings: Settings, *, clean: bool, since: str | None) -> None:
    if not settings.secrets.sealing_keys or not settings.secrets.peppers:
        return
    if settings.store_url is None and not records_path(settings.store_path).exists():
        return
    facts = {"clean": "yes" if clean else "no", **({"since": since} if since else {})}

    async def note() -> None:
        async with opened(settings) as here:
            await write_down(settings, here, AUDITED, "books", **facts)

    with suppress(RecordsUnavailable, StoreDamaged, StoreFailed, OSError, ValueError, sqlite3.Error):
        asyncio.run(note())
