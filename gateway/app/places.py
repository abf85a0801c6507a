"""The addresses that we listen on, told by the settings that name them where they cannot be had."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def listening(setting: str, where: object) -> Iterator[None]:
    """What stands in the way is an OSError with words of ours: two settings name addresses, and both may be taken."""
    try:
        yield
    except OSError as error:
        known = error.errno is not None and error.errno > 0  # a name that is not found has a number of its own
        why = os.strerror(error.errno) if known and error.errno else error.strerror or str(error)
        if error.errno == errno.EADDRINUSE:
            why = "another program listens there; end it, or write another address"
        raise OSError(f"{setting}: {where}: {why}") from error
