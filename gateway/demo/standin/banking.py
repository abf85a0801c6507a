"""The bank's page, where a buyer confirms a payment: one button for yes and one for no."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from gateway.demo.standin import intents
from gateway.demo.standin.store import Json, World

Message = Callable[..., web.Response]
Page = Callable[..., web.Response]


def routes(world: World, message: Message, page: Page) -> list[web.AbstractRouteDef]:
    """`/authenticate/{intent}`, on pages that look like the others."""

    def waiting(request: web.Request) -> Json | None:
        intent = world.shelf("payment_intent").get(request.match_info["intent"])
        return intent if intent is not None and intent["status"] == "requires_action" else None

    async def show(request: web.Request) -> web.Response:
        intent = waiting(request)
        if intent is None:
            return message(404, "There is nothing to confirm", "It was confirmed, or never asked for.")
        back = intent["next_action"]["redirect_to_url"]["return_url"]
        return page("authenticate.html", 200, allowed=back, amount=intent["amount"], currency=intent["currency"])

    async def decide(request: web.Request) -> web.Response:
        intent = waiting(request)
        if intent is None:
            return message(404, "There is nothing to confirm", "It was confirmed, or never asked for.")
        form: Any = await request.post()
        back = intents.authenticated(world, intent, success=form.get("answer") == "yes")
        return web.Response(status=303, headers={"Location": back, "Cache-Control": "no-store"})

    path = "/authenticate/{intent}"
    return [web.get(path, show, allow_head=False), web.post(path, decide)]
