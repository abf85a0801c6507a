"""Everything of somebody's at an upstream is read, page by page, in their name.

How far it is, is noted after each page, with what the next one is asked for: whoever goes on after a crash begins with
that page, so a page may be read twice, and none is missed. What an upstream says about being asked too often is kept
to. A token that is refused is renewed once for a page; refused again, its user is asked for consent.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from gateway.core.jobs import GiveUp, Job, TryLater
from gateway.core.sign_ins import Provider, Sync, read_object
from gateway.ports import Calls, Clock, LendsTokens, NoReply, Reply, TokenVault

PAGE_BYTES_MAX = 4 * 1024 * 1024
PAGES_MAX = 100_000
_CURSOR_CHARACTERS_MAX = 4096
_WAIT_SECONDS_MAX = 3600


class Synchronise:
    """Does jobs of the kind `first_sync`."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        *,
        calls: Calls,
        lend: LendsTokens,
        vault: TokenVault,
        clock: Clock,
    ) -> None:
        self._providers = providers
        self._calls = calls
        self._lend = lend
        self._vault = vault
        self._clock = clock

    async def do(self, job: Job, note: Callable[[Mapping[str, Any]], Awaitable[None]]) -> None:
        """Raises GiveUp, TryLater, NotConnected, SignInUnavailable, RecordsUnavailable."""
        provider = self._providers.get(job.provider)
        if provider is None or provider.sync is None:
            raise GiveUp("this provider is not one that is synchronised any more")
        pages, items = int(job.progress.get("pages", 0)), int(job.progress.get("items", 0))
        cursor = job.progress.get("cursor")
        while pages < PAGES_MAX:
            page = await self._page(job.user, provider, provider.sync, cursor)
            found, following = at(page, provider.sync.items), at(page, provider.sync.next)
            if not isinstance(found, list):
                raise GiveUp(f"a page has no list at {provider.sync.items}")
            if following is not None and not _is_cursor(following):
                raise GiveUp(f"a page has no text at {provider.sync.next}")
            if following and following == cursor:
                raise GiveUp("a page names itself as the next one")
            pages, items, cursor = pages + 1, items + len(found), following
            await note({"pages": pages, "items": items, "cursor": cursor})
            if not cursor:
                await self._vault.set_state(job.user, provider.name, "connected", now_ms=self._clock.now_ms())
                return
        raise GiveUp(f"it has more than {PAGES_MAX} pages")

    async def _page(self, user: str, provider: Provider, sync: Sync, cursor: str | None) -> dict[str, Any]:
        reply = await self._asked(user, provider, sync, cursor, fresh=False)
        if reply.status in (401, 403):
            reply = await self._asked(user, provider, sync, cursor, fresh=True)
        if reply.status in (401, 403):
            await self._vault.set_state(user, provider.name, "consent_needed", now_ms=self._clock.now_ms())
            raise GiveUp(f"it answered {reply.status} to a token that was just renewed")
        if reply.status == 429 or reply.status >= 500:
            raise TryLater(f"it answered {reply.status}", _seconds(reply.fields.get("retry-after", "")))
        if reply.status != 200:
            raise GiveUp(f"it answered {reply.status}")
        return read_object(reply.body)

    async def _asked(self, user: str, provider: Provider, sync: Sync, cursor: str | None, *, fresh: bool) -> Reply:
        access = await self._lend.access(user, provider, fresh=fresh)
        joint = "&" if "?" in sync.url else "?"
        url = f"{sync.url}{joint}{urlencode({sync.parameter: cursor})}" if cursor else sync.url
        try:
            return await self._calls.call(url, fields=dict([provider.shows(access)]), bytes_max=PAGE_BYTES_MAX)
        except NoReply as failed:
            raise TryLater(str(failed)) from None


def at(page: Mapping[str, Any], path: str) -> Any:
    """What stands at `a.b`; None if nothing does."""
    found: Any = page
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _is_cursor(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _CURSOR_CHARACTERS_MAX


def _seconds(text: str) -> float:
    return min(float(text), _WAIT_SECONDS_MAX) if text.isascii() and text.isdecimal() and len(text) < 9 else 0.0
