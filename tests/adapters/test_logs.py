"""The log is never in a request's way, whatever its stream does."""

import asyncio
import errno
import io
import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, cast

import pytest
import structlog

from gateway.adapters import logs
from gateway.adapters.logs import LineWriter, LogFile, RequestLog, writer
from gateway.adapters.logs.policy import REQUEST_LINE
from gateway.core.callers import ANONYMOUS, Caller
from gateway.core.ids import RequestId
from gateway.core.money import Money
from gateway.core.pricing import Price
from gateway.core.routes import Route, Server, Upstream
from gateway.core.traces import Trace
from gateway.ports import Exchange
from tests.fakes import FakeClock

ACCOUNT = Caller(account="acct_018bcfe568000102030405060708090a", token_id="tok_1")
THEIRS: Trace = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "")
PAID = Route("weather", "/weather/", Upstream("w", (Server("http", "127.0.0.1", 9),)), Price(Money(2000, "usd")))


@dataclass
class Asked:
    """As much of an exchange as a line tells."""

    target: str = "/weather/berlin?day=1"
    method: str = "GET"
    status: int = 200
    cost: Money | None = None
    id: RequestId = field(default_factory=lambda: RequestId(1_800_000_000_000, 7))
    begun: float = 5.0
    refusal_code: str = ""
    upstream_seconds: float | None = 0.0301
    bytes_in: int = 3
    bytes_out: int = 17
    front_id: str = ""
    trace: Trace = THEIRS


def asked(target: str = "/weather/berlin?day=1", **more: Any) -> Exchange:
    return cast(Exchange, Asked(target, **more))


def within(seconds: float, act: Callable[[], object]) -> None:
    """Fails, rather than hangs, when this blocks."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it blocks"


class Pipe:
    """A pipe as a stream, which is read when the test wants."""

    def __init__(self) -> None:
        self.out, into = os.pipe()
        self.stream = open(into, "w", encoding="utf-8")  # noqa: SIM115
        self.text = ""
        self._reader = threading.Thread(target=self._read, daemon=True)

    def read(self) -> None:
        """From now on somebody reads."""
        self._reader.start()

    def lines(self) -> list[str]:
        """All that was written, once nobody writes any more."""
        self.stream.close()
        self._reader.join(20)
        assert not self._reader.is_alive()
        return self.text.splitlines()

    def hang_up(self) -> None:
        os.close(self.out)

    def _read(self) -> None:
        with open(self.out, encoding="utf-8") as stream:
            self.text = stream.read()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.stream.close()


# --- a request's line -------------------------------------------------------------------------------------------------


def written(exchange: Exchange, route: Route | None = PAID, caller: Caller = ACCOUNT, *, now_ms: int = 0) -> str:
    out = io.StringIO()
    log = RequestLog(FakeClock(now_ms or 1_800_000_000_042), out, worker=2, now=lambda: 5.042)
    log(exchange, route, caller)
    log.close()
    return out.getvalue()


def test_a_line_tells_what_was_asked_and_what_it_cost() -> None:
    assert written(asked(cost=Money(2000, "usd"))) == (
        '{"timestamp": "2027-01-15T08:00:00.042Z", "level": "info", "event": "request"'
        ', "request_id": "req_01a3185c50000000000000000007", "trace_id": "0af7651916cd43dd8448eb211c80319c"'
        ', "span_id": "b7ad6b7169203331", "path": "/weather/berlin", "ms": 42.0, "upstream_ms": 30.1'
        ', "bytes_in": 3, "bytes_out": 17, "route": "weather", "method": "GET", "status": 200'
        ', "account": "acct_018bcfe568000102030405060708090a", "token": "tok_1", "cost": "0.002 usd"'
        ', "refused": null, "worker": 2}\n'
    )


def test_what_lines_share_is_never_taken_for_anothers() -> None:
    """Lines that differ in one thing only, one after the other by the same log, and more of them than it keeps."""
    out = io.StringIO()
    log = RequestLog(FakeClock(), out)
    other = Route("other", "/", PAID.upstream, PAID.price)
    told = [
        (asked(), PAID, ACCOUNT), (asked(), other, ACCOUNT), (asked(), None, ACCOUNT), (asked(), PAID, ANONYMOUS),
        (asked(status=201), PAID, ACCOUNT), (asked(method="PUT"), PAID, ACCOUNT),
        (asked(refusal_code="x"), PAID, ACCOUNT), (asked(cost=Money(0, "usd")), PAID, ACCOUNT),
        (asked(cost=Money(5, "usd")), PAID, ACCOUNT), (asked(cost=Money(5, "eur")), PAID, ACCOUNT),
        (asked(), PAID, Caller(account=ACCOUNT.account, token_id="tok_2")),
    ]  # fmt: skip
    told += [(asked(cost=Money(number, "usd")), PAID, ACCOUNT) for number in range(1, 3000)]
    for one in told * 2:
        log(*one)
    log.close()
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len(found) == 2 * len(told)
    for line, (exchange, route, caller) in zip(found, told * 2, strict=True):
        cost = None if exchange.cost is None else str(exchange.cost)
        assert (line["route"], line["method"], line["status"], line["cost"]) == (
            route.name if route else None, exchange.method, exchange.status, cost,
        )  # fmt: skip
        assert (line["account"], line["token"], line["refused"]) == (
            caller.account or None, caller.token_id or None, exchange.refusal_code or None,
        )  # fmt: skip


def test_a_line_has_the_fields_of_the_policy_in_its_order() -> None:
    assert list(json.loads(written(asked(front_id="x")))) == list(REQUEST_LINE)


def test_what_is_not_known_is_null() -> None:
    line = json.loads(written(asked(status=404), None, ANONYMOUS))
    assert (line["route"], line["account"], line["cost"], line["status"]) == (None, None, None, 404)


def test_the_time_is_right_across_seconds() -> None:
    out, clock = io.StringIO(), FakeClock(1_800_000_000_999)
    log = RequestLog(clock, out)
    for _ in range(3):
        log(asked(), PAID, ACCOUNT)
        clock.ms += 1
    clock.ms -= 2  # a clock may be set back
    log(asked(), PAID, ACCOUNT)
    log.close()
    times = [json.loads(line)["timestamp"][17:] for line in out.getvalue().splitlines()]
    assert times == ["00.999Z", "01.000Z", "01.001Z", "01.000Z"]


@pytest.mark.parametrize(
    "path",
    ['/"', "/\\", "/\n\r\t\x00\x1f\x7f", "/\udcff\ud800", "/ü€😀", "/\u2028", "/{}%s%(a)s{0}", "", "/" + "x" * 9000],
)
def test_a_line_is_json_whatever_the_path(path: str) -> None:
    text = written(asked(path + "?token=fb_test_1", method='G"T'), Route('r"\n', "/", PAID.upstream, PAID.price))
    assert text.count("\n") == 1
    assert text.isascii()
    line = json.loads(text)
    assert (line["path"], line["method"], line["route"]) == (path, 'G"T', 'r"\n')
    assert "fb_test_1" not in text


def test_a_line_is_what_the_json_library_would_write() -> None:
    text = written(asked('/"ü', cost=Money(1, "eur")))
    assert text == json.dumps(json.loads(text)) + "\n"


@pytest.mark.parametrize(("which", "told"), [("all", 7), ("errors", 4), ("off", 0), ("sampled", 5)])
def test_only_the_lines_that_are_wanted_are_written(which: Any, told: int) -> None:
    out = io.StringIO()
    log = RequestLog(FakeClock(), out, which=which, one_in=3)
    for number, status in enumerate((200, 302, 399, 400, 500, 0), start=4):
        log(asked(status=status, id=RequestId(1, number)), PAID, ACCOUNT)
    log(asked(status=0, refusal_code="internal_error"), PAID, ACCOUNT)
    log.close()
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len(lines) == told
    assert not lines or lines[-1]["status"] == 500


def test_a_line_for_eyes_says_the_same_in_short() -> None:
    out = io.StringIO()
    log = RequestLog(FakeClock(1_800_000_000_042), out, console=True, now=lambda: 5.042)
    log(asked("/weather/\x1b[2J?x", cost=Money(2000, "usd")), PAID, ACCOUNT)
    log(asked("/x", status=402, refusal_code="payment_required"), None, ANONYMOUS)
    log.close()
    first, second = out.getvalue().splitlines()
    assert first.split("  ") == [
        "08:00:00.042", "200", "GET", r"'/weather/\x1b[2J'", "42.0 ms", "weather", "0.002 usd",
        "acct_018bcfe568000102030405060708090a", "req_01a3185c50000000000000000007",
    ]  # fmt: skip
    assert second.split("  ")[-2] == "payment_required"


def test_what_a_trusted_front_calls_it_is_there_only_if_it_does() -> None:
    assert json.loads(written(asked(front_id='a"b')))["front_id"] == 'a"b'
    assert "front_id" not in written(asked())


# --- the writer -------------------------------------------------------------------------------------------------------


def test_five_thousand_lines_arrive_in_order(pipe: Pipe) -> None:
    pipe.read()
    write = LineWriter(pipe.stream)
    for n in range(5000):
        write(f"{n}\n")
    write.close()
    assert pipe.lines() == [str(n) for n in range(5000)]


def test_lines_arrive_without_being_asked_for(pipe: Pipe) -> None:
    write = LineWriter(pipe.stream)
    write("one\n")
    within(20, lambda: os.read(pipe.out, 100))
    write.close()
    pipe.hang_up()


def test_lines_of_many_threads_are_whole(pipe: Pipe) -> None:
    pipe.read()
    write = LineWriter(pipe.stream)

    def some(name: str) -> None:
        for n in range(500):
            write(f"{name} {n}\n")

    threads = [threading.Thread(target=some, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    write.close()
    lines = pipe.lines()
    for name in "abcd":
        assert [line for line in lines if line[0] == name] == [f"{name} {n}" for n in range(500)]


def test_a_pipe_that_nobody_reads_blocks_nobody_and_the_missing_lines_are_counted(pipe: Pipe) -> None:
    write = LineWriter(pipe.stream, waiting_lines_max=100)
    width = 1000

    def a_thousand() -> None:
        for n in range(1000):
            write(f"{n:0{width}d}\n")

    within(20, a_thousand)
    pipe.read()
    write.close()
    lines = pipe.lines()
    notices = [json.loads(line) for line in lines if line.startswith("{")]
    numbers = [int(line) for line in lines if not line.startswith("{")]
    assert {notice["event"] for notice in notices} == {"log lines dropped"}
    assert len(numbers) + sum(notice["count"] for notice in notices) == 1000
    assert len(numbers) < 1000
    assert numbers == sorted(numbers)


def test_closing_gives_up_on_a_pipe_that_nobody_reads(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "CLOSE_SECONDS", 0.05)
    write = LineWriter(pipe.stream)
    write("x" * 1_000_000 + "\n")
    within(20, write.close)
    within(20, write.close)
    within(20, lambda: write("late\n"))
    pipe.hang_up()  # lets the thread go


def test_a_reader_that_hangs_up_is_no_trouble(pipe: Pipe) -> None:
    pipe.hang_up()
    write = LineWriter(pipe.stream)
    for _ in range(100):
        write("line\n")
    within(20, write.close)


def test_a_closed_stream_is_no_trouble(tmp_path: Path) -> None:
    stream = (tmp_path / "log").open("w")
    stream.close()
    other = (tmp_path / "other").open("w")  # most likely under the same number
    write = LineWriter(stream)
    write("line\n")
    within(20, write.close)
    other.close()
    assert (tmp_path / "other").read_text() == ""


def test_a_closed_stream_in_memory_is_no_trouble() -> None:
    stream = io.StringIO()
    stream.close()
    write = LineWriter(stream)
    write("line\n")
    within(20, write.close)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_no_trouble() -> None:
    with open("/dev/full", "w") as stream:
        log = RequestLog(FakeClock(), stream)
        for _ in range(100):
            log(asked(), PAID, ACCOUNT)
        within(20, log.close)


class Faulty(io.StringIO):
    """Fails when it is told to; `tried` is set by each write."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error: Exception | None = error
        self.tried = threading.Event()

    def write(self, text: str) -> int:
        try:
            if self.error is not None:
                raise self.error
            return super().write(text)
        finally:
            self.tried.set()


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), BrokenPipeError(), ValueError("closed"), RuntimeError("odd")]
)
def test_what_a_failing_stream_lost_is_told_when_it_works_again(error: Exception) -> None:
    stream = Faulty(error)
    write = LineWriter(stream)
    write("lost\n")
    assert stream.tried.wait(20)
    stream.error = None
    write("kept\n")
    write.close()
    assert stream.getvalue() == '{"event": "log lines dropped", "count": 1}\nkept\n'


def test_a_write_that_is_cut_is_counted_by_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full in the middle of a line, and later is not."""
    room = 12
    real, cut = os.write, threading.Event()

    def limited(descriptor: int, data: bytes) -> int:
        nonlocal room
        if threading.current_thread().name != "log":
            return real(descriptor, data)
        if not room:
            cut.set()
            raise OSError(errno.ENOSPC, "full")
        done = real(descriptor, data[:room])
        room -= done
        return done

    monkeypatch.setattr(os, "write", limited)
    with (tmp_path / "log").open("w") as stream:
        write = LineWriter(stream)
        write._waiting.put("line 1\n")  # so that they are one batch
        write._waiting.put("line 2\n")
        write("line 3\n")
        assert cut.wait(20)
        room = 1000
        write("line 4\n")
        write.close()
    text = (tmp_path / "log").read_text()
    assert text == 'line 1\nline \n{"event": "log lines dropped", "count": 2}\nline 4\n'


def test_a_pipe_that_was_made_non_blocking_gets_every_line(pipe: Pipe) -> None:
    os.set_blocking(pipe.stream.fileno(), False)
    write = LineWriter(pipe.stream)
    for n in range(3000):
        write(f"{n:0100d}\n")
    pipe.read()
    write.close()
    assert [int(line) for line in pipe.lines()] == list(range(3000))


def test_what_comes_after_the_end_is_not_written() -> None:
    stream = io.StringIO()
    write = LineWriter(stream)
    write("one\n")
    write.close()
    write("two\n")
    write.close()
    assert stream.getvalue() == "one\n"


def test_closing_what_never_wrote_starts_nothing() -> None:
    before = threading.active_count()
    RequestLog(FakeClock(), io.StringIO()).close()
    assert threading.active_count() <= before


def test_a_process_ends_well_beside_a_reader_that_is_stuck() -> None:
    program = (
        "import sys\nfrom gateway.adapters import logs\n"
        "from gateway.adapters.logs import writer\n"
        "writer.CLOSE_SECONDS = 0.1\n"
        "write = logs.LineWriter(sys.stdout)\n"
        "for n in range(3000): write('x' * 1000 + chr(10))\n"
    )
    reader, writer = os.pipe()
    try:
        ran = subprocess.run(
            [sys.executable, "-c", program], stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False
        )
    finally:
        os.close(reader)
        os.close(writer)
    assert (ran.returncode, ran.stderr) == (0, b"")


def test_a_process_that_forgets_to_close_loses_no_line() -> None:
    program = (
        "import sys\nfrom gateway.adapters import logs\n"
        "write = logs.LineWriter(sys.stdout)\n"
        "for n in range(3000): write(str(n) + chr(10))\n"
        "logs.configure(console=False, level='info')\n"
        "logs.report('last')\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.split() == [str(n) for n in range(3000)]
    assert json.loads(ran.stderr)["event"] == "last"


def test_importing_the_log_does_not_import_structlog() -> None:
    program = "import sys, gateway.adapters.logs\nprint('structlog' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "False\n"


# --- events -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[TextIO], None]]:
    """Puts a stream in place of stderr; structlog is as before afterwards."""
    yield lambda stream: monkeypatch.setattr(sys, "stderr", stream)
    logs.close()
    structlog.reset_defaults()


def test_an_event_is_a_json_line_with_level_and_time(stderr: Callable[[TextIO], None]) -> None:
    stream = io.StringIO()
    stderr(stream)
    logs.configure(console=False, level="info")
    logs.report("ledger", problem="stuck")
    logs.report("noise", level="debug")
    logs.report("started", level="info", odd="\ud800\n")
    logs.report("failed", level="error")
    logs.close()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["level"], line["event"]) for line in lines] == [
        ("warning", "ledger"), ("info", "started"), ("error", "failed"),
    ]  # fmt: skip
    assert (lines[0]["problem"], lines[1]["odd"]) == ("stuck", "\ud800\n")
    assert lines[0]["timestamp"].endswith("Z")


def test_no_secret_gets_into_an_event(stderr: Callable[[TextIO], None]) -> None:
    stream = io.StringIO()
    stderr(stream)
    logs.configure(console=False, level="info")
    logs.report(
        "failed", why="whsec_9fK2mQ7xTzB4nH8vLc3YpR6s", cookie="a=b", inner={"token": "x", "to": ["a@b.example"]}
    )
    logs.close()
    line = json.loads(stream.getvalue())
    assert line["why"] == "[webhook secret]"
    assert line["cookie"] == "[redacted]"
    assert line["inner"] == {"token": "[redacted]", "to": ["[e-mail]"]}


def test_what_libraries_say_is_an_event_too(stderr: Callable[[TextIO], None]) -> None:
    stream = io.StringIO()
    stderr(stream)
    logs.configure(console=False, level="info")
    logging.getLogger("stripe").info("with key %s", "sk_test_51Nq8JkLmPzRtVwXyAbCdEf")
    logging.getLogger("aiohttp.server").error("Error handling request from a@b.example")
    logging.getLogger("asyncio").debug("noise")
    try:
        raise ValueError("of a@b.example")
    except ValueError:
        logging.getLogger("asyncio").exception("Task exception was never retrieved")
    [handler] = [one for one in logging.getLogger().handlers if type(one).__module__.startswith("gateway")]
    handler.emit(logging.LogRecord("x", logging.WARNING, "", 1, "wrong %d", ("arguments",), None))
    warnings.showwarning("about fb_test_1a2b" + "x" * 40, UserWarning, "file.py", 3)
    logs.close()
    logging.getLogger("stripe").warning("after the end")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["level"], line["logger"]) for line in lines] == [
        ("info", "stripe"), ("error", "aiohttp.server"), ("error", "asyncio"), ("warning", "py.warnings"),
    ]  # fmt: skip
    assert {line["event"] for line in lines} == {"library"}
    assert lines[0]["said"] == "with key [stripe key]"
    assert lines[1]["said"].endswith("from [e-mail]")
    assert (lines[2]["error"], lines[2]["where"][0].split()[-1]) == (
        "ValueError",
        "test_what_libraries_say_is_an_event_too",
    )
    assert "[token]" in lines[3]["said"]


async def test_an_exception_that_reached_the_event_loop_is_an_event(stderr: Callable[[TextIO], None]) -> None:
    stream = io.StringIO()
    stderr(stream)
    logs.configure(console=False, level="info")
    loop = asyncio.get_running_loop()
    loop.call_exception_handler({"message": "of sk_live_51Nq8JkLmPzRtV", "exception": OSError("x")})
    logs.close()
    line = json.loads(stream.getvalue())
    assert (line["logger"], line["error"], line["level"]) == ("asyncio", "OSError", "error")
    assert "sk_live" not in stream.getvalue()


def test_events_go_to_a_file_also_before_a_fork(tmp_path: Path, stderr: Callable[[TextIO], None]) -> None:
    path = tmp_path / "log"
    for at_once in (True, False):
        logs.configure(console=False, level="info", at_once=at_once, file=LogFile(path))
        logs.report("told", at_once=at_once)
        logs.close()
    assert [json.loads(line)["at_once"] for line in path.read_text().splitlines()] == [True, False]


def test_lost_lines_are_counted(tmp_path: Path) -> None:
    write = LineWriter(LogFile(tmp_path / "no folder" / "log"))
    for _ in range(3):
        write("x\n")
    write.close()
    write("y\n")
    assert write.lost == 4


def test_an_event_for_eyes_is_readable(stderr: Callable[[TextIO], None]) -> None:
    stream = io.StringIO()
    stderr(stream)
    logs.configure(console=True, level="info")
    logs.report("ledger", problem="stück \ud800")
    logs.close()
    assert "ledger" in stream.getvalue()
    assert "stück" in stream.getvalue()


def test_an_event_neither_blocks_nor_raises(stderr: Callable[[TextIO], None], pipe: Pipe) -> None:
    stderr(pipe.stream)
    logs.configure(console=False, level="info")
    within(20, lambda: logs.report("large", text="x" * 1_000_000))
    within(20, lambda: logs.report("next"))
    pipe.hang_up()
    logs.report("after")
    within(20, logs.close)


def test_configuring_again_loses_nothing(stderr: Callable[[TextIO], None]) -> None:
    first, second = io.StringIO(), io.StringIO()
    stderr(first)
    logs.configure(console=False, level="info")
    logs.report("one")
    stderr(second)
    logs.configure(console=False, level="info")
    logs.report("two")
    logs.close()
    assert json.loads(first.getvalue())["event"] == "one"
    assert json.loads(second.getvalue())["event"] == "two"


GUEST = """
import sys, structlog
from gateway.adapters import logs
if sys.argv[1:]:
    structlog.configure(processors=[structlog.processors.LogfmtRenderer()])
logs.report_as_guest("ledger", problem="fenced", secret="sk_live_0123456789abcdefghij")
logs.report_as_guest("ledger goes on", level="info")
"""


def test_in_an_application_that_has_not_set_structlog_up_events_are_redacted_lines_on_stderr() -> None:
    ran = subprocess.run([sys.executable, "-c", GUEST], capture_output=True, text=True, check=True)
    told = [json.loads(line) for line in ran.stderr.splitlines()]
    assert [(one["event"], one["level"]) for one in told] == [("ledger", "warning"), ("ledger goes on", "info")]
    assert (told[0]["problem"], "sk_live" in ran.stderr, ran.stdout) == ("fenced", False, "")


def test_in_an_application_that_has_set_structlog_up_events_go_where_it_says() -> None:
    ran = subprocess.run([sys.executable, "-c", GUEST, "set up"], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[0].startswith("problem=fenced ")
    assert ran.stderr == ""
