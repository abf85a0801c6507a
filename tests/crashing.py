"""A gateway that is killed at one point of its work: `python -m tests.crashing WHERE SIDE run --config …`.

WHERE is `module:Class.method`; SIDE is `before` or `after` it, counted from the moment at which the file that
CRASH_ARMED names is there. The process ends as by kill -9: nothing is flushed, closed or said.
"""

import functools
import importlib
import inspect
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any


def crash_at(where: str, side: str) -> None:
    """Put the end of the process around a method."""
    module, _, path = where.partition(":")
    owner, name = path.split(".")
    found: Any = getattr(importlib.import_module(module), owner)
    setattr(found, name, _ending(getattr(found, name), side))


def _ending(method: Callable[..., Any], side: str) -> Callable[..., Any]:
    def end(when: str) -> None:
        if when != side:
            return
        with suppress(FileNotFoundError):
            Path(os.environ["CRASH_ARMED"]).unlink()  # once, whichever process is there first
            os.kill(os.getpid(), signal.SIGKILL)

    if inspect.iscoroutinefunction(method):

        @functools.wraps(method)
        async def awaited(*args: Any, **named: Any) -> Any:
            end("before")
            result = await method(*args, **named)
            end("after")
            return result

        return awaited

    @functools.wraps(method)
    def called(*args: Any, **named: Any) -> Any:
        end("before")
        result = method(*args, **named)
        end("after")
        return result

    return called


if __name__ == "__main__":
    from gateway.cli import main

    crash_at(sys.argv[1], sys.argv[2])
    main(sys.argv[3:])
