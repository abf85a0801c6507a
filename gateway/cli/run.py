"""`gateway run`: one process, until SIGTERM or Ctrl-C. SIGHUP makes it read its routes and upstreams again."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import click

from gateway import settings as configuration
from gateway.adapters import logs
from gateway.app import Gateway, Running
from gateway.cli.configuration import existing, read
from gateway.ports import StoreDamaged, StoreFailed, StoreLocked
from gateway.settings import Settings, load


def run_gateway(config: Path) -> None:
    """Start, say where, serve until told to stop."""
    settings = read(config, make_secrets=True)
    console = settings.log.format == "console" or (settings.log.format == "auto" and sys.stderr.isatty())
    logs.configure(console=console, level=settings.log.level)
    for note in configuration.notes(settings):
        click.echo(f"note: {note}", err=True)
    try:
        with runner() as loop:
            loop.run(_run(settings, lambda: load(existing(config), os.environ, make_secrets=False)))
    except (StoreDamaged, StoreLocked, StoreFailed, OSError) as error:
        click.echo(f"gateway: {error}", err=True)
        sys.exit(3)
    finally:
        logs.close()


async def _run(settings: Settings, load: Callable[[], Settings]) -> None:
    running = Running(Gateway(settings, report=logs.report), load=load)
    stop = stop_signal()
    reloads: set[asyncio.Task[object]] = set()

    def reload() -> None:
        task: asyncio.Task[object] = asyncio.create_task(running.reload(), name="reload")
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
    await running.start()
    _leave_the_collector_little_to_do()
    click.echo(f"gateway: listening on {running.address}, admin on {running.admin_address}", err=True)
    await stop.wait()
    click.echo("gateway: finishing what is in flight", err=True)
    await running.stop()


def _leave_the_collector_little_to_do() -> None:
    """A request makes no cycles, so looking for some every 700 objects is a tenth of its time for nothing."""
    gc.collect()
    gc.freeze()
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
