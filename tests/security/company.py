"""A gateway with one of everything, and one of everybody who may come to it: what the tests of this room share."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, web

from gateway.adapters.owning import OwnerRecords
from gateway.adapters.services import ServiceRecords
from gateway.core.owning import Member
from gateway.core.services import Service, ServiceRole
from gateway.core.tokens import Peppers
from gateway.web.operator_pages import COOKIE, ENTER_PATH
from tests.callers import funded
from tests.stories.test_signing_in import Browser, Shop, shop
from tests.stories.test_subscriptions import PLANS

OPERATOR, AUDITOR = "an-operators-token-9876543210zyxwvuts", "an-auditors-token-0123456789abcdefgh"
ROLES = (
    "nobody", "caller", "viewer", "spender", "narrow", "holder", "member", "publisher", "service", "program",
    "operator", "auditor",
)  # fmt: skip
"""`narrow`: a token for one route. `holder`: of a wallet's own token. `member`: signed in. `publisher`: and acts for
an owner of upstreams. `service`: a program of the platform's own, with the widest role. `program`: an owner's own."""
OWNER = "anna"


@dataclass
class Company:
    """The gateway, and how each of them comes to it."""

    here: Shop
    fields: dict[str, dict[str, str]]
    browsers: dict[str, Browser]
    session: ClientSession
    app: web.Application

    def addresses(self) -> list[tuple[str, str]]:
        """Every one of our own, by method."""
        return _of(self.app)

    def admin_addresses(self) -> list[tuple[str, str]]:
        """Those of the admin listener."""
        running: Any = self.here.stage.running
        [admin] = [one.app for one in running._runners if ("GET", "/livez") in _of(one.app)]
        return _of(admin)

    async def asked(self, role: str, method: str, path: str) -> int:
        """How an address answers somebody, to a body that says nothing."""
        return await self._asked(role, method, self.here.stage.url + path)

    async def asked_admin(self, role: str, method: str, path: str) -> int:
        host, port = self.here.stage.settings.admin
        return await self._asked(role, method, f"http://{host}:{port}{path}")

    async def _asked(self, role: str, method: str, url: str) -> int:
        browser = self.browsers.get(role)
        session = browser.session if browser is not None else self.session
        fields = {"Accept": "application/json", "Content-Type": "application/json", **self.fields.get(role, {})}
        fields |= {"Sec-Fetch-Site": "same-origin", "Origin": self.here.stage.url} if browser is not None else {}
        url = re.sub(r"\{[^}]*\}", "acct_" + "0" * 32, url)
        async with session.request(method, url, data=b"{}", headers=fields, allow_redirects=False) as answer:
            await answer.read()
            return answer.status

    def written(self, folder: Path) -> Path:
        """Its configuration as a file, for commands."""
        stage = self.here.stage
        config = stage._config(int(stage.url.rpartition(":")[2]), stage.settings.admin[1])
        config["store"] = f"sqlite:{stage.settings.store_path}"
        file = folder / "gateway.yaml"
        file.write_text(json.dumps(config))
        return file


def _of(app: web.Application) -> list[tuple[str, str]]:
    found = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and not route.resource.canonical.endswith("{rest}")
    }
    return sorted((method, path) for method, path in found if method not in ("HEAD", "*", "OPTIONS"))


@asynccontextmanager
async def company(folder: Path, **overrides: Any) -> AsyncIterator[Company]:
    settings: dict[str, Any] = {
        "plans": PLANS,
        "charging": {},
        "stripe": {"reconcile_seconds": 0},
        "secrets": {"operator_token": OPERATOR, "auditor_token": AUDITOR},
        "owners": {OWNER: {"commission_bps": 1000, "routes": {"hosts": ["*.example.com"], "price_max": "1.00 usd"}}},
        "connect": {"country": "US"},
        "routes_folder": str(folder / "routes.d"),
        "limits": {"failed_credentials": "100000/minute"},
    }
    async with shop(folder, **{**settings, **overrides}) as here, ClientSession() as session:
        stage = here.stage
        stage.stand_in.recurring_price("price_month", 1000)
        [holder] = await funded(stage, "9.00 usd")
        stranger = stage.gateway.identity.callers.fresh().fresh
        assert stranger is not None
        tokens = {"caller": stranger.reveal(), "operator": OPERATOR, "auditor": AUDITOR, "holder": holder.token}
        tokens["forged"] = f"fb_test_0000{'A' * 40}"
        wanted: dict[str, dict[str, Any]] = {
            "viewer": {"role": "viewer"},
            "spender": {"role": "spender"},
            "narrow": {"routes": ["weather"]},
        }
        for role, terms in wanted.items():
            tokens[role] = await _made(session, stage.url, holder.headers, role, terms)
        browsers = {"member": here.browser(), "publisher": here.browser()}
        await browsers["member"].sign_in()
        here.who.person = {"user_id": "amzn1.account.BEA", "email": "bea@example.com", "name": "Bea"}
        await browsers["publisher"].sign_in()
        acts_for = Member(await _user(stage, await browsers["publisher"].account()), OWNER, "linked", 1)
        await OwnerRecords(stage.gateway.records.ask).add_member(acts_for)
        tokens["service"] = await _of_service(session, stage, "engine", "commission")
        tokens["program"] = await _of_service(session, stage, "deploy", "owner", OWNER)
        app = web.Application()
        stage.gateway.add_own_to(app)
        fields = {role: {"Authorization": f"Bearer {token}"} for role, token in tokens.items()}
        for role in ("operator", "auditor"):
            fields[role]["Cookie"] = f"{COOKIE}={await _signed_in(session, stage, tokens[role])}"
        yield Company(here, fields, browsers, session, app)


async def _signed_in(session: ClientSession, stage: Any, token: str) -> str:
    """What the browser of an operator keeps who has signed in on their pages."""
    page = f"{stage.running.admin_address}{ENTER_PATH}"
    async with session.get(page) as shown:
        found = re.search(r'name="mark" value="([^"]+)"', await shown.text())
        cookies = {name: one.value for name, one in shown.cookies.items()}
    assert found is not None
    form = {"name": "ann", "token": token, "mark": found[1]}
    async with session.post(page, data=form, cookies=cookies, allow_redirects=False) as entered:
        assert entered.status == 303, await entered.text()
        return entered.cookies[COOKIE].value


async def _of_service(session: ClientSession, stage: Any, name: str, role: ServiceRole, owner: str = "") -> str:
    """A token of a service, by its secret."""
    secret = f"a-secret-of-{name}-0123456789abcdef"
    digest = Peppers(stage.settings.secrets.peppers).digest(secret)
    await ServiceRecords(stage.gateway.records.ask).add_service(Service(name, role, digest, "", 0, 0, owner=owner))
    form = {"grant_type": "client_credentials", "client_id": name, "client_secret": secret}
    async with session.post(f"{stage.url}/-/oauth/token", data=form) as answer:
        return str((await answer.json())["access_token"])


async def _user(stage: Any, account: str | None) -> str:
    [(user,)] = await stage.gateway.records.ask("SELECT id FROM users WHERE account = $1", account)
    return str(user)


async def _made(session: ClientSession, url: str, by: dict[str, str], name: str, terms: dict[str, Any]) -> str:
    async with session.post(f"{url}/-/api/v1/tokens", json={"name": name, **terms}, headers=by) as answer:
        assert answer.status == 201, await answer.text()
        return str((await answer.json())["access_token"])
