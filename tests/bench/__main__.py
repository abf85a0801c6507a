"""The benchmark: how many requests one core carries, what pay-per-use costs of it, and what a proxy adds on the way.

    make bench                          four to five minutes: the table of the README
    python -m tests.bench --shapes      six minutes: that, and the same of other requests and answers
    python -m tests.bench --latency     a minute: one request's time while the gateway is not full
    python -m tests.bench --sse         half a minute: how late events are
    python -m tests.bench --use         a minute: streams that are read along, and answers that are asked for again
    python -m tests.bench --bulk        half a minute: 100 MB down and up, speed and memory
    python -m tests.bench --all         eight minutes: all of these
    python -m tests.bench --peers DIR   a minute: Caddy, x402-express and LiteLLM, once they are installed (`peers.py`)
    … --quick                           for a look; not for publishing

**What is measured.** 64 callers on connections that stay open ask for 1 KB of JSON, each as soon as it was answered,
with 1,000 tokens in turn. In the same run and in interleaved rounds they ask

- nginx as a plain proxy (one worker, connections to the upstream kept open, no log), where it is installed;
- a reverse proxy as one writes it with aiohttp in an afternoon (`naive.py`);
- pay-per-use as one builds it by hand of nginx, Lua and Redis (`handmade.py`), where these are installed: plainly, and
  tuned;
- the gateway, as `gateway run` starts it, on a free route; on a priced one that waits for the disk before it answers
  (strict, the default); on a priced one that does not (relaxed); on a strict one with a limit for each caller; and on a
  relaxed one with two.

The contender has one core to itself, with all its processes; load generator and upstream share the others. The upstream
is nginx answering from its configuration, where there is nginx. Each figure is the median over the rounds, and each
ratio the median of the ratios within a round. `core busy` says how full the contender's core was: where it was not,
something else set the pace, and on two cores that is so for nginx. The gateway is started anew for each round, because
one start of the same program is up to a tenth faster than another. `per full core` is the speed over the contender's
own part of its core, which also evens out a machine that is not quite quiet; it can say nothing of waits for a disk.
Also measured: `gateway --help`, start to first answer, and the memory of an idle gateway.

`--shapes` asks the same of requests with 15 fields, of answers of 64 KB, and of requests one field of which (a
`Traceparent`) never has the same value twice: whatever a proxy remembers of a head, it has not seen that one.
`--fields 15`, `--answer-bytes 65536` and `--varied` make the first table of such requests. The other parts say in their
modules what they measure: `latency` with `paced`, `sse` with `events`, `use` with `used`, `bulk` with `mass`, `peers`.

**What makes it honest.** Every answer is compared whole. At the end the gateway is stopped, its books are audited, and
the debits must be as many, and as much money, as the requests that were served; so must what is gone from the accounts
in Redis. Anything else is exit code 1 and no table. The books stand on a disk (`--home`; by default under `/var/tmp`,
because `/tmp` is often memory, where waiting for the disk would cost nothing), and the report says how long that disk
takes to sync.

**What is not measured.** TLS, HTTP/2, slow callers, slow upstreams, distant networks, many gateways. The gateway writes
its line for each request, as it does in earnest, but into `/dev/null`. The latencies of the first table are those of 64
callers who leave no pause: they are queueing times at full load, not what one caller alone would see.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tests.bench import bulk, contenders, handmade, latency, machine, peers, rounds, sse, starts, use
from tests.bench.contenders import Contender, Upstream
from tests.bench.cores import pins
from tests.bench.farebox import Farebox
from tests.bench.options import FEWEST_FIELDS, parsed
from tests.bench.processes import BenchFailed, Processes
from tests.bench.report import Figures, Result
from tests.bench.rounds import Round, Shape, Times
from tests.bench.tables import Section

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

_MANY_FIELDS = FEWEST_FIELDS + len(_FIELDS)
_LARGE_BYTES = 64 * 1024
_COMPARED = ("nginx", "free", "strict", "relaxed")


def main(arguments: Sequence[str] | None = None) -> int:
    options = parsed(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
    home = Path(tempfile.mkdtemp(prefix="farebox-bench-", dir=options.home))
    try:
        described = machine.describe(home)
        with Processes(home, pins()) as processes:
            sections = dict(_sections(options, processes))
    except BenchFailed as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130
    finally:
        shutil.rmtree(home, ignore_errors=True)
    _tell(options.json, described, sections)
    return 0


def _sections(options: argparse.Namespace, processes: Processes) -> Iterator[tuple[str, Section]]:
    """Whatever a part started has ended before the next one begins."""
    count = options.part_rounds
    if options.main:
        yield "main", _bench(options, processes.within("main"))
    if options.latency:
        folder, times = processes.within("latency"), Times(options.latency_seconds, options.warm_up)
        yield "latency", latency.measured(folder, times, accounts=options.accounts, count=count, progress=_progress)
    if options.sse:
        folder, times = processes.within("sse"), Times(options.sse_seconds, options.warm_up)
        yield "sse", sse.measured(folder, times, count=count, progress=_progress)
    if options.use:
        folder, times = processes.within("use"), Times(options.use_seconds, options.warm_up)
        yield "use", use.measured(folder, times, accounts=options.accounts, count=count, progress=_progress)
    if options.bulk:
        yield "bulk", bulk.measured(processes.within("bulk"), count=count, size=options.bulk_bytes, progress=_progress)
    if options.peers:
        folder, times = processes.within("peers"), Times(options.shape_seconds, options.warm_up)
        yield (
            "peers",
            peers.measured(folder, options.peers, times, accounts=options.accounts, count=count, progress=_progress),
        )


def _bench(options: argparse.Namespace, processes: Processes) -> Result:
    remarks: list[str] = []
    with processes:
        sizes = (options.answer_bytes, _LARGE_BYTES) if options.shapes else (options.answer_bytes,)
        upstream = contenders.start_upstream(processes, bodies=[contenders.body(size) for size in sizes])
        farebox = Farebox(processes, upstream_port=upstream.port)
        _progress(f"opening {options.accounts:,} accounts")
        shape = _shape(options, upstream, farebox.open_accounts(options.accounts))
        path = f"/free/{options.answer_bytes}"
        begun = starts.measure(processes, farebox, path, trials=options.trials, progress=_progress)
        everybody = [*contenders.start_nginx(processes, upstream), contenders.start_naive(processes, upstream)]
        by_hand = list(contenders.start_handmade(processes, upstream, shape.tokens))
        if not by_hand:
            remarks.append(handmade.MISSING)
        everybody += [contender for _, contender in by_hand]
        gateway: list[Contender] = []

        def restarted() -> Sequence[Contender]:
            if gateway:
                gateway[0].child.end()
            gateway[:] = contenders.start_gateway(farebox)
            return [*everybody, *gateway]

        found = rounds.run(processes, restarted, shape, count=options.rounds, progress=_progress)
        everybody += gateway
        more = _more_shapes(options, processes, everybody, shape) if options.shapes else {}
        all_rounds: list[Round] = [*found, *(tallies for figures in more.values() for tallies in figures.rounds)]
        loaded_bytes = everybody[-1].child.resident_bytes()
        for built, contender in by_hand:
            built.prove(rounds.answered(all_rounds, contender.name))
    _progress("auditing the books")
    return Result(
        shape=_described(options),
        figures=Figures(_titles(everybody), found),
        starts=begun,
        loaded_bytes=loaded_bytes,
        proof=farebox.prove(rounds.served(all_rounds, everybody)),
        more_shapes=more,
        remarks=remarks,
    )


def _more_shapes(
    options: argparse.Namespace, processes: Processes, everybody: Sequence[Contender], shape: Shape
) -> Mapping[str, Figures]:
    """Fewer rounds, of those who are compared."""
    seconds = options.shape_seconds
    shapes = {
        f"{_MANY_FIELDS} fields": (replace(shape, fields=_FIELDS, seconds=seconds), _COMPARED),
        "answer of 64 KB": (replace(shape, body=contenders.body(_LARGE_BYTES), seconds=seconds), _COMPARED),
        "a field never twice the same": (replace(shape, varied=True, seconds=seconds), ("nginx", "free")),
    }
    found = {}
    for title, (other, names) in shapes.items():
        _progress(title)
        some = [contender for contender in everybody if contender.name in names]
        tallies = rounds.run(processes, partial(list, some), other, count=options.part_rounds, progress=_progress)
        found[title] = Figures(_titles(some), tallies)
    return found


def _shape(options: argparse.Namespace, upstream: Upstream, tokens: tuple[str, ...]) -> Shape:
    return Shape(
        upstream_pid=upstream.child.pid,
        tokens=tokens,
        body=contenders.body(options.answer_bytes),
        fields=_FIELDS[: options.fields - FEWEST_FIELDS],
        connections=options.connections,
        seconds=options.seconds,
        warm_up_seconds=options.warm_up,
        varied=options.varied,
    )


def _titles(everybody: Sequence[Contender]) -> Mapping[str, str]:
    return {contender.name: contender.title for contender in everybody}


def _described(options: argparse.Namespace) -> dict[str, str]:
    varied = ", one more that is never twice the same" if options.varied else ""
    return {
        "each request": f"{options.fields} fields{varied}, {options.answer_bytes:,} bytes of answer",
        "callers": f"{options.connections} connections, {options.accounts:,} tokens",
        "rounds": f"{options.rounds} of {options.seconds:g} s for each",
    }


def _tell(file: Path | None, described: Mapping[str, str], sections: Mapping[str, Section]) -> None:
    """The report for people, unless JSON was asked for in its place."""
    if file != Path("-"):
        for section in sections.values():
            print("\n".join(section.lines()), end="\n\n")
        print("\n".join(f"- {name}: {value}" for name, value in described.items()))
    if file is not None:
        parts = {name: section.as_dict() for name, section in sections.items()}
        content = json.dumps({"machine": described, **parts.pop("main", {}), **parts}, indent=2)
        if file == Path("-"):
            print(content)
        else:
            file.write_text(content + "\n")


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _interrupted(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
