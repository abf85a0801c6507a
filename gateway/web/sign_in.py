"""Signing in and out: `/-/auth/{provider}/start` and `callback`, `/-/auth/logout`, `logout-everywhere`, `refresh`.

A browser leaves with a sealed cookie and comes back with what the provider gave it; everything that has to fit is
checked in `flows/sign_in.py`. Whoever is let in gets a new session in the cookie that a wallet's token would be in, so
a browser never shows two, and one that somebody planted is gone. A visit to any address of ours makes the cookie anew
when it is some hours old, until the session's end.
"""

from aiohttp import web

from gateway.core.callers import Caller
from gateway.core.limits import Rate
from gateway.core.refusals import NoRoute, RateLimited, SignInRefused, TokenOutOfScope
from gateway.core.secrets import Secret
from gateway.core.sessions import SessionMint
from gateway.core.sign_ins import Provider, way_back
from gateway.flows.sign_in import SignIn
from gateway.flows.stay import Stays, is_session
from gateway.ports import Clock, RateLimits
from gateway.web.answers import OwnAnswer
from gateway.web.visitors import Visitors

_WAYS_BACK = Rate(20, 60, "20/minute")
"""How often one address may come back: each asks the provider something."""
_OURS = "/-/"


class SignInPlace:
    """The handlers. `after` is where people go who wanted nothing else."""

    def __init__(
        self,
        *,
        visitors: Visitors,
        sign_in: SignIn,
        stays: Stays,
        mint: SessionMint,
        limits: RateLimits,
        clock: Clock,
        public_url: str,
        after: str,
        seconds: int,
    ) -> None:
        self._visitors = visitors
        self._sign_in = sign_in
        self._stays = stays
        self._mint = mint
        self._limits = limits
        self._clock = clock
        self._public_url = public_url
        self._after = after
        self._seconds = seconds

    async def start(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/auth/{provider}/start?next=`: to the provider. Raises NoRoute, SignInRefused, SignInUnavailable."""
        provider = self._provider(request)
        user = await self._user(request) if provider.kind == "consent" else ""
        if provider.kind == "consent" and not user:
            raise SignInRefused("this connects something of yours: sign in first")
        out = await self._sign_in.begin(
            provider,
            redirect_uri=f"{self._public_url}{request.path.removesuffix('/start')}/callback",
            next=way_back(request.query.get("next"), self._after),
            user=user,
        )
        answer = OwnAnswer(status=303, headers={"Location": out.url})
        self._visitors.cookies.set_away(answer, out.cookie)
        return answer

    async def callback(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/auth/{provider}/callback`: back from it. Raises SignInRefused, SignInUnavailable."""
        provider = self._provider(request)
        window = await self._limits.hit(_WAYS_BACK, f"signing in {request.remote or ''}")
        if not window.allowed:
            raise RateLimited(policy=_WAYS_BACK.text, retry_after_seconds=max(1, window.reset_seconds))
        if any(len(request.query.getall(name)) > 1 for name in request.query):
            raise SignInRefused("something was said twice")
        before = await self._shown(request)
        done = await self._sign_in.finish(
            provider.name,
            request.query,
            self._visitors.cookies.away(request.cookies),
            wallet=_wallet(before),
            user=await self._user(request) if provider.kind == "consent" else "",
        )
        answer = OwnAnswer(status=303, headers={"Location": done.next})
        self._visitors.cookies.end_away(answer)
        if provider.kind == "sign_in":
            session = await self._stays.begin(done.user, done.account, provider.name)
            if before is not None:
                await self._stays.end_own(before)
            self._visitors.cookies.set_token(answer, session, self._seconds)
        return answer

    async def _shown(self, request: web.Request) -> Caller | None:
        """Whose wallet this browser shows; nobody's if what it shows stands for less than a wallet."""
        try:
            caller = await self._visitors.whole(request)
        except TokenOutOfScope:
            return None
        return caller if caller is not None and self._visitors.came_by_cookie(request) else None

    async def _user(self, request: web.Request) -> str:
        """Who is signed in, in this browser; empty if nobody is."""
        caller = await self._visitors.known(request)
        user = await self._stays.user_of(caller) if caller is not None and is_session(caller) else None
        return user.id if user is not None else ""

    def _provider(self, request: web.Request) -> Provider:
        try:
            return self._sign_in.providers[request.match_info["provider"]]
        except KeyError:
            raise NoRoute() from None

    # --- out again ----------------------------------------------------------------------------------------------------

    async def logout(self, request: web.Request) -> web.StreamResponse:
        """`POST /-/auth/logout`: this session is over. Raises UnknownToken, BadRequest."""
        caller = await self._visitors.bearer(request)
        await self._visitors.form(request, caller)
        await self._stays.end_own(caller)
        return self._gone()

    async def logout_everywhere(self, request: web.Request) -> web.StreamResponse:
        """`POST /-/auth/logout-everywhere`: all sessions of whoever is signed in are. The same."""
        caller = await self._visitors.bearer(request)
        await self._visitors.form(request, caller)
        user = await self._stays.user_of(caller) if is_session(caller) else None
        if user is not None:
            await self._stays.end_all(user.id)
        return self._gone()

    def _gone(self) -> OwnAnswer:
        answer = OwnAnswer(status=303, headers={"Location": "/-/wallet"})
        self._visitors.cookies.drop_token(answer)
        return answer

    async def refresh(self, request: web.Request) -> web.StreamResponse:
        """`POST /-/auth/refresh`: the same session, from now on. Raises UnknownToken."""
        caller = await self._visitors.bearer(request)
        answer, now = OwnAnswer(status=204), self._clock.now_ms()
        session = self._mint.recognise(request.cookies.get(self._visitors.cookies.name, ""), now=now / 1000)
        if is_session(caller) and session is not None:
            renewed = self._mint.mint(session.id, session.user, now=now // 1000, end=session.end)
            self._visitors.cookies.set_token(answer, Secret(renewed), session.end - now // 1000)
        return answer

    def renew(self, request: web.Request, answer: web.StreamResponse) -> None:
        """With any answer of ours: whoever is here is not idle. Nobody is asked; a session that was ended stays so."""
        name = self._visitors.cookies.name
        if not request.path.startswith(_OURS) or name in answer.cookies or name not in request.cookies:
            return
        now = self._clock.now_ms() // 1000
        session = self._mint.recognise(request.cookies[name], now=now)
        renewed = self._mint.renewed(session, now=now) if session is not None else None
        if session is not None and renewed is not None:
            self._visitors.cookies.set_token(answer, Secret(renewed), session.end - now)


def _wallet(before: Caller | None) -> str | None:
    """What may be attached: never what is somebody's who signed in here before."""
    return None if before is None or is_session(before) else before.account
