"""How owners change their own routes, in one process: where they are written, how they are checked, who reads them."""

import asyncio
import re
from collections.abc import Callable, Mapping

from gateway.adapters.route_files import FolderOfRoutes
from gateway.core.refusals import GatewayBusy, RoutesRefused
from gateway.core.routes import RouteTable, changes
from gateway.flows.own_routes import OwnRoutes, Reloads
from gateway.ports import Witnesses
from gateway.settings import Settings, SettingsInvalid

Loads = Callable[[Mapping[str, str]], Settings]
"""Reads the configuration, with these texts in place of owners' files. Raises SettingsInvalid."""
_PLACE = re.compile(r":(\d+):(\d+)$")


def own_routes(
    settings: Settings,
    load: Loads,
    reload: Reloads,
    *,
    served: Callable[[], RouteTable],
    witness: Witnesses,
    report: Callable[..., None],
) -> OwnRoutes:
    """The flow, and what it needs of this process; `served` are the routes of this moment."""

    files = FolderOfRoutes(settings.routes_folder)

    async def check(owner: str, text: str) -> Mapping[str, list[str]]:
        try:
            would = await asyncio.to_thread(load, {owner: text})
        except SettingsInvalid as invalid:
            theirs = tuple(_theirs(invalid, str(files.file_of(owner))))
            if theirs:
                raise RoutesRefused(theirs) from None
            report("configuration refused", mistakes=[str(mistake) for mistake in invalid.mistakes])
            raise GatewayBusy() from None  # what is wrong is the operator's, and not for an owner to read
        before, after = ([one for one in table.routes if one.owner == owner] for table in (served(), would.routes))
        return changes(before, after)

    return OwnRoutes(files=files, check=check, reload=reload, witness=witness)


def _theirs(invalid: SettingsInvalid, file: str) -> list[str]:
    """What is wrong in their own text, by line and column."""
    found = []
    for mistake in invalid.mistakes:
        place = _PLACE.search(mistake.where)
        if mistake.where == file or (place is not None and mistake.where[: place.start()] == file):
            at = f"line {place[1]}, column {place[2]}: " if place is not None else ""
            found.append(f"{at}{mistake.words}")
    return found
