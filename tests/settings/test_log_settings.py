"""Settings of logs and traces: what is meant together is said together."""

from pathlib import Path
from typing import Any

import pytest

from gateway.settings import LogSettings
from tests.settings.asking import full, mistakes, only, settings


def test_what_is_not_said_is_sane(tmp_path: Path) -> None:
    found = settings(tmp_path, full(log=None))
    assert found.log == LogSettings("auto", "info", "all", 100, None, None, False, None)
    assert found.trace == "pass"


def test_a_file_is_put_aside_as_one_says(tmp_path: Path) -> None:
    log = {"format": None, "level": None, "file": "gateway.log", "rotate_size": "10 MiB", "rotate_daily": True,
           "keep_days": 14, "requests": "sampled", "sample_one_in": 10}  # fmt: skip
    found = settings(tmp_path, full(log=log, trace="make"))
    assert found.log == LogSettings("auto", "info", "sampled", 10, tmp_path / "gateway.log", 10 << 20, True, 14)
    assert found.trace == "make"


@pytest.mark.parametrize(
    ("log", "path", "words"),
    [
        ({"rotate_size": "1 MiB"}, "log.rotate_size", "`log.file`, which is not set; journald"),
        ({"rotate_daily": True}, "log.rotate_daily", "`log.file`, which is not set"),
        ({"keep_days": 3}, "log.keep_days", "`log.file`, which is not set"),
        ({"file": "none/gateway.log"}, "log.file", "there is no folder"),
        ({"file": "folder"}, "log.file", "is a folder; write the path of a file"),
        ({"sample_one_in": 10}, "log.sample_one_in", "`requests: sampled`; add that"),
        ({"requests": "some"}, "log.requests", ""),
        ({"requests": "sampled", "sample_one_in": 0}, "log.sample_one_in", ""),
        ({"file": "gateway.log", "keep_days": 0}, "log.keep_days", ""),
        ({"file": "gateway.log", "rotate_size": "big"}, "log.rotate_size", ""),
    ],
)
def test_what_does_not_go_together_is_told_of(tmp_path: Path, log: dict[str, Any], path: str, words: str) -> None:
    (tmp_path / "folder").mkdir()
    found = only(mistakes(tmp_path, full(log=log)))
    assert found.path == path
    assert words in found.words


def test_a_trace_passes_is_made_or_is_left_alone(tmp_path: Path) -> None:
    assert only(mistakes(tmp_path, full(trace="on"))).path == "trace"


def test_a_mistake_about_a_log_is_told_with_its_line(tmp_path: Path) -> None:
    found = only(mistakes(tmp_path, full(), {"GATEWAY_LOG__KEEP_DAYS": "3"}))
    assert found.path == "log.keep_days"
