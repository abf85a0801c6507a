"""An owner signs in and has an account at Stripe, without being asked for anything, and without an operator's hand."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.stage import Stage
from tests.forms import FORMS
from tests.stories.test_signing_in import Browser, Shop, shop

ACCOUNT = "/-/api/v1/stripe/connect-account"
RETURN, REFRESH = "/-/owners/connect/return", "/-/owners/connect/refresh"
ANN = "amazon:amzn1.account.ANN"
APIS = pytest.mark.parametrize("api", ["v1", "v2"])


@asynccontextmanager
async def market(
    folder: Path, *, form: str = "relay", api: str = "v2", owners: dict[str, Any] | None = None, **connect: Any
) -> AsyncIterator[Shop]:
    """A platform where Ann acts for the owner anna."""
    named = owners if owners is not None else {"anna": {"signs_in": [ANN]}, "bert": {}}
    said = {"country": "US", "api": api, **connect}
    async with shop(folder, form=form, owners=named, connect=said, stripe={"reconcile_seconds": 0}) as here:
        yield here


async def done(stage: Stage, kind: str = "onboard") -> None:
    """Until no job of this kind waits."""
    jobs = stage.gateway.identity.signing_in.lending.jobs
    async with asyncio.timeout(20):
        while any(job.state in ("waiting", "running") for job in await jobs.list_jobs(state=None, user=None, count=9)):
            await asyncio.sleep(0.02)


async def heard(stage: Stage) -> None:
    """Until everything that Stripe has sent was acted on."""
    await stage.stand_in.settled()
    assert stage.gateway.paying.webhooks is not None
    await stage.gateway.paying.webhooks.settled()


async def standing(browser: Browser) -> dict[str, Any]:
    status, told = await browser.api(ACCOUNT)
    assert status == 200, told
    return dict(told)


@APIS
@pytest.mark.parametrize("form", FORMS)
async def test_whoever_acts_for_an_owner_signs_in_and_can_be_paid(form: str, api: str, tmp_path: Path) -> None:
    async with market(tmp_path, form=form, api=api) as here:
        ann = here.browser()
        await ann.sign_in()
        await done(here.stage)
        [made] = here.stage.stand_in.accounts
        assert (made.api, made.country, made.email, made.name, made.transfers) == (
            api, "US", "ann@example.com", "anna", True
        )  # fmt: skip
        told = await standing(ann)
        link = told.pop("link")
        assert told["requirements"], "and Stripe has to know some things of them"
        assert (told["owner"], told["status"], told["account"]) == ("anna", "restricted", made.id)
        assert (told["transfers_enabled"], told["payable"]) == (False, False)

        status, page, _ = await ann.get(link)
        assert status == 200
        fields = dict.fromkeys(re.findall(r'name="(due-\d)"', page), "given")
        async with ann.session.post(link, data=fields, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, here.stage.settings.public_url + RETURN)
        await heard(here.stage)
        told = await standing(ann)
        assert (told["status"], told["requirements"], told["link"]) == ("enabled", [], None)
        assert (told["transfers_enabled"], told["payouts_enabled"], told["payable"]) == (True, True, True)
        payable = await here.stage.gateway.paying.owning.accounts.payable("anna")
        assert (payable.account, payable.reason) == (made.id, None)
        status, page, _ = await ann.get(RETURN)
        assert (status, "You can be paid" in page) == (200, True)
        inbox = here.stage.gateway.records
        assert not await inbox.entries("parked")
