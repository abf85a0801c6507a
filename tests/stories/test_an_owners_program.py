"""A program of an owner's changes the owner's routes with its token, and nothing of anybody else's."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from gateway.adapters.services import ServiceRecords
from gateway.core.services import Service, ServiceRole
from gateway.core.tokens import Peppers
from tests.callers import funded
from tests.conftest import StageMaker
from tests.stories.test_a_market_is_opened import file_of
from tests.stories.test_an_owner_has_routes_of_their_own import BOUNDS, EMPTY, ROUTES, written
from tests.stories.test_an_owner_is_onboarded import ANN
from tests.stories.test_signing_in import Shop, shop
from tests.stories.test_the_readme import blocks, script, section

SECRET, OLDER = "fbs_" + "1a2b3c4d" * 4, "fbs_" + "5e6f7a8b" * 4


class Programs:
    """Programs of owners, at a gateway."""

    def __init__(self, here: Shop, session: ClientSession) -> None:
        self.here, self.session = here, session

    async def add(self, name: str, role: ServiceRole, owner: str = "") -> dict[str, str]:
        """One more, and its token."""
        stage = self.here.stage
        digest = Peppers(stage.settings.secrets.peppers).digest(SECRET)
        await ServiceRecords(stage.gateway.records.ask).add_service(Service(name, role, digest, "", 0, 0, owner=owner))
        status, told = await self.token(name)
        assert status == 200, told
        return {"Authorization": f"Bearer {told['access_token']}"}

    async def token(self, name: str, secret: str = SECRET, **more: str) -> tuple[int, Any]:
        form = {"grant_type": "client_credentials", "client_id": name, "client_secret": secret, **more}
        async with self.session.post(f"{self.here.stage.url}/-/oauth/token", data=form) as answer:
            return answer.status, await answer.json()

    async def asks(self, method: str, path: str, headers: dict[str, str], text: str | None = None) -> tuple[int, Any]:
        kind = {"Content-Type": "application/yaml"} if text is not None else {}
        url = self.here.stage.url + path
        async with self.session.request(method, url, data=text, headers=headers | kind) as answer:
            return answer.status, await answer.json(
                content_type=None
            ) if answer.status != 200 or text else answer.headers


@asynccontextmanager
async def market(folder: Path) -> AsyncIterator[Programs]:
    bounds = {**BOUNDS, "private_addresses": True}
    owners = {"anna": {"signs_in": [ANN], "routes": bounds}, "bert": {"routes": bounds}, "carl": {}}
    services = {"bert-deploy": {"role": "owner", "owner": "bert", "secret": SECRET, "older_secret": OLDER}}
    more: dict[str, Any] = {"routes_folder": str(folder / "routes.d"), "stripe": {"reconcile_seconds": 0}}
    async with shop(folder, owners=owners, services=services, **more) as here, ClientSession() as session:
        yield Programs(here, session)


async def test_an_owners_program_reads_and_writes_the_owners_routes_and_no_others(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        anna = await here.add("anna-deploy", "owner", "anna")
        text = written(here.here)
        status, told = await here.asks("GET", ROUTES, anna)
        assert (status, told["ETag"]) == (200, EMPTY)
        status, told = await here.asks("PUT", ROUTES, anna, text)
        assert (status, told["code"]) == (428, "edit_blind")
        status, told = await here.asks("PUT", ROUTES, anna | {"If-Match": EMPTY}, written(here.here, price="9 usd"))
        assert (status, told["code"]) == (422, "routes_refused"), "the same bounds hold"
        status, told = await here.asks("PUT", ROUTES, anna | {"If-Match": EMPTY}, text)
        assert (status, told["done"], told["routes"]["added"]) == (200, True, ["anna-oslo"])
        status, told = await here.asks("PUT", ROUTES, anna | {"If-Match": EMPTY}, text)
        assert (status, told["code"]) == (412, "edit_conflict")
        stage = here.here.stage
        [caller] = await funded(stage, "1.00 usd")
        async with here.session.get(f"{stage.url}/anna/oslo/x", headers=caller.headers) as answer:
            assert (answer.status, answer.headers["Gateway-Balance"]) == (200, "0.98 usd")
        [step] = await stage.gateway.records.trail.steps_before(2**62, action="owner.routes", object="anna", count=9)
        assert (step.act.actor, step.act.role) == ("service:anna-deploy", "service")

        # Another's are not there, and look like those of nobody; so do those of who may have none.
        missing = [await here.asks("GET", f"/-/api/v1/owners/{one}/routes", anna) for one in ("bert", "carl", "nobody")]
        assert {status for status, _ in missing} == {404}
        assert len({told["code"] for _, told in missing}) == 1
        status, _ = await here.asks("PUT", "/-/api/v1/owners/bert/routes", anna | {"If-Match": EMPTY}, "{}")
        assert status == 404
        carl = await here.add("carl-deploy", "owner", "carl")
        assert (await here.asks("GET", "/-/api/v1/owners/carl/routes", carl))[0] == 404
        assert (await here.asks("GET", "/-/owners", anna))[0] in (401, 403), "it is no session"

        # One of the configuration, by either of its secrets; none with another role, another audience, or made up.
        for secret in (SECRET, OLDER):
            status, told = await here.token("bert-deploy", secret)
            bert = {"Authorization": f"Bearer {told['access_token']}"}
            assert (await here.asks("GET", "/-/api/v1/owners/bert/routes", bert))[0] == 200
            assert (await here.asks("GET", ROUTES, bert))[0] == 404
        auditor = await here.add("auditor", "auditor")
        status, told = await here.asks("GET", ROUTES, auditor)
        assert (status, told["code"]) == (403, "token_out_of_scope")
        _, told = await here.token("anna-deploy", resource=f"{stage.url}/-/api/v1/stripe/transactions")
        other = {"Authorization": f"Bearer {told['access_token']}"}
        assert (await here.asks("GET", ROUTES, other))[0] == 401
        name, _, _ = anna["Authorization"].rpartition(".")
        assert (await here.asks("GET", ROUTES, {"Authorization": f"{name}.{'A' * 342}"}))[0] == 401


async def test_the_commands_of_the_readme_change_routes_as_they_stand(tmp_path: Path) -> None:
    text = section("### Routes of owners", "### Owners, and what the platform keeps")
    commands = blocks(text, "sh")[-1]
    async with market(tmp_path) as here:
        (tmp_path / "anna.yaml").write_text(written(here.here))
        stage = here.here.stage
        known = {"GATEWAY": stage.url, "CONFIG": file_of(stage, tmp_path)}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        ran = await asyncio.to_thread(
            subprocess.run, ["bash", "-c", script(commands)], cwd=tmp_path, env={**os.environ, **known, "PATH": path},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr


async def test_where_nobody_signs_in_an_owners_program_writes_routes_all_the_same(
    tmp_path: Path, make_stage: StageMaker
) -> None:
    more: dict[str, Any] = {"routes_folder": str(tmp_path / "routes.d")}
    stage = await make_stage(owners={"anna": {"routes": BOUNDS}, "carl": {}}, **more)
    async with ClientSession() as session:
        here = Programs(Shop(stage, None, None), session)  # type: ignore[arg-type]
        anna = await here.add("anna-deploy", "owner", "anna")
        text = written(here.here)
        status, told = await here.asks("PUT", ROUTES, anna | {"If-Match": EMPTY}, text)
        assert (status, told["done"], told["routes"]["added"]) == (200, True, ["anna-oslo"])
        assert (await here.asks("GET", ROUTES, anna))[0] == 200
        assert (await here.asks("GET", "/-/api/v1/owners/carl/routes", anna))[0] == 404
        [caller] = await funded(stage, "1.00 usd")
        for headers, status in (({}, 401), (dict(caller.headers), 403)):
            assert (await here.asks("GET", ROUTES, headers))[0] == status, "a wallet is nobody who acts for an owner"
        async with session.get(f"{stage.url}/anna/oslo/x", headers=caller.headers) as answer:
            assert (answer.status, answer.headers["Gateway-Balance"]) == (200, "0.98 usd")
