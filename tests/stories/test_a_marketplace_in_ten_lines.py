"""The README's ten lines are a marketplace, and the route that it shows is one that an owner may write."""

import json
from pathlib import Path
from typing import Any

import yaml

from tests.callers import funded
from tests.stories.test_an_owner_has_routes_of_their_own import EMPTY, put
from tests.stories.test_an_owner_is_onboarded import done
from tests.stories.test_signing_in import shop
from tests.stories.test_the_readme import blocks, section


def written() -> tuple[dict[str, Any], str]:
    """The operator's lines, and an owner's."""
    text = section("### A marketplace in ten lines", "### Owners, and what the platform keeps")
    operators, owners = blocks(text, "yaml")
    assert len(operators.splitlines()) <= 11, "ten lines, and a comment more"
    return yaml.safe_load(operators.replace("ANNA", "ANN")), owners


async def test_ten_lines_make_a_marketplace(tmp_path: Path) -> None:
    config, owners = written()
    del config["sign_in"]
    config["routes_folder"] = str(tmp_path / "routes.d")
    bounds = config["owners"]["anna"]["routes"]
    async with shop(tmp_path, stripe={"reconcile_seconds": 0}, **config) as here:
        ann = here.browser()
        await ann.sign_in()
        await done(here.stage)
        assert len(here.stage.stand_in.accounts) == 1
        status, told, _ = await put(ann, owners, of=EMPTY)
        assert (status, told["routes"]["added"]) == (200, ["anna-forecast"]), told
        # Where nobody answers for her name, the upstream of the demo stands in, as the operator may allow it.
        bounds |= {"hosts": ["127.0.0.1"], "private_addresses": True}
        (tmp_path / "routes.d/anna.yaml").unlink()
    (tmp_path / "again").mkdir()
    async with shop(tmp_path / "again", stripe={"reconcile_seconds": 0}, **config) as here:
        ann = here.browser()
        await ann.sign_in()
        text = json.dumps(yaml.safe_load(owners.replace("https://api.anna.example", here.stage.upstreams[0].url)))
        status, told, _ = await put(ann, text, of=EMPTY)
        assert status == 200, told
        [caller] = await funded(here.stage, "1.00 usd")
        async with ann.session.get(f"{here.stage.url}/anna/forecast/oslo", headers=caller.headers) as answer:
            assert (answer.status, answer.headers["Gateway-Balance"]) == (200, "0.98 usd")
        await here.stage.gateway.ledger.durable()
        _, page, _ = await ann.get("/-/owners")
        assert "anna-forecast" in page
        assert "0.016 USD" in page, "what is hers of it"
