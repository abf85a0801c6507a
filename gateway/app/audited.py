"""The books are audited beside the gateway now and then: what came since the last time, in a process of its own.

An audit is minutes of one core where a day was busy, and would hold up whoever keeps the books if it ran among them.
So a new process does it (`python -m gateway.app.audited`), with the lowest priority; where the books are, and the keys
that signed them, it is told on its standard input. What it found is an alert until an audit finds nothing.
"""

import asyncio
import base64
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.adapters.system import SystemFile
from gateway.app.stores import HEAD_KEY_PURPOSE, head_path
from gateway.core.alerts import Sign
from gateway.core.keyring import Keyring
from gateway.core.secrets import Secret
from gateway.ports import Clock, Watermarks
from gateway.settings import Settings

WATERMARK = "audited"
_SECONDS_MAX = 6 * 3600.0
_OVERLAP_MS = 60_000


class Audits:
    """Begins an audit when one is due, and remembers what the last one found."""

    def __init__(
        self, settings: Settings, marks: Watermarks, *, every_seconds: float, clock: Clock, report: Callable[..., None]
    ) -> None:
        self._settings = settings
        self._marks = marks
        self._every_ms = int(every_seconds * 1000)
        self._clock = clock
        self._report = report
        self._found: list[Sign] = []
        self._begun_ms = 0
        self.running: asyncio.Task[None] | None = None
        """The audit that is under way, or was the last."""

    async def close(self) -> None:
        """An audit that runs is ended; it is begun anew the next time."""
        if self.running is not None:
            self.running.cancel()
            await asyncio.gather(self.running, return_exceptions=True)

    async def look(self, now_ms: int) -> list[Sign]:
        """What the last audit found. Raises RecordsUnavailable."""
        last = await self._marks.watermark(WATERMARK)
        if last is None:
            await self._marks.keep_watermark(WATERMARK, now_ms)  # from now on: what was before is a whole audit's
        elif min(now_ms - last, now_ms - self._begun_ms) >= self._every_ms and (
            self.running is None or self.running.done()
        ):
            self._begun_ms = now_ms
            self.running = asyncio.create_task(self._audit(last - _OVERLAP_MS, now_ms), name="audit")
        return self._found

    async def _audit(self, since_ms: int, now_ms: int) -> None:
        told = await self._told(json.dumps(task(self._settings, since_ms)).encode())
        if told is None:
            self._report("audit", problem="it could not be done; it is tried again")
            return
        findings = int(told["findings"])
        facts = {"findings": findings, "batch": told["batch"]}
        self._found = [Sign("books_imbalance", facts=facts)] if findings else []
        if not findings:
            await self._marks.keep_watermark(WATERMARK, now_ms)

    async def _told(self, asked: bytes) -> dict[str, Any] | None:
        """What the process says; None if it says nothing."""
        pipe = asyncio.subprocess.PIPE
        words = (sys.executable, "-m", "gateway.app.audited")
        child = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL)
        try:
            async with asyncio.timeout(_SECONDS_MAX):
                said, _ = await child.communicate(asked)
            told: dict[str, Any] = json.loads(said)
        except (TimeoutError, ValueError):
            return None
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        return told


def task(settings: Settings, since_ms: int) -> dict[str, Any]:
    """What the process is told."""
    keys = [key.subkey(HEAD_KEY_PURPOSE) for key in Keyring(settings.secrets.sealing_keys).keys]
    url, password = settings.store_url, settings.store_password
    return {
        "path": str(settings.store_path),
        "head": str(head_path(settings)),
        "url": url.reveal() if url is not None else None,
        "password": password.reveal() if password is not None else None,
        "keys": [base64.b64encode(key).decode() for key in keys],
        "since": since_ms,
    }


def audited(told: dict[str, Any]) -> dict[str, Any]:
    """How many things were found, and the first batch that is not as it was. Raises AuditRefused."""
    keys, password = [base64.b64decode(key) for key in told["keys"]], told["password"]
    if told["url"] is None:
        from gateway.adapters.sqlite.audit import Since, audit

        report = audit(Path(told["path"]), head_key=keys, since=Since(at_ms=told["since"]))
        return {"findings": len(report.findings) + report.more, "batch": report.first_bad_batch}
    from gateway.adapters.postgres import audit as there
    from gateway.adapters.postgres.sessions import Address

    head = SystemFile(Path(told["head"]))
    address = Address(Secret(told["url"]), password=Secret(password) if password is not None else None)
    kept, since = there.KeptHead(head.name, head.read()), there.Since(at_ms=told["since"])
    found = asyncio.run(there.audit(address, keys=keys, head=kept, since=since))
    return {"findings": len(found.findings) + found.more, "batch": found.first_bad_batch}


def main() -> None:
    """The process."""
    os.nice(19)
    print(json.dumps(audited(json.load(sys.stdin))))


if __name__ == "__main__":
    main()
