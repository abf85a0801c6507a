"""`gateway run`, until SIGTERM or Ctrl-C: one process, or a parent and its crew when `workers` asks for more.

SIGHUP makes it read its routes and upstreams again; SIGUSR2 replaces the workers of a crew one by one. SIGUSR1, with
which other servers are told to open their logs again, is taken and not needed.
"""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.adapters import allocator, logs
from gateway.app import Gateway, Running, logged
from gateway.cli.configuration import existing, told_of_mistakes
from gateway.cli.currency import money_elsewhere
from gateway.cli.shown import link_of
from gateway.cli.upgrading import migrate_at_start
from gateway.ports import StoreDamaged, StoreFailed, StoreLocked
from gateway.settings import Settings, apart
from gateway.settings.remarks import notes

if TYPE_CHECKING:
    from gateway.app.members import Member

_CLOCKS_DIFFER_SECONDS = 0.1  # a file system may keep coarser time


def run_gateway(config: Path, reading: apart.Reading, begun: float) -> None:
    """Start, say where, serve until told to stop. `begun` is when the reading was, by the clock."""
    with told_of_mistakes():
        settings = reading.settings()
    is_new, listens = _is_new(settings, begun), False

    def say_where(address: str, admin: str) -> None:
        nonlocal listens
        listens = True
        _say_where(settings, is_new, address, admin)

    logged.events(settings.log)
    for note in notes(settings):
        click.echo(f"note: {note}", err=True)
    for line in migrate_at_start(settings):
        click.echo(f"gateway: {line.strip()}", err=True)
    if (elsewhere := money_elsewhere(settings)) is not None:
        logs.report("money in another currency", problem=elsewhere)

    def again(instead: Mapping[str, str] | None = None) -> Settings:
        return apart.with_its_keys(apart.load(existing(config), make_secrets=False, instead=instead))

    if settings.workers > 1:
        code = _run_crew(settings, again, say_where)
    else:
        code = _to_its_end(_run(settings, again, say_where))
    if is_new and not listens:  # the next start is not the first one, and says nothing of it
        click.echo("gateway: once it runs, `gateway operator link` prints a link that opens your pages", err=True)
    sys.exit(code)


def _to_its_end(work: Coroutine[Any, Any, None]) -> int:
    """Run this process; its exit code."""
    try:
        with runner() as loop:
            loop.run(work)
    except (StoreDamaged, StoreLocked, StoreFailed, OSError) as error:
        click.echo(f"gateway: {error}", err=True)
        return 3
    finally:
        logs.close()
    return 0


def _run_crew(settings: Settings, load: Callable[..., Settings], say_where: Callable[[str, str], None]) -> int:
    """The parent of several processes; its exit code."""
    from gateway.app.crew import CannotStart, Crew

    def runs(member: "Member") -> int:
        logged.events(settings.log)
        return _to_its_end(_lean(member.run()))

    logged.events(settings.log, at_once=True)
    os.environ.setdefault("UV_TCP_SINGLE_ACCEPT", "1")  # a worker that wakes first must not take every connection
    _leave_the_collector_little_to_do()
    crew = Crew(settings, load=load, report=logs.report, runs=runs)
    try:
        code = crew.run(say_where)
    except OSError as error:
        click.echo(f"gateway: {error.strerror or error}", err=True)
        return 3
    except CannotStart as failed:
        return failed.code
    return code


async def _lean(work: Coroutine[Any, Any, None]) -> None:
    _leave_the_collector_little_to_do()
    await work


def _say_where(settings: Settings, is_new: bool, address: str, admin: str) -> None:
    if is_new and (link := link_of(settings, admin)) is not None:
        click.echo(f"gateway: your pages, once and within 15 minutes: {link}", err=True)
    click.echo(f"gateway: listening on {address}, admin on {admin}", err=True)


def _is_new(settings: Settings, begun: float) -> bool:
    """Whether the operators' token was made by this start: then nobody can have it yet."""
    try:
        return (settings.secrets_path / "operator_token").stat().st_mtime >= begun - _CLOCKS_DIFFER_SECONDS
    except OSError:
        return False


async def _run(settings: Settings, load: Callable[..., Settings], say_where: Callable[[str, str], None]) -> None:
    running = Running(Gateway(settings, report=logs.report), load=load)
    stop = stop_signal()
    reloads: set[asyncio.Task[object]] = set()

    def reload() -> None:
        task: asyncio.Task[object] = asyncio.create_task(running.reload(), name="reload")
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, _reopened)
    await running.start()
    _leave_the_collector_little_to_do()
    say_where(running.address, running.admin_address)
    await stop.wait()
    click.echo("gateway: finishing what is in flight", err=True)
    await running.stop()


def _reopened() -> None:
    """Log files follow their name by themselves; who says so as other servers want it must not end us."""


def _leave_the_collector_little_to_do() -> None:
    """A request makes no cycles, so looking for some every 700 objects is a tenth of its time for nothing."""
    gc.collect()
    gc.freeze()
    allocator.give_back_now()
    gc.set_threshold(20_000, 20, 20)


def runner() -> asyncio.Runner:
    """An asyncio runner on uvloop where there is one."""
    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def stop_signal() -> asyncio.Event:
    """Set on SIGTERM and SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
