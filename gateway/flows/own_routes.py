"""An owner changes their own routes: looked at, checked, written down, served by all processes; or nothing changes.

A change says which text it is a change of (its ETag), so that of two who edit at once the second is told. What is
checked is the whole configuration with the new text in it, so whatever is accepted can be served. Only then is it on
the trail, in the file, and read by every process; a process that is killed in between finds the file, and serves by it
when it starts.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.core.refusals import EditBlind, EditConflict, GatewayBusy
from gateway.core.trail import Act, Role
from gateway.ports import RouteFiles, Witnesses

TEXT_BYTES_MAX = 65_536
_TRIES, _WAIT_SECONDS = 50, 0.1

Checks = Callable[[str, str], Awaitable[Mapping[str, Any]]]
"""What would change for callers, by `added`, `changed` and `removed`, if an owner's text were served.

Raises RoutesRefused, with what is wrong in their text; GatewayBusy.
"""
Reloads = Callable[[], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Changed:
    """What became of a change, or would."""

    etag: str
    diff: str
    done: bool
    routes: Mapping[str, Any]
    """What changed for callers, or would, by `added`, `changed` and `removed`."""


def etag_of(text: str) -> str:
    """Tells this text from every other."""
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


class OwnRoutes:
    """`reload` makes all processes read the configuration again."""

    def __init__(self, *, files: RouteFiles, check: Checks, reload: Reloads, witness: Witnesses) -> None:
        self._files = files
        self._check = check
        self._reload = reload
        self._witness = witness

    def read(self, owner: str) -> str:
        """Their routes as they have written them; empty if they have not. Raises RecordsUnavailable."""
        return self._files.read(owner)

    async def change(self, owner: str, user: str, text: str, *, of: str | None, dry_run: bool) -> Changed:
        """Replace them by this text. `of` is the ETag of those that it is a change of; a dry run needs none.

        Raises EditBlind, EditConflict, RoutesRefused, RecordsUnavailable, GatewayBusy.
        """
        if of is None and not dry_run:
            raise EditBlind()
        async with self._files.changing():
            before = self._files.read(owner)
            if of is not None and of != etag_of(before):
                raise EditConflict()
            would = await self._check(owner, text)
            diff = "".join(_diff(before, text))
            if dry_run or text == before:
                return Changed(etag_of(text), diff, False, would if dry_run else {})
            facts = {"before": etag_of(before).strip('"'), "after": etag_of(text).strip('"')}
            role: Role = "service" if user.startswith("service:") else "owner"
            await self._witness.write(Act(user, role, "owner.routes", owner, "api", facts=facts))
            self._files.write(owner, text)
            outcome = await self._served()
            if not outcome["reloaded"]:
                self._files.write(owner, before)  # something else is wrong by now: what is served is not what it says
                raise GatewayBusy()
            return Changed(etag_of(text), diff, True, outcome)

    async def _served(self) -> dict[str, Any]:
        """Every process reads it; another reload may be under way."""
        outcome: dict[str, Any] = {"reloaded": False}
        for _ in range(_TRIES):
            outcome = await self._reload()
            if outcome["reloaded"] or outcome["mistakes"] != ["a reload is under way"]:
                break
            await asyncio.sleep(_WAIT_SECONDS)
        return outcome


def _diff(before: str, after: str) -> list[str]:
    import difflib

    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "before", "after", lineterm="")
    return [f"{line}\n" for line in lines]
