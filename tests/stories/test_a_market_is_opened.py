"""The README's marketplace: owners come by the configuration, by invitation and by an operator's link."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from gateway.cli import main
from gateway.cli.stage import Stage
from tests.stories.test_an_owner_is_onboarded import ACCOUNT, done, standing
from tests.stories.test_signing_in import Shop, shop
from tests.stories.test_the_readme import blocks, section


def written() -> dict[str, Any]:
    text = section("### Owners are paid through Stripe Connect", "### Fees are charged by agreement")
    (block,) = blocks(text, "yaml")
    config: dict[str, Any] = yaml.safe_load(block.replace("ANNA", "ANN"))
    return config


def file_of(stage: Stage, folder: Path, **changes: Any) -> str:
    """The configuration that this stage runs with."""
    config = stage._config(int(stage.url.rpartition(":")[2]), stage.settings.admin[1]) | changes
    path = folder / "gateway.json.yaml"
    path.write_text(json.dumps(config))
    return str(path)


async def gateway(*words: str) -> Result:
    """In a thread of its own: a command has a loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, main, list(words))


async def told(*words: str) -> Any:
    shown = await gateway(*words, "--json")
    assert shown.exit_code == 0, shown.output
    return json.loads(shown.stdout)


@pytest.fixture
async def market(tmp_path: Path) -> Any:
    config = written()
    del config["sign_in"]
    async with shop(tmp_path, stripe={"reconcile_seconds": 0}, **config) as here:
        yield here, file_of(here.stage, tmp_path)


async def test_a_market_is_opened_by_what_the_readme_says(market: tuple[Shop, str]) -> None:
    here, config = market
    ann, bea, eve = here.browser(), here.browser(), here.browser()
    await ann.sign_in()
    await done(here.stage)
    [annas] = here.stage.stand_in.accounts

    made = await told("owners", "invite", "bert", "--config", config)
    assert made["owner"] == "bert"
    here.who.person = {"user_id": "amzn1.account.BEA", "email": "bea@example.com", "name": "Bea"}
    await bea.sign_in()
    code = made["url"].partition("invite=")[2]
    assert (await bea.post("/-/owners/join", invite=code, mark=await bea.mark()))[0] == 200
    await done(here.stage)
    berts = here.stage.stand_in.accounts[-1]
    assert (annas.country, berts.country) == ("US", "DE")

    here.who.person = {"user_id": "amzn1.account.EVE", "email": "eve@example.com", "name": "Eve"}
    await eve.sign_in()
    assert (await eve.get(ACCOUNT))[0] == 404
    [(eves,)] = await here.stage.gateway.records.ask("SELECT id FROM users ORDER BY created DESC LIMIT 1")
    would = await told("owners", "link", "bert", eves, "--dry-run", "--config", config)
    assert (would["owner"], (await eve.get(ACCOUNT))[0]) == ("bert", 404)
    await told("owners", "link", "bert", eves, "--config", config)
    assert (await standing(eve))["account"] == berts.id
    people = await told("owners", "people", "--config", config)
    assert [(one["owner"], one["how"]) for one in people] == [("bert", "invited"), ("bert", "linked")]
    refused = await gateway("owners", "link", "carl", eves, "--config", config)
    assert (refused.exit_code, "acts for bert" in refused.stderr) == (3, True)
    await told("owners", "unlink", eves, "--dry-run", "--config", config)
    assert (await eve.get(ACCOUNT))[0] == 200
    await told("owners", "unlink", eves, "--config", config)
    assert (await eve.get(ACCOUNT))[0] == 404

    here.stage.stand_in.give_what_is_due(annas.id)
    await here.stage.stand_in.settled()
    assert here.stage.gateway.paying.webhooks is not None
    await here.stage.gateway.paying.webhooks.settled()
    accounts = {one["owner"]: one for one in await told("owners", "accounts", "--config", config)}
    assert {name: (one["status"], one["payable"], one["reason"]) for name, one in accounts.items()} == {
        "anna": ("enabled", annas.id, None),
        "bert": ("restricted", None, "restricted"),
        "carl": ("configured", "acct_1abc", None),
    }
    assert len(accounts["bert"]["requirements"]) == 5
    shown = (await gateway("owners", "accounts", "--config", config)).stdout
    assert f"anna  enabled  {annas.id}, checked" in shown
    assert "bert  restricted" in shown
    log = (await gateway("audit", "log", "--of", "bert", "--config", config)).stdout
    for action in ("owner.invite", "owner.join", "owner.link", "owner.unlink", "owner.account.open"):
        assert action in log


async def test_what_cannot_be_is_refused_with_words(market: tuple[Shop, str]) -> None:
    _, config = market
    for words, code, said in (
        (("invite", "eve"), 2, "there is no owner eve"),
        (("link", "eve", "usr_1"), 2, "there is no owner eve"),
        (("link", "bert", "usr_1"), 3, "nobody of this id has signed in"),
        (("unlink", "usr_1"), 3, "acts for nobody"),
    ):
        refused = await gateway("owners", *words, "--config", config)
        assert (refused.exit_code, said in refused.stderr) == (code, True), refused.stderr
    assert (await gateway("owners", "people", "--config", config)).stdout == "there are none\n"


async def test_a_platform_that_may_not_open_accounts_is_told_so(market: tuple[Shop, str]) -> None:
    here, config = market
    right = await gateway("check", "--online", "--config", config)
    assert right.exit_code == 0, right.output
    here.stage.stand_in.enable_connect(False)
    wrong = await gateway("check", "--online", "--config", config)
    assert (wrong.exit_code, "not enabled for Connect" in wrong.output) == (1, True)
