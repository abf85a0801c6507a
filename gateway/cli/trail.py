"""The commands about the trail: `audit log` and `audit verify`.

They read the records and need no running gateway. Who may read them may see who did what; nothing of it is a person's
data beyond the names of operators.
"""

import json
import sys
from pathlib import Path

import click

from gateway.adapters.system import SystemFile
from gateway.app.stores import trail_head_path
from gateway.cli.payments import moment
from gateway.cli.progress import Progress
from gateway.cli.records import Records, opened, read_with_records, run
from gateway.core.chain_head import ChainHead
from gateway.core.keyring import Keyring
from gateway.core.trail import NEWEST, PURPOSE, Step, Verdict, against_head, verify
from gateway.settings import Settings
from gateway.web.watched import told_step

_AT_ONCE = 1_000
_HEAD = ".trail.head"


def list_trail(config: Path, *, object: str | None, action: str | None, limit: int, as_json: bool) -> None:
    """`gateway audit log`: the newest entries, oldest of them first."""
    settings = read_with_records(config)

    async def look() -> list[Step]:
        async with opened(settings) as here:
            found = await here.trail.steps_before(NEWEST, count=limit, object=object, action=action)
            return list(reversed(found))

    steps = run(look())
    if as_json:
        click.echo(json.dumps([told_step(step) for step in steps]))
        return
    for step in steps:
        act = step.act
        facts = [f"{name} {value}" for name, value in act.facts.items()]
        line = [str(step.number), moment(step.at_ms), act.actor, act.action, act.object, *facts, act.origin]
        click.echo("  ".join(line) + (f": {act.reason}" if act.reason else ""))
    if not steps:
        click.echo("nothing of that is on the trail")


def verify_trail(config: Path, head: Path | None, *, as_json: bool) -> None:
    """`gateway audit verify`: exit code 1 if the trail is not as it was written."""
    settings = read_with_records(config)
    verdict, ending = run(verified(settings, head or trail_head_path(settings)))
    problem = verdict.problem() or ending
    told = {
        "clean": problem is None,
        "entries": verdict.entries,
        "first_bad_entry": verdict.first_bad,
        "finding": problem,
    }
    if as_json:
        click.echo(json.dumps(told))
    elif problem is None:
        click.echo(f"the trail is whole: {verdict.entries:,} entries, each as it was written")
    else:
        click.echo(f"{verdict.entries:,} entries are as they were written; {problem}", err=True)
    sys.exit(0 if problem is None else 1)


async def verified(settings: Settings, head: Path) -> tuple[Verdict, str | None]:
    """What the chain says of itself, and what its head says of its end."""
    keyring, verdict = Keyring(settings.secrets.sealing_keys), Verdict()
    progress = Progress("proved {} of {} entries")
    async with opened(settings) as here:
        last = await here.trail.last_step()
        total = last.number if last else 0
        while verdict.first_bad is None:
            steps = await here.trail.steps_after(verdict.entries, count=_AT_ONCE)
            if not steps:
                break
            verify(steps, keyring, verdict)
            progress(verdict.entries, total)
        return verdict, await _by_head(here, head, keyring, verdict)


def _others(path: Path) -> str:
    """Heads of other names beside it: the gateway here has another `host_name` than this command."""
    names = sorted(one.name.removesuffix(_HEAD) for one in path.parent.glob(f"*{_HEAD}"))
    return f". That of {', '.join(names)} is: set host_name (GATEWAY_HOST_NAME) as its gateway has it" if names else ""


async def _by_head(here: Records, path: Path, keyring: Keyring, verdict: Verdict) -> str | None:
    kept = SystemFile(path).read()
    if kept is None:
        return f"{path} is not there: nothing tells whether the end is{_others(path)}" if verdict.entries else None
    try:
        head = ChainHead.read(kept, keyring.subkeys(PURPOSE))
    except ValueError as error:
        return f"{path} {error}"
    named = await here.trail.steps_after(head.seq - 1, count=1)
    return against_head(head.seq, head.hash, named, entries=verdict.entries)
