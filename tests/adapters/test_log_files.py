"""A log file that any number of processes write to loses no line, whoever puts it aside."""

import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from gateway.adapters.logs import LineWriter, LogFile

DAY = 86_400


class Now:
    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


def put_aside(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.[0-9]*"))


def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = LogFile(path)
    file.write("1\n")
    path.rename(tmp_path / "aside")
    file.write("2\n")
    path.unlink()
    file.write("3\n")
    file.close()
    assert (path.read_text(), (tmp_path / "aside").read_text()) == ("3\n", "1\n")
    assert path.stat().st_mode & 0o077 == 0o040 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_it_is_put_aside_when_it_is_large_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = LogFile(path, bytes_max=10, now=Now())
    file.write("123456789")
    file.write("0")
    assert put_aside(path) == []
    file.write("next\n")
    file.write("and next\n")
    file.write("last\n")
    file.close()
    assert [one.name for one in put_aside(path)] == ["log.20270115T080000Z", "log.20270115T080000Z.1"]
    assert path.read_text() == "last\n"


def test_it_is_put_aside_when_its_day_is_over(tmp_path: Path) -> None:
    path, now = tmp_path / "log", Now()
    file = LogFile(path, daily=True, now=now)
    file.write("of yesterday\n")
    os.utime(path, (now.seconds, now.seconds))
    file.write("of yesterday, too\n")
    os.utime(path, (now.seconds, now.seconds))
    now.seconds += DAY
    file.write("of today\n")
    file.close()
    [aside] = put_aside(path)
    assert (aside.read_text(), path.read_text()) == ("of yesterday\nof yesterday, too\n", "of today\n")


def test_an_empty_file_is_not_put_aside(tmp_path: Path) -> None:
    path, now = tmp_path / "log", Now()
    path.touch()
    os.utime(path, (0, 0))
    LogFile(path, daily=True, now=now).fileno()
    assert put_aside(path) == []


def test_what_was_put_aside_goes_when_it_is_too_old(tmp_path: Path) -> None:
    path, now = tmp_path / "log[1]", Now()
    file = LogFile(path, bytes_max=1, keep_days=7, now=now)
    kept, gone, others = (tmp_path / name for name in ("log[1].20270108", "log[1].20270107", "log1.20270101"))
    for one, days in ((kept, 6.9), (gone, 7.1), (others, 99)):
        one.write_text("x")
        os.utime(one, (now.seconds - days * DAY,) * 2)
    file.write("1\n")
    file.write("2\n")
    file.close()
    assert (kept.exists(), gone.exists(), others.exists()) == (True, False, True)


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        LogFile(tmp_path / "log").write("x")


def _write(path: Path, worker: int, count: int) -> None:
    write = LineWriter(LogFile(path, bytes_max=20_000), waiting_lines_max=count + 1)
    for number in range(count):
        write(json.dumps([worker, number, "x" * 50]) + "\n")
        if number % 100 == 0:
            time.sleep(0)
    while not write._waiting.empty():
        os.sched_yield()
    write.close()


def test_many_processes_and_whoever_moves_the_file_lose_no_line(tmp_path: Path) -> None:
    path, count = tmp_path / "log", 2000
    processes = [
        multiprocessing.get_context("fork").Process(target=_write, args=(path, worker, count)) for worker in range(4)
    ]
    for process in processes:
        process.start()
    for number in range(20):
        if path.exists():
            path.rename(tmp_path / f"log.0000{number}")
        os.sched_yield()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    lines = [line for file in tmp_path.glob("log*") if file.suffix != ".lock" for line in file.read_text().splitlines()]
    found = sorted(tuple(json.loads(line)[:2]) for line in lines)
    assert found == [(worker, number) for worker in range(4) for number in range(count)]
    assert len(put_aside(path)) > 1
