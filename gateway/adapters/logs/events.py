"""Events that are not requests: structlog, and whatever any library of ours says to Python's own logging.

Every event passes `core/redaction.py` before anything is made of it: our own, those of aiohttp, asyncio, Stripe's
library or the database's, and Python's warnings. One that nobody expected (an exception that reached the event loop)
comes with its traceback, which passes there, too.

structlog is imported for the first event: it weighs 2 MiB and brings `rich` along where that is installed, which costs
0.1 s; most commands report nothing, nor do workers at rest.
"""

import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from functools import partial
from typing import Any

from gateway.adapters.logs.files import LogFile
from gateway.adapters.logs.writer import LineWriter
from gateway.core.redaction import clean, redacted

_events: LineWriter | None = None
_heard: "_Library | None" = None
_not_yet: Callable[[], None] | None = None
"""Sets structlog up, for the first event."""
_setting_up = threading.RLock()  # what is imported may have something to report


def configure(*, console: bool, level: str, at_once: bool = False, file: LogFile | None = None) -> None:
    """Set up events: JSON lines, or something for people's eyes on a terminal.

    `at_once` is for a process that forks and may have no threads: each event is written before the call returns.
    """
    global _events, _not_yet
    close()
    _events = None if at_once else LineWriter(file or sys.stderr)
    write = _events or (_at_once(file) if file is not None else _write_at_once)
    _not_yet = partial(_set_up, _EventLogger(write), console=console, level=level)
    _hear_libraries(level)


def _set_up(logger: "_EventLogger", *, console: bool, level: str) -> None:
    import structlog

    renderer = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer(sort_keys=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: logger,
        cache_logger_on_first_use=True,
    )


def report(event: str, *, level: str = "warning", **fields: object) -> None:
    """Something happened that an operator should know. Before `configure`, structlog is as the host has set it up."""
    global _not_yet
    import structlog

    with _setting_up:
        set_up, _not_yet = _not_yet, None
        if set_up is not None:
            set_up()
    getattr(structlog.get_logger(), level)(event, **fields)


def report_as_guest(event: str, *, level: str = "warning", **fields: object) -> None:
    """The same in somebody else's process: as they have set structlog up, or else a line on stderr, redacted."""
    import structlog

    if structlog.is_configured():
        report(event, level=level, **fields)
        return
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _redact,
        structlog.processors.JSONRenderer(sort_keys=False),
    ]
    wrapper = structlog.make_filtering_bound_logger("info")
    logger = structlog.wrap_logger(_EventLogger(_write_at_once), processors=processors, wrapper_class=wrapper)
    getattr(logger, level)(event, **fields)


def close() -> None:
    """Write the events that wait, within a second. Later ones are lost until `configure` is called again."""
    global _heard
    if _heard is not None:
        logging.getLogger().removeHandler(_heard)
        logging.captureWarnings(False)
        _heard = None
    if _events is not None:
        _events.close()


def _redact(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor of structlog's."""
    return clean(event)


def _hear_libraries(level: str) -> None:
    """Whatever goes through Python's logging is an event of ours from now on, and Python's warnings are."""
    global _heard
    _heard = _Library()
    root = logging.getLogger()
    root.addHandler(_heard)
    root.setLevel(max(logging.INFO, logging.getLevelName(level.upper())))
    logging.captureWarnings(True)


class _Library(logging.Handler):
    """Passes what a library says on as an event. Raises nothing: nobody who logs expects that."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields: dict[str, Any] = {"logger": record.name, "said": _said(record)}
            if record.exc_info and record.exc_info[1] is not None:
                fields["error"] = type(record.exc_info[1]).__name__
                fields["where"] = [_frame(frame) for frame in traceback.extract_tb(record.exc_info[2])[-6:]]
            report("library", level=_LEVELS.get(record.levelno, "error"), **fields)
        except Exception:  # as the handlers of the standard library do
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- the library's name
        """Nothing of a record that cannot even be formatted is worth an exception in who logs."""


_LEVELS = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warning"}
_SAID_CHARACTERS_MAX = 2000


def _said(record: logging.LogRecord) -> str:
    """The message, redacted before it is cut: half a token has no shape."""
    return redacted(record.getMessage())[:_SAID_CHARACTERS_MAX]


def _frame(frame: traceback.FrameSummary) -> str:
    return f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}"


def _write_at_once(line: str) -> None:
    with suppress(OSError):
        os.write(2, line.encode())


def _at_once(file: LogFile) -> Callable[[str], None]:
    def write(line: str) -> None:
        with suppress(OSError):
            file.write(line)

    return write


class _EventLogger:
    """What structlog hands its finished lines to."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def msg(self, message: str) -> None:
        self._write(message + "\n")

    log = debug = info = warn = warning = err = error = exception = critical = fatal = failure = msg
