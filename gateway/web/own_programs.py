"""Who asks for an owner's own routes: a person by their session, or a program of the owner's by its token.

Such a program is a service in the role `owner`, and acts for one owner; that is in its token, which is good for
minutes. It can do nothing else.
"""

from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.core.refusals import UnknownToken
from gateway.flows.know_services import KnowServices
from gateway.ports import Guesses

Who = Callable[[web.Request], Awaitable[tuple[str, str]]]


def person_or_program(person: Who, services: KnowServices | None, guesses: Guesses) -> Who:
    """Who asks, and for which owner. What it makes raises as `person` does; and TokenOutOfScope for another role."""

    async def who(request: web.Request) -> tuple[str, str]:
        shown = request.headers.get("Authorization", "")
        if services is None or not services.looks_like_one(shown):
            return await person(request)
        peer = request.remote or ""
        guesses.check(peer)
        known = services.known(shown, "routes")
        if known is None:
            await guesses.failed(peer)
            raise UnknownToken()
        return known.actor, known.owner

    return who
