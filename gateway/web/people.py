"""What is somebody's who signed in: their sessions, as a page; their connections and jobs, for programs.

Everything is of whoever asks: of the person whose session it is, or who has signed in for the account of the token.
What is another's is not there.
"""

from typing import Any

from aiohttp import web

from gateway.core.callers import Caller
from gateway.core.indented import indented
from gateway.core.jobs import Job
from gateway.core.refusals import NoRoute, NoSuchToken
from gateway.core.sign_ins import Provider
from gateway.flows.lend_tokens import LendTokens
from gateway.flows.sign_in import SignIn
from gateway.flows.stay import Stays, is_session
from gateway.ports import Jobs, TokenVault, User
from gateway.web.answers import OwnAnswer
from gateway.web.templates import Templates
from gateway.web.told_tokens import moment
from gateway.web.visitors import Visitors

_JOBS_MAX = 100


class PeoplePlace:
    """The handlers."""

    def __init__(
        self,
        *,
        templates: Templates,
        visitors: Visitors,
        sign_in: SignIn,
        stays: Stays,
        vault: TokenVault,
        lend: LendTokens,
        jobs: Jobs,
    ) -> None:
        self._templates = templates
        self._visitors = visitors
        self._sign_in = sign_in
        self._stays = stays
        self._vault = vault
        self._lend = lend
        self._jobs = jobs

    # --- sessions -----------------------------------------------------------------------------------------------------

    async def sessions(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/wallet/sessions`. Raises UnknownToken, TokenOutOfScope."""
        return await self._page(await self._visitors.holder(request))

    async def act(self, request: web.Request) -> web.StreamResponse:
        """`POST` to the same address: end one; and the page again. Raises NoSuchToken."""
        caller = await self._visitors.holder(request)
        fields = await self._visitors.form(request, caller)
        user, id = await self._stays.user_of(caller), fields.get("id", "")
        if user is None:
            raise NoSuchToken()
        await self._stays.end(user.id, id)
        if id == caller.token_id:
            answer = OwnAnswer(status=303, headers={"Location": "/-/wallet"})
            self._visitors.cookies.drop_token(answer)
            return answer
        return OwnAnswer(status=303, headers={"Location": "/-/wallet/sessions"})

    async def _page(self, caller: Caller) -> OwnAnswer:
        user = await self._stays.user_of(caller)
        text = self._templates.render(
            "sessions.html",
            stays=await self._stays.held(user.id) if user else (),
            known=self._sign_in.told(user) if user else None,
            own=caller.token_id,
            signed_in=is_session(caller),
            providers=self._sign_in.providers,
            connected={one.provider: one for one in await self._vault.integrations(user.id)} if user else {},
            mark=self._visitors.mark(caller),
        )
        return OwnAnswer(text=text, content_type="text/html")

    # --- for programs -------------------------------------------------------------------------------------------------

    async def integrations(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/api/v1/integrations`: how each connection stands. Raises UnknownToken, TokenOutOfScope."""
        user = await self._user(request)
        found = {one.provider: one for one in await self._vault.integrations(user.id)} if user else {}
        told = [self._told(provider, found) for provider in self._sign_in.providers.values()]
        return _json({"integrations": told})

    def _told(self, provider: Provider, found: dict[str, Any]) -> dict[str, Any]:
        one = found.get(provider.name)
        return {
            "provider": provider.name,
            "title": provider.title,
            "status": one.state if one else "never_connected",
            "checked": moment(one.checked_ms) if one else None,
            "start": f"/-/auth/{provider.name}/start",
        }

    async def disconnect(self, request: web.Request) -> web.StreamResponse:
        """`DELETE /-/api/v1/integrations/{provider}`: its tokens are forgotten. Raises NoRoute if there are none."""
        user, provider = await self._user(request), self._sign_in.providers.get(request.match_info["provider"])
        if user is None or provider is None or not await self._lend.take_back(user.id, provider):
            raise NoRoute()
        return OwnAnswer(status=204)

    async def jobs(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/api/v1/jobs`: what is done for them, the newest first."""
        user = await self._user(request)
        found = await self._jobs.list_jobs(state=None, user=user.id, count=_JOBS_MAX) if user else ()
        return _json({"jobs": [told_job(one) for one in found]})

    async def job(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/api/v1/jobs/{id}`. Raises NoRoute."""
        user, found = await self._user(request), await self._jobs.find_job(request.match_info["id"])
        if user is None or found is None or found.user != user.id:
            raise NoRoute()
        return _json(told_job(found))

    async def _user(self, request: web.Request) -> User | None:
        return await self._stays.user_of(await self._visitors.holder(request))


def told_job(job: Job) -> dict[str, Any]:
    """For whom it is done. What the next page is asked for with is nobody's business."""
    return {
        "id": job.id,
        "kind": job.kind,
        "provider": job.provider,
        "state": job.state,
        "tries": job.tries,
        "created": moment(job.created_ms),
        "changed": moment(job.changed_ms),
        "due": moment(job.due_ms) if job.state == "waiting" else None,
        "progress": {name: value for name, value in job.progress.items() if name != "cursor"},
        "error": job.error,
    }


def _json(content: dict[str, Any]) -> OwnAnswer:
    return OwnAnswer(text=indented(content), content_type="application/json")
