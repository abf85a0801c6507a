"""The page where the owner of a connected account gives what is due: plain HTML, a field for each thing.

An account link opens the page once. Whoever comes with it again, or too late, is sent to where a fresh one is made; the
form of the page that is open may be sent in all the same. Whatever is filled in counts as given; what is left empty
stays due, as for an owner who breaks off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from gateway.demo.standin import connect
from gateway.demo.standin.connect import REQUIREMENTS
from gateway.demo.standin.store import Connected, Json, World

Message = Callable[..., web.Response]
Page = Callable[..., web.Response]


def routes(world: World, message: Message, page: Page) -> list[web.AbstractRouteDef]:
    """`/connect/{token}`, on pages that look like the others."""

    def held(request: web.Request) -> tuple[Json, Connected] | None:
        link = world.account_links.get(request.match_info["token"])
        account = world.connected.get(link["account"]) if link is not None else None
        return None if link is None or account is None else (link, account)

    async def show(request: web.Request) -> web.Response:
        found = held(request)
        if found is None:
            return message(404, "There is no such account link", "Ask for a new one.")
        link, account = found
        if link["opened"] or world.seconds() >= link["until"]:
            return _see_other(link["refresh_url"])
        link["opened"] = True
        due = [(number, REQUIREMENTS[number][2]) for number in account.due]
        return page("onboarding.html", 200, allowed=link["return_url"], due=due, id=account.id)

    async def give(request: web.Request) -> web.Response:
        found = held(request)
        if found is None:
            return message(404, "There is no such account link", "Ask for a new one.")
        link, account = found
        form: Any = await request.post()
        given = [number for number in account.due if str(form.get(f"due-{number}", "")).strip()]
        connect.give(world, account, given)
        return _see_other(link["return_url"])

    return [web.get("/connect/{token}", show, allow_head=False), web.post("/connect/{token}", give)]


def _see_other(url: str) -> web.Response:
    return web.Response(status=303, headers={"Location": url, "Cache-Control": "no-store"})
