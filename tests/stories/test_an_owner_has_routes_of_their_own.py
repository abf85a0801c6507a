"""An owner writes routes of their own: served at once, within the operator's bounds, and by nobody else's hand."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from tests.callers import audited, funded
from tests.forms import FORMS
from tests.stories.test_an_owner_is_onboarded import ANN, scrubbed
from tests.stories.test_signing_in import Browser, Shop, shop

ROUTES = "/-/api/v1/owners/anna/routes"
BOUNDS = {"hosts": ["127.0.0.1"], "price_min": "0.001 usd", "price_max": "0.10 usd", "private_addresses": True}
EMPTY = '"e3b0c44298fc1c149afbf4c8996fb924"'


@asynccontextmanager
async def market(folder: Path, *, form: str = "relay", **bounds: Any) -> AsyncIterator[Shop]:
    """Ann acts for anna, who may have routes of her own; bert may not."""
    owners = {"anna": {"signs_in": [ANN], "routes": {**BOUNDS, **bounds}}, "bert": {}}
    more: dict[str, Any] = {"routes_folder": str(folder / "routes.d"), "stripe": {"reconcile_seconds": 0}}
    async with shop(folder, form=form, owners=owners, **more) as here:
        yield here


def written(here: Shop, *, price: str = "0.02 usd", **route: Any) -> str:
    """One route to the weather."""
    one = {"name": "anna-oslo", "match": "/anna/oslo/", "upstream": "anna-api", "strip_prefix": True, "price": price}
    return json.dumps({"upstreams": {"anna-api": {"url": here.stage.upstreams[0].url}}, "routes": [{**one, **route}]})


async def put(browser: Browser, text: str, *, of: str | None = None, query: str = "", path: str = ROUTES) -> Any:
    headers = {"Content-Type": "application/yaml", **({"If-Match": of} if of else {})}
    url = browser.stage.url + path + query
    async with browser.session.put(url, data=text.encode(), headers=headers) as answer:
        return answer.status, await answer.json(content_type=None), answer.headers.get("ETag")


async def shown(browser: Browser) -> tuple[int, str, str | None]:
    async with browser.session.get(browser.stage.url + ROUTES) as answer:
        return answer.status, await answer.text(), answer.headers.get("ETag")


@pytest.mark.parametrize("form", FORMS)
async def test_what_an_owner_writes_is_sold_at_once_and_is_theirs(form: str, tmp_path: Path) -> None:
    async with market(tmp_path, form=form) as here:
        ann = here.browser()
        await ann.sign_in()
        assert await shown(ann) == (200, "", EMPTY)
        text = written(here)
        status, told, tag = await put(ann, text, query="?dry_run=1")
        assert (status, told["done"], tag) == (200, False, None)
        assert told["diff"].endswith(f"+{text}\n")
        assert told["routes"] == {"added": ["anna-oslo"], "changed": [], "removed": []}
        assert await shown(ann) == (200, "", EMPTY)
        status, told, tag = await put(ann, text, of=EMPTY)
        assert (status, told["done"], told["routes"]["added"]) == (200, True, ["anna-oslo"])
        assert await shown(ann) == (200, text, tag)
        [caller] = await funded(here.stage, "1.00 usd")
        async with ann.session.get(f"{here.stage.url}/anna/oslo/x", headers=caller.headers) as answer:
            assert (answer.status, answer.headers["Gateway-Balance"]) == (200, "0.98 usd")
        status, told, tag = await put(ann, written(here, price="0.03 usd"), of=tag)
        assert told["routes"]["changed"] == ["anna-oslo"]
        async with ann.session.get(f"{here.stage.url}/anna/oslo/x", headers=caller.headers) as answer:
            assert answer.headers["Gateway-Balance"] == "0.95 usd"
        acts = await here.stage.gateway.records.trail.steps_before(2**62, action="owner.routes", object="anna", count=9)
        assert [step.act.facts["after"] for step in acts] == [str(tag).strip('"'), acts[1].act.facts["after"]]
        assert acts[0].act.facts["before"] == acts[1].act.facts["after"]
        for text, what in ((written(here, price="0.04 usd"), "changed"), ("{}", "removed")):
            _, told, _ = await put(ann, text, query="?dry_run=1")
            would: dict[str, list[str]] = {"added": [], "changed": [], "removed": []} | {what: ["anna-oslo"]}
            assert (told["done"], told["routes"]) == (False, would)
        status, told, _ = await put(ann, "{}", of=tag)
        assert told["routes"]["removed"] == ["anna-oslo"]
        async with ann.session.get(f"{here.stage.url}/anna/oslo/x", headers=caller.headers) as answer:
            assert answer.status == 404
        audited(here.stage)


async def test_a_change_says_of_what_it_is_one_and_of_two_the_second_is_told(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        ann = here.browser()
        await ann.sign_in()
        text = written(here)
        status, told, _ = await put(ann, text)
        assert (status, told["code"]) == (428, "edit_blind")
        status, told, _ = await put(ann, text, of='"' + "0" * 32 + '"')
        assert (status, told["code"]) == (412, "edit_conflict")
        for odd in ("*", "W/" + EMPTY, "x"):
            assert (await put(ann, text, of=odd))[0] == 400
        found = await asyncio.gather(*(put(ann, written(here, price=f"0.0{n} usd"), of=EMPTY) for n in range(1, 6)))
        assert sorted(status for status, _, _ in found) == [200, 412, 412, 412, 412]
        [tag] = [tag for status, _, tag in found if status == 200]
        assert (await shown(ann))[2] == tag
        status, told, _ = await put(ann, (await shown(ann))[1], of=tag)
        assert (status, told["done"], told["diff"]) == (200, False, ""), "the same again is no change"


@contextmanager
def pointing_inside() -> Iterator[None]:
    """Whoever answers for the name lets it mean this machine."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]
    with patch("socket.getaddrinfo", lambda host, port, *rest, **named: [(*found[0][:4], ("127.0.0.1", port))]):
        yield


OUT_OF_BOUNDS: dict[str, tuple[dict[str, Any], str]] = {
    "price": ({"price": "0.11 usd"}, "0.10 usd at most"),
    "method": ({"methods": {"POST": "5.00 usd"}}, "0.10 usd at most"),
    "free": ({"price": "free"}, "0.001 usd at least"),
    "metered": ({"price": {"per": {"seconds": "0.1 usd"}, "maximum": "1.00 usd"}}, "0.10 usd at most"),
    "credits": ({"price": "1 unit:export"}, "0.10 usd at most"),
    "path": ({"match": "/annals/"}, "begin with `/anna/`"),
    "upstream": ({"upstream": "echo"}, "one of the upstreams in this file"),
    "name": ({"name": "weather"}, "begin with `anna-`"),
    "owner": ({"owner": "operator"}, "does not say `owner`"),
    "commission": ({"commission_bps": 0}, "does not say `commission_bps`"),
    "key": ({"context_key": "x" * 40}, "does not say `context_key`"),
    "headers": ({"request_headers": {"set": {"Host": "x"}}}, "does not say `request_headers`"),
    "variable": ({"price": "${HOME}"}, "line 1"),
}
UPSTREAMS = {
    "another host": ({"url": "https://evil.example"}, "does not allow this host"),
    "a socket": ({"url": "unix:/run/docker.sock"}, "not a socket"),
    "one of several": ({"servers": ["http://127.0.0.1:1", "http://10.0.0.1"]}, "does not allow this host"),
    "a credential": ({"url": "http://127.0.0.1", "credential": {"basic": {}}}, "does not say `credential`"),
    "a file": ({"url": "http://127.0.0.1", "tls": {"ca": "/etc/passwd"}}, "does not say `tls`"),
}


async def test_nothing_is_served_that_is_out_of_the_operators_bounds(tmp_path: Path) -> None:
    async with market(tmp_path, routes_max=2) as here:
        ann = here.browser()
        await ann.sign_in()
        tries = [(written(here, **route), words) for route, words in OUT_OF_BOUNDS.values()]
        for upstream, words in UPSTREAMS.values():
            tries.append((json.dumps({**json.loads(written(here)), "upstreams": {"anna-api": upstream}}), words))
        named = {**json.loads(written(here)), "upstreams": {"weather": {"url": "http://127.0.0.1"}}}
        tries.append((json.dumps(named), "begin with `anna-`"))
        many = json.loads(written(here))
        many["routes"] = [{**many["routes"][0], "name": f"anna-{n}", "match": f"/anna/{n}"} for n in range(3)]
        tries.append((json.dumps(many), "you may have 2 routes"))
        tries += [("stripe: {}", "there is no setting `stripe` here"), ("- a", "must hold"), ("a: [", "not YAML")]
        for text, words in tries:
            status, told, _ = await put(ann, text, of=EMPTY)
            if status == 429:
                break
            assert (status, told["code"]) == (422, "routes_refused"), (text, told)
            assert any(words in one for one in told["mistakes"]), (text, told["mistakes"])
            assert str(tmp_path) not in json.dumps(told), "where the operator keeps what is nobody's business"
        assert await shown(ann) == (200, "", EMPTY)
        assert not (tmp_path / "routes.d/anna.yaml").exists()


async def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    upstream = {"url": "https://evil.example", "credential": {"basic": {}}}
    wrong = {"owner": "operator", "name": "weather", "match": "/annals/", "price": "5.00 usd", "upstream": "anna-api"}
    later = {"name": "anna-b", "match": "/elsewhere/", "price": "free", "upstream": "echo", "strip_prefix": "yes"}
    async with market(tmp_path) as here:
        ann = here.browser()
        await ann.sign_in()
        text = json.dumps({"stripe": {}, "upstreams": {"anna-api": upstream}, "routes": [wrong, later]})
        status, told, _ = await put(ann, text, query="?dry_run=1")
    assert status == 422
    for words in (
        "there is no setting `stripe`", "does not say `credential`", "does not allow this host",
        "does not say `owner`", "names of yours begin with `anna-`", "paths of yours begin with `/anna/`",
        "0.10 usd at most", "0.001 usd at least", "one of the upstreams in this file",
    ):  # fmt: skip
        assert sum(words in one for one in told["mistakes"]) >= 1, (words, told["mistakes"])
    assert sum("paths of yours" in one for one in told["mistakes"]) == 2
    assert sum("one of the upstreams in this file" in one for one in told["mistakes"]) == 1, "anna-api is there"
    assert any("strip_prefix" in one or "true or false" in one for one in told["mistakes"]), told["mistakes"]


async def test_a_name_that_leads_inside_is_not_connected_to(tmp_path: Path) -> None:
    for form in FORMS:
        (tmp_path / form).mkdir()
        async with market(
            tmp_path / form, form=form, hosts=["localtest.example", "*.nip.example"], private_addresses=False
        ) as here:
            ann = here.browser()
            await ann.sign_in()
            port = here.stage.upstreams[0].url.rpartition(":")[2]
            config = json.loads(written(here)) | {
                "upstreams": {"anna-api": {"url": f"http://localtest.example:{port}"}}
            }
            status, told, _ = await put(ann, json.dumps(config), of=EMPTY)
            assert status == 200, told
            [caller] = await funded(here.stage, "1.00 usd")
            with pointing_inside():
                async with ann.session.get(f"{here.stage.url}/anna/oslo/x", headers=caller.headers) as answer:
                    assert (answer.status, (await answer.json())["code"]) == (502, "upstream_failed")
            assert (await here.stage.gateway.ledger.balance(caller.account, "usd")).available.micros == 1_000_000


async def test_anothers_routes_are_not_there_and_a_token_is_not_enough(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        ann, bea = here.browser(), here.browser()
        await ann.sign_in()
        here.who.person = {"user_id": "amzn1.account.BEA", "email": "bea@example.com", "name": "Bea"}
        await bea.sign_in()
        for path in ("/-/api/v1/owners/bert/routes", "/-/api/v1/owners/nobody/routes"):
            status, told, _ = await put(ann, written(here), of=EMPTY, path=path)
            assert (status, told["code"]) == (404, "no_route")
        unknown, otherwise, _ = await bea.get("/-/nowhere")
        status, said, _ = await bea.get(ROUTES)
        assert (status, scrubbed(said)) == (unknown, scrubbed(otherwise))
        assert (await here.browser().api(ROUTES))[0] == 401
        async with ann.session.post(f"{here.stage.url}/-/api/v1/tokens", json={"name": "laptop"}) as answer:
            token = (await answer.json())["access_token"]
        stranger, headers = here.browser(), {"Authorization": f"Bearer {token}"}
        async with stranger.session.get(here.stage.url + ROUTES, headers=headers) as answer:
            assert (answer.status, (await answer.json())["code"]) == (403, "token_out_of_scope")
        far = {"If-Match": EMPTY, "Sec-Fetch-Site": "cross-site", "Content-Type": "application/yaml"}
        async with ann.session.put(here.stage.url + ROUTES, data=written(here), headers=far) as answer:
            assert answer.status == 403
        assert (await put(ann, "x" * 70_000, of=EMPTY))[0] == 413
