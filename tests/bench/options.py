"""What may be asked of a run on its command line."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tests.bench import bulk, contenders

FEWEST_FIELDS = 4

_DISK = Path("/var/tmp")  # noqa: S108  # only a folder of a random name in it is used

_PARTS = ("latency", "sse", "use", "bulk")


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure the gateway beside nginx.")
    _add_parts(parser)
    _add_sizes(parser)
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds, options.trials = 3, 1.0, 1
    if min(options.rounds, options.seconds, options.connections, options.accounts, options.trials) <= 0:
        parser.error("rounds, seconds, connections, accounts and trials are more than nothing")
    if options.answer_bytes < contenders.SMALLEST_BODY:
        parser.error(f"an answer has at least {contenders.SMALLEST_BODY} bytes")
    options.shapes = options.shapes or options.all
    for part in _PARTS:
        setattr(options, part, options.all or getattr(options, part))
    options.main = options.shapes or not any(getattr(options, part) for part in (*_PARTS, "peers"))
    if options.shapes and (options.varied, options.fields, options.answer_bytes) != (False, FEWEST_FIELDS, 1024):
        parser.error("--shapes and --all choose the requests themselves: leave --fields, --answer-bytes, --varied out")
    _settle_parts(options)
    return options


def _add_parts(parser: argparse.ArgumentParser) -> None:
    parts = parser.add_argument_group("what is measured; without any of these, the requests per second")
    parts.add_argument("--shapes", action="store_true", help="that, and of larger requests and answers, in one run")
    parts.add_argument("--latency", action="store_true", help="latency at 1,000 requests a second, on a fixed schedule")
    parts.add_argument("--sse", action="store_true", help="how late events are on 50 streams")
    parts.add_argument("--use", action="store_true", help="streams priced by their use, and answers asked for again")
    parts.add_argument("--bulk", action="store_true", help="100 MB down and up: speed and memory")
    parts.add_argument("--all", action="store_true", help="all of these")
    parts.add_argument("--peers", type=Path, metavar="DIR", help="Caddy, and what `tests.bench.peers` installed there")


def _add_sizes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=5, help="how often each contender runs [5]")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each time, after a warm-up [5]")
    parser.add_argument("--warm-up", type=float, default=0.5, help="seconds before that, which do not count [0.5]")
    parser.add_argument("--connections", type=int, default=64, help="callers at once [64]")
    parser.add_argument("--accounts", type=int, default=1000, help="tokens in turn [1000]")
    parser.add_argument("--fields", type=int, default=4, choices=range(4, 16), metavar="4…15", help="per request [4]")
    parser.add_argument("--answer-bytes", type=int, default=1024, help="how long the answer's body is [1024]")
    parser.add_argument("--varied", action="store_true", help="one more field, never twice with the same value")
    parser.add_argument("--trials", type=int, default=5, help="how often --help and the start are timed [5]")
    parser.add_argument(
        "--quick", action="store_true", help="three rounds of a second each, one trial; parts: one look"
    )
    parser.add_argument("--home", type=Path, default=_DISK if _DISK.is_dir() else None, help="where the books stand")
    parser.add_argument(
        "--json", type=Path, nargs="?", const=Path("-"), help="print JSON, or write it to this file beside the report"
    )


def _settle_parts(options: argparse.Namespace) -> None:
    """How long the parts beside the first table take: less than it, so that all of them are a matter of minutes."""
    options.part_rounds = 1 if options.quick else min(options.rounds, 3)
    options.warm_up = min(options.warm_up, 0.1) if options.quick and not options.main else options.warm_up
    options.shape_seconds = min(options.seconds, 3.0)
    options.latency_seconds = 0.2 if options.quick else options.seconds
    options.sse_seconds = 0.2 if options.quick else min(options.seconds, 3.0)
    options.use_seconds = 0.2 if options.quick else min(options.seconds, 3.0)
    options.bulk_bytes = bulk.SIZE_BYTES // 20 if options.quick else bulk.SIZE_BYTES
