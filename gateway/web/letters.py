"""Who was written to says that it was enough. Opened, the page only asks; a mail program may say it by itself."""

from aiohttp import web

from gateway.core.letters import STOP_PATH
from gateway.core.refusals import BadRequest
from gateway.flows.write_letters import WriteLetters
from gateway.web.answers import OwnAnswer
from gateway.web.templates import Templates


class LetterPlace:
    """The handlers of the link in letters."""

    def __init__(self, templates: Templates, letters: WriteLetters) -> None:
        self._templates = templates
        self._letters = letters

    async def ask(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/no-mail?for=…`."""
        link = request.query.get("for", "")
        if not self._letters.is_ours(link):
            raise _unknown()
        return self._page(f"{STOP_PATH}?for={link}")

    async def stop(self, request: web.Request) -> web.StreamResponse:
        """`POST` to the same address, by the page's form or by a mail program (RFC 8058)."""
        if not await self._letters.stop(request.query.get("for", "")):
            raise _unknown()
        return self._page(None)

    def _page(self, action: str | None) -> OwnAnswer:
        return OwnAnswer(text=self._templates.render("no_mail.html", action=action), content_type="text/html")


def _unknown() -> BadRequest:
    return BadRequest("this address is not complete; open it again from the e-mail")
