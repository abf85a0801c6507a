"""Logs as the settings want them."""

import sys
from typing import TextIO

from gateway.adapters import logs
from gateway.adapters.logs import LogFile, RequestLog
from gateway.ports import Clock
from gateway.settings import LogSettings


def events(settings: LogSettings, *, at_once: bool = False) -> None:
    """Set up the events of this process."""
    console = _for_people(settings, sys.stderr)
    logs.configure(console=console, level=settings.level, at_once=at_once, file=_file(settings))


def request_log(settings: LogSettings, clock: Clock, *, worker: int | None) -> RequestLog:
    """The lines of requests that this process serves; `worker` is its slot, if it has one."""
    return RequestLog(
        clock,
        _file(settings),
        worker=worker,
        console=_for_people(settings, sys.stdout),
        which=settings.requests,
        one_in=settings.sample_one_in,
    )


def _file(settings: LogSettings) -> LogFile | None:
    """Each writer has one of its own: they meet at the name."""
    if settings.file is None:
        return None
    return LogFile(
        settings.file, bytes_max=settings.rotate_bytes, daily=settings.rotate_daily, keep_days=settings.keep_days
    )


def _for_people(settings: LogSettings, stream: TextIO) -> bool:
    if settings.file is not None:
        return False
    return settings.format == "console" or (settings.format == "auto" and stream.isatty())
