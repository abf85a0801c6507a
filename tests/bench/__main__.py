"""The first benchmark: how many requests one core carries, and what pay-per-use costs of it.

    make bench                          about three minutes
    python -m tests.bench --quick       half a minute, for a look; not for publishing

**What is measured.** 64 callers on connections that stay open ask for 1 KB of JSON, each as soon as it was answered,
with 1,000 tokens in turn. In the same run and in interleaved rounds they ask

- nginx as a plain proxy (one worker, connections to the upstream kept open, no log), where it is installed;
- a reverse proxy as one writes it with aiohttp in an afternoon (`naive.py`);
- the gateway, as `gateway run` starts it, on a free route; on a priced one that waits for the disk before it answers
  (strict, the default); on a priced one that does not (relaxed); and on a strict one with a limit for each caller.

The contender has one core to itself; load generator and upstream share the others. The upstream is nginx answering from
its configuration, where there is nginx. Each figure is the median over the rounds, and each ratio the median of the
ratios within a round. `core busy` says how full the contender's core was: where it was not, something else set the
pace, and on two cores that is so for nginx. `per full core` is the speed over the contender's own part of its core,
which also evens out a machine that is not quite quiet; it can say nothing of waits for a disk. Also measured:
`gateway --help`, start to first answer, and the memory of an idle gateway.

**What makes it honest.** Every answer is compared whole. At the end the gateway is stopped, its books are audited, and
the debits must be as many, and as much money, as the requests that were served. Anything else is exit code 1 and no
table. The books stand on a disk (`--home`; by default under `/var/tmp`, because `/tmp` is often memory, where waiting
for the disk would cost nothing), and the report says how long that disk takes to sync.

**What is not measured.** TLS, HTTP/2, request bodies, slow callers, slow upstreams, distant networks, many gateways.
The gateway writes its line for each request, as it does in earnest, but into `/dev/null`. Latencies are those of 64
callers who leave no pause: they are queueing times at full load, not what one caller alone would see.

`--fields 15` and `--answer-bytes 65536` ask the same of larger requests and answers.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tests.bench import contenders, machine, report, rounds, starts
from tests.bench.contenders import Upstream
from tests.bench.cores import pins
from tests.bench.farebox import Farebox
from tests.bench.processes import BenchFailed, Processes
from tests.bench.report import Result
from tests.bench.rounds import Shape

_DISK = Path("/var/tmp")  # noqa: S108  # only a folder of a random name in it is used

_FIELDS = (
    "Accept-Encoding: gzip, deflate, br",
    "Accept-Language: en-GB,en;q=0.9,de;q=0.7",
    "Cache-Control: no-cache",
    "Pragma: no-cache",
    "Referer: http://127.0.0.1/a/page/of/some/length?with=a&query=too",
    "Sec-Fetch-Dest: empty",
    "Sec-Fetch-Mode: cors",
    "Sec-Fetch-Site: same-origin",
    "X-Client-Version: 4.17.2",
    "Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "Priority: u=1, i",
)
"""What a browser's request brings besides Host, User-Agent, Accept and Authorization."""

_FEWEST_FIELDS = 4


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
    home = Path(tempfile.mkdtemp(prefix="farebox-bench-", dir=options.home))
    try:
        result = _bench(options, home)
    except BenchFailed as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(report.markdown(result))
    if options.json is not None:
        options.json.write_text(json.dumps(result.as_dict(), indent=2) + "\n")
    return 0


def _bench(options: argparse.Namespace, home: Path) -> Result:
    """Whatever was started has ended when this returns or raises, however it came to that."""
    described = machine.describe(home)
    with Processes(home, pins()) as processes:
        body = contenders.body(options.answer_bytes)
        upstream = contenders.start_upstream(processes, body=body)
        farebox = Farebox(processes, upstream_port=upstream.port)
        _progress(f"opening {options.accounts:,} accounts")
        shape = _shape(options, body, upstream, farebox.open_accounts(options.accounts))
        begun = starts.measure(processes, farebox, trials=options.trials, progress=_progress)
        everybody = list(contenders.start_all(processes, farebox, upstream))
        found = rounds.run(processes, everybody, shape, count=options.rounds, progress=_progress)
        loaded_bytes = everybody[-1].child.resident_bytes()
    _progress("auditing the books")
    return Result(
        machine=described,
        shape=_described(options),
        titles={contender.name: contender.title for contender in everybody},
        rounds=found,
        starts=begun,
        loaded_bytes=loaded_bytes,
        proof=farebox.prove(rounds.served(found, everybody)),
    )


def _shape(options: argparse.Namespace, body: bytes, upstream: Upstream, tokens: tuple[str, ...]) -> Shape:
    return Shape(
        upstream_pid=upstream.child.pid,
        tokens=tokens,
        body=body,
        fields=_FIELDS[: options.fields - _FEWEST_FIELDS],
        connections=options.connections,
        seconds=options.seconds,
        warm_up_seconds=options.warm_up,
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure the gateway beside nginx.")
    parser.add_argument("--rounds", type=int, default=5, help="how often each contender runs [5]")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each time, after a warm-up [5]")
    parser.add_argument("--warm-up", type=float, default=0.5, help="seconds before that, which do not count [0.5]")
    parser.add_argument("--connections", type=int, default=64, help="callers at once [64]")
    parser.add_argument("--accounts", type=int, default=1000, help="tokens in turn [1000]")
    parser.add_argument("--fields", type=int, default=4, choices=range(4, 16), metavar="4…15", help="per request [4]")
    parser.add_argument("--answer-bytes", type=int, default=1024, help="how long the answer's body is [1024]")
    parser.add_argument("--trials", type=int, default=5, help="how often --help and the start are timed [5]")
    parser.add_argument("--quick", action="store_true", help="three rounds of a second each, one trial")
    parser.add_argument("--home", type=Path, default=_DISK if _DISK.is_dir() else None, help="where the books stand")
    parser.add_argument("--json", type=Path, help="write the raw numbers to this file")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds, options.trials = 3, 1.0, 1
    if min(options.rounds, options.seconds, options.connections, options.accounts, options.trials) <= 0:
        parser.error("rounds, seconds, connections, accounts and trials are more than nothing")
    if options.answer_bytes < contenders.SMALLEST_BODY:
        parser.error(f"an answer has at least {contenders.SMALLEST_BODY} bytes")
    return options


def _described(options: argparse.Namespace) -> dict[str, str]:
    return {
        "each request": f"{options.fields} fields, {options.answer_bytes:,} bytes of answer",
        "callers": f"{options.connections} connections, {options.accounts:,} tokens",
        "rounds": f"{options.rounds} of {options.seconds:g} s for each",
    }


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _interrupted(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
