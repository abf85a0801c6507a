"""The operators' pages on the admin listener: what happens, where the money is, and what waits for a hand.

They live under one path, `/-/operator`, and so does their cookie: it goes to no call and to no upstream, also where the
gateway's own listener has the same host name, because there everything under `/-/` is the gateway's. Calls take a
token and never the cookie, so a page of another site can make a browser do nothing here.

Every form carries a mark that is derived from the cookie of whoever it was shown to; the form for signing in, from a
cookie of its own. A form without it is refused, as is whatever a browser says comes from another site.
"""

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from gateway.core.alerts import NAMES
from gateway.core.headers import prefers_html
from gateway.core.operators import Session
from gateway.core.refusals import BadRequest, RateLimited, Refusal
from gateway.flows.let_in import MOST_MS, LetIn, NotLetIn, Signed
from gateway.ports import Randomness, Witnesses
from gateway.web.alerts_by_hand import AlertsByHand
from gateway.web.answers import OwnAnswer
from gateway.web.guard import refuse_other_sites
from gateway.web.operator_calls import ByHand, NotThere, answered, told, trail_query
from gateway.web.refusals import as_problem
from gateway.web.templates import Templates
from gateway.web.visitors import read_form
from gateway.web.watched import Watched

PREFIX = "/-/operator"
COOKIE = "farebox_operator"
ENTER_PATH = f"{PREFIX}/enter"
_FORM_COOKIE = "farebox_operator_form"
_FORM_SECONDS = 3600
_TITLES = {
    "now": "Now",
    "money": "Money",
    "webhooks": "Webhooks",
    "upstreams": "Upstreams",
    "workers": "Workers",
    "payments": "Parked payments",
    "alerts": "Alerts",
    "trail": "Audit log",
}
Show = Callable[[web.Request, Session], Awaitable[Mapping[str, Any]]]


class OperatorPages:
    """The handlers."""

    def __init__(
        self,
        *,
        let_in: LetIn,
        watched: Watched,
        by_hand: ByHand,
        witness: Witnesses,
        templates: Templates,
        randomness: Randomness,
        alerts: AlertsByHand,
    ) -> None:
        self._let_in = let_in
        self._watched = watched
        self._by_hand = by_hand
        self._witness = witness
        self._templates = templates
        self._randomness = randomness
        self._alerts = alerts

    def add_to(self, app: web.Application) -> None:
        """Their addresses."""
        shows: dict[str, Show] = {
            "now": self._now,
            "money": self._money,
            "webhooks": self._webhooks,
            "upstreams": self._upstreams,
            "workers": self._workers,
            "payments": self._payments,
            "alerts": self._shown_alerts,
            "trail": self._trail,
        }
        app.router.add_get(f"{PREFIX}/", self._for_operators(self.begin))
        for name, show in shows.items():
            app.router.add_get(f"{PREFIX}/{name}", self._for_operators(self._page(name, show)))
        app.router.add_post(f"{PREFIX}/webhooks", self._for_operators(self.replay))
        app.router.add_post(f"{PREFIX}/payments", self._for_operators(self.assign))
        app.router.add_post(f"{PREFIX}/alerts", self._for_operators(self.act_on_alerts))
        app.router.add_post(f"{PREFIX}/leave", self._for_operators(self.leave))
        app.router.add_get(ENTER_PATH, self._within(self.enter))
        app.router.add_post(ENTER_PATH, self._within(self.sign_in))

    # --- signing in and out -------------------------------------------------------------------------------------------

    async def enter(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/operator/enter`, with `?link=` of a link: the form. It uses nothing up."""
        return self._enter_page(request, link=request.query.get("link", ""))

    async def sign_in(self, request: web.Request) -> web.StreamResponse:
        """`POST` of it: a session, in a cookie. Raises BadRequest, RecordsUnavailable."""
        fields = await read_form(request)
        shown_to = request.cookies.get(_FORM_COOKIE, "")
        if not shown_to or not hmac.compare_digest(fields.get("mark", "").encode(), _mark(shown_to).encode()):
            raise BadRequest("the form did not come from our own page, or is too old; open the page again")
        name, token, link = (fields.get(field, "").strip() for field in ("name", "token", "link"))
        address = request.remote or ""
        try:
            by = self._let_in.by_link(name, link, address=address) if link else None
            secret = await (by or self._let_in.by_token(name, token, address=address))
        except NotLetIn:
            words = "This link is not good any more" if link else "This is not the operators' token"
            return self._enter_page(request, problem=words, status=403)
        except RateLimited as limited:
            wait = {"Retry-After": str(limited.retry_after_seconds)}
            words = f"Too many attempts; try again in {limited.retry_after_seconds} s"
            return self._enter_page(request, problem=words, link=link, status=429, headers=wait)
        except BadRequest as bad:
            return self._enter_page(request, problem=bad.why, link=link, status=400)
        answer = OwnAnswer(status=303, headers={"Location": f"{PREFIX}/"})
        _set_cookie(request, answer, COOKIE, secret, MOST_MS // 1000)
        answer.del_cookie(_FORM_COOKIE, path=PREFIX)
        return answer

    async def leave(self, request: web.Request, session: Session) -> web.StreamResponse:
        """`POST /-/operator/leave`: the session is over."""
        await self._form(request)
        await self._let_in.leave(session)
        answer = OwnAnswer(status=303, headers={"Location": ENTER_PATH})
        answer.del_cookie(COOKIE, path=PREFIX)
        return answer

    def _enter_page(
        self,
        request: web.Request,
        *,
        problem: str = "",
        link: str = "",
        status: int = 200,
        headers: dict[str, str] | None = None,
    ) -> web.StreamResponse:
        shown_to = urlsafe_b64encode(self._randomness.bytes(24)).decode()
        text = self._templates.render(
            "operator_enter.html", problem=problem, link=link, mark=_mark(shown_to), action=ENTER_PATH
        )
        answer = OwnAnswer(text=text, content_type="text/html", status=status, headers=headers)
        _set_cookie(request, answer, _FORM_COOKIE, shown_to, _FORM_SECONDS)
        return answer

    # --- who is there -------------------------------------------------------------------------------------------------

    def _for_operators(
        self, handler: Callable[[web.Request, Session], Awaitable[web.StreamResponse]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def behind_it(request: web.Request) -> web.StreamResponse:
            session = await self._let_in.known(request.cookies.get(COOKIE, ""))
            if session is None:
                if prefers_html(request.headers):
                    return OwnAnswer(status=303, headers={"Location": ENTER_PATH})
                return told({"code": "operators_only", "charged": False}, status=401)
            if session.rank != "operator" and request.method == "POST" and not request.path.endswith("/leave"):
                return told({"code": "auditors_read", "charged": False}, status=403)
            return await handler(request, session)

        return self._within(behind_it)

    def _within(
        self, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """What fails is told, and what another site makes a browser send is not done."""

        async def bounded(request: web.Request) -> web.StreamResponse:
            try:
                refuse_other_sites(request, f"{request.scheme}://{request.host}")
                return await handler(request)
            except Refusal as refusal:
                return as_problem(refusal)

        return answered(bounded)

    async def _form(self, request: web.Request) -> dict[str, str]:
        """The fields of a form that was shown to whoever sends it. Raises BadRequest."""
        fields = await read_form(request)
        mark = _mark(request.cookies.get(COOKIE, ""))
        if not hmac.compare_digest(fields.get("mark", "").encode(), mark.encode()):
            raise BadRequest("the form did not come from our own page; open the page again")
        return fields

    # --- what is shown ------------------------------------------------------------------------------------------------

    def _page(self, name: str, show: Show) -> Callable[[web.Request, Session], Awaitable[web.StreamResponse]]:
        async def page(request: web.Request, session: Session) -> web.StreamResponse:
            return self._render(request, session, name, await show(request, session))

        return page

    def _render(self, request: web.Request, session: Session, name: str, values: Mapping[str, Any]) -> OwnAnswer:
        text = self._templates.render(
            f"operator_{name}.html",
            **{"notice": "", "problem": "", **values},
            here=name,
            titles=_TITLES,
            prefix=PREFIX,
            session=session,
            acts=session.rank == "operator",
            mark=_mark(request.cookies.get(COOKIE, "")),
        )
        return OwnAnswer(text=text, content_type="text/html")

    async def begin(self, request: web.Request, session: Session) -> web.StreamResponse:
        """`GET /-/operator/`: on to what happens now."""
        return OwnAnswer(status=303, headers={"Location": f"{PREFIX}/now"})

    async def _now(self, request: web.Request, session: Session) -> Mapping[str, Any]:
        return await self._watched.now()

    async def _money(self, request: web.Request, session: Session) -> Mapping[str, Any]:
        return await self._watched.money()

    async def _upstreams(self, request: web.Request, session: Session) -> Mapping[str, Any]:
        return await self._watched.upstreams()

    async def _workers(self, request: web.Request, session: Session) -> Mapping[str, Any]:
        return await self._watched.workers()

    async def _webhooks(self, request: web.Request, session: Session) -> Mapping[str, Any]:
        trail = Signed(self._witness, session)
        return {
            **await self._watched.webhooks(),
            "events": await self._by_hand.events(None, trail),
            **await self._watched.jobs("failed"),
            "notices": await self._by_hand.notices("failed", trail),
        }

    async def _payments(self, request: web.Request, session: Session) -> Mapping[str, Any]:
        parked = await self._by_hand.parked(Signed(self._witness, session))
        chosen = {"payment": request.query.get("payment", ""), "account": ""}
        return {"payments": parked, "chosen": chosen, "assigned": None}

    async def _trail(self, request: web.Request, session: Session) -> Mapping[str, Any]:
        asked = trail_query(request)
        return {**await self._watched.trail(**asked), "asked": {"object": "", "action": "", **asked}}

    async def _shown_alerts(self, request: web.Request, session: Session) -> Mapping[str, Any]:
        return {**await self._alerts.told(), "names": NAMES}

    # --- what is done -------------------------------------------------------------------------------------------------

    async def replay(self, request: web.Request, session: Session) -> web.StreamResponse:
        """`POST /-/operator/webhooks`: an event, a job or a message once more."""
        fields = await self._form(request)
        trail = Signed(self._witness, session)
        acts = {
            "event": self._by_hand.replay,
            "job": self._by_hand.retry_job,
            "message": self._by_hand.replay_notice,
        }
        said = {"notice": "", "problem": ""}
        try:
            kind = next(name for name in acts if fields.get(name))
        except StopIteration:
            raise BadRequest("nothing was named") from None
        try:
            done = await acts[kind](fields[kind], trail)
        except (ValueError, NotThere) as error:
            said["problem"] = str(error)
        else:
            state = done.get("status") or done["state"]
            said["notice"] = f"{done['id']} is {state} now" + (f": {done['error']}" if done["error"] else "")
        return self._render(request, session, "webhooks", {**await self._webhooks(request, session), **said})

    async def assign(self, request: web.Request, session: Session) -> web.StreamResponse:
        """`POST /-/operator/payments`: what would come of it, and with `sure` it is done."""
        fields = await self._form(request)
        payment, account = fields.get("payment", "").strip(), fields.get("account", "").strip()
        trail, dry_run = Signed(self._witness, session), fields.get("sure") != "yes"
        said: dict[str, Any] = {"chosen": {"payment": payment, "account": account}}
        try:
            done = await self._by_hand.assign(payment, account, trail, dry_run=dry_run)
        except ValueError as error:
            said["problem"] = str(error)
        else:
            said["assigned"] = {**done, "dry_run": dry_run}
        return self._render(request, session, "payments", {**await self._payments(request, session), **said})

    async def act_on_alerts(self, request: web.Request, session: Session) -> web.StreamResponse:
        """`POST /-/operator/alerts`: `ack` an alert, mute those of a `name` for `hours`, or send a `test`."""
        fields = await self._form(request)
        trail = Signed(self._witness, session)
        said = {"notice": "", "problem": ""}
        try:
            if id := fields.get("ack"):
                alert = await self._alerts.ack(id, trail)
                said["notice"] = f"{alert['alert']} is acknowledged: nobody is reminded of it"
            elif name := fields.get("name"):
                muted = await self._alerts.mute(name, _hours(fields.get("hours", "")), trail)
                said["notice"] = f"nobody is told of {name} until {muted['until']}; it is still watched"
            elif fields.get("test"):
                said = _of_test(await self._alerts.test(trail))
            else:
                raise BadRequest("nothing was named")
        except (ValueError, NotThere) as error:
            said["problem"] = str(error)
        return self._render(request, session, "alerts", {**await self._shown_alerts(request, session), **said})


def _hours(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("hours: write a number") from None


def _of_test(told: Mapping[str, Any]) -> dict[str, str]:
    ways = [f"{one['way']}: {'it was taken' if one['delivered'] else one['why']}" for one in told["ways"]]
    words = "; ".join(ways) or "nobody is told of alerts: set alerts.url, or alerts.mail_to"
    return {"notice": words, "problem": ""} if told["arrived"] else {"notice": "", "problem": words}


def _mark(cookie: str) -> str:
    """What a form carries that was shown to the browser with this cookie."""
    return hmac.digest(cookie.encode("utf-8", "replace"), b"form", "sha256").hex()


def _set_cookie(request: web.Request, answer: web.Response, name: str, value: str, seconds: int) -> None:
    by_tls = request.secure or request.headers.get("X-Forwarded-Proto", "") == "https"
    answer.set_cookie(name, value, max_age=seconds, path=PREFIX, httponly=True, samesite="Strict", secure=by_tls)
