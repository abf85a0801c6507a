"""What a stage needs before it can begin."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

import pytest

from gateway.cli import stage


def test_a_port_that_was_just_given_is_given_to_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "_QUIET_PORTS", range(31_900, 31_950))
    given = list(islice(_until_there_are_none(), 51))
    assert 0 < len(given) == len(set(given))


def _until_there_are_none() -> Iterator[int]:
    with suppress(OSError):
        while True:
            yield stage.free_port(0)
