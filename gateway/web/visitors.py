"""Who visits our own addresses, and that a form was sent from our own page.

A form that changes something carries a sealed mark of the token that its page was shown to. Another site can make a
browser send a form, and some browsers their cookies with it, but it cannot read the mark: what comes without it, or
with somebody else's, or an old one, is refused. Programs send JSON, which no form can.
"""

import json
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

from aiohttp import web

from gateway.core import tokens
from gateway.core.callers import Caller
from gateway.core.keyring import KEY_ID_CHARS, Keyring, NotOurs, UnknownKey
from gateway.core.refusals import BadRequest, BodyTooLarge, TokenOutOfScope, UnknownToken
from gateway.flows.identify import Callers
from gateway.ports import Clock, Randomness
from gateway.web.cookies import Cookies

_PURPOSE = "form"
_MARK = struct.Struct(">I32s")
_MARK_SECONDS = 24 * 3600
_BODY_BYTES_MAX = 16 * 1024


class Visitors:
    """Recognises visitors, and the forms that they send."""

    def __init__(
        self,
        *,
        callers: Callers,
        cookies: Cookies,
        keyring: Keyring,
        clock: Clock,
        randomness: Randomness,
        token_header: str,
    ) -> None:
        self.callers = callers
        self.cookies = cookies
        self._keyring = keyring
        self._clock = clock
        self._randomness = randomness
        self._token_header = token_header

    async def known(self, request: web.Request) -> Caller | None:
        """Whoever this browser or program is, by the same rules as on a route; None for a stranger.

        A licence spends on routes, and is nobody here: it is kept where scripts read it.

        Raises TokenOutOfScope for one.
        """
        outsider = await self.callers.outsider(request.headers, request.cookies)
        if outsider is not None:
            return outsider
        for credential in self._candidates(request):
            caller = await self.callers.known(credential.value, request.remote or "", place=credential.place)
            if caller is not None and caller.is_licence:
                raise TokenOutOfScope()
            if caller is not None:
                return caller
        return None

    async def bearer(self, request: web.Request) -> Caller:
        """The same, for what is of the token that is shown. Raises UnknownToken."""
        caller = await self.known(request)
        if caller is None:
            raise UnknownToken()
        return caller

    async def holder(self, request: web.Request) -> Caller:
        """The same, for what is of the account's holder alone: not of a token that was narrowed, or derived.

        Raises UnknownToken, TokenOutOfScope.
        """
        caller = await self.whole(request)
        if caller is None:
            raise UnknownToken()
        return caller

    async def whole(self, request: web.Request) -> Caller | None:
        """The same; None for a stranger. Raises TokenOutOfScope."""
        caller = await self.known(request)
        if caller is not None and caller.is_narrowed:
            raise TokenOutOfScope()
        return caller

    async def seer(self, request: web.Request) -> Caller | None:
        """Who may see all of the account: its holder, or a viewer; None for a stranger. Raises TokenOutOfScope."""
        caller = await self.known(request)
        if caller is not None and caller.is_narrowed and not caller.is_viewer:
            raise TokenOutOfScope()
        return caller

    def came_by_cookie(self, request: web.Request) -> bool:
        """Whether what is shown is a cookie, and nothing in a header is."""
        return all(credential.place == "cookie" for credential in self._candidates(request))

    async def program(self, request: web.Request) -> Caller | None:
        """The same, but a program whose token is not good is told so. Raises UnknownToken."""
        caller = await self.known(request)
        if caller is None and any(credential.place == "header" for credential in self._candidates(request)):
            raise UnknownToken()
        return caller

    def _candidates(self, request: web.Request) -> list[tokens.Credential]:
        return list(
            tokens.candidates(
                request.headers, request.cookies, header=self._token_header, cookie_names=self.cookies.read_names
            )
        )

    # --- forms --------------------------------------------------------------------------------------------------------

    def mark(self, caller: Caller) -> str:
        """What a form that is shown to this caller carries."""
        plain = _MARK.pack(self._clock.now_ms() // 1000 + _MARK_SECONDS, caller.token_digest)
        key_id, sealed = self._keyring.seal(_PURPOSE, plain, nonce=self._randomness.bytes(12))
        return key_id + urlsafe_b64encode(sealed).decode()

    async def form(self, request: web.Request, caller: Caller) -> dict[str, str]:
        """The fields of a form that was shown to this caller. Raises BadRequest."""
        fields = await read_form(request)
        mark = fields.get("mark", "")
        try:
            sealed = urlsafe_b64decode(mark[KEY_ID_CHARS:])
            until, digest = _MARK.unpack(self._keyring.open(_PURPOSE, mark[:KEY_ID_CHARS], sealed))
        except (ValueError, struct.error, NotOurs, UnknownKey):
            raise BadRequest("the form did not come from our own page") from None
        if digest != caller.token_digest or until < self._clock.now_ms() // 1000:
            raise BadRequest("the form was for somebody else, or is too old; open the page again")
        return fields


async def read_form(request: web.Request) -> dict[str, str]:
    """The fields of any form. Raises BadRequest."""
    if request.content_type != "application/x-www-form-urlencoded":
        raise BadRequest("a form was expected")
    _bounded(request)
    return {name: value for name, value in (await request.post()).items() if isinstance(value, str)}


async def read_json(request: web.Request, *names: str) -> dict[str, Any]:
    """The members of a JSON object, none but these. Raises BadRequest."""
    if request.content_type != "application/json":
        raise BadRequest("application/json was expected")
    _bounded(request)
    try:
        content = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    if not isinstance(content, dict):
        raise BadRequest("a JSON object was expected")
    for name in content:
        if name not in names:
            raise BadRequest(f"the only members are {', '.join(names)}")
    return content


def text_of(content: dict[str, Any], name: str) -> str:
    """A member that is a text and has to be there. Raises BadRequest."""
    value = content.get(name)
    if not isinstance(value, str):
        raise BadRequest(f'{name}: a text such as "5.00 usd" was expected')
    return value


def _bounded(request: web.Request) -> None:
    if (request.content_length or 0) > _BODY_BYTES_MAX:
        raise BodyTooLarge(limit_bytes=_BODY_BYTES_MAX)
