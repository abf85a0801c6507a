"""A caller asks what a request would cost, and what one did cost; so does the operator, who types it."""

from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from gateway.cli.stage import Stage
from gateway.core.money import Money
from tests.callers import Funded, funded
from tests.cli.test_payments import Operator
from tests.conftest import StageMaker
from tests.forms import FORMS, staged

QUOTE, REQUESTS = "/-/api/v1/quote", "/-/api/v1/requests/"
PRICES: dict[str, Any] = {
    "flat": "0.002 usd",
    "free": "free",
    "bounded": {
        "per": {"output_tokens": "0.01 usd", "request_bytes": "0.000001 usd"},
        "bounds": {"output_tokens": "max_tokens"},
        "maximum": "20.00 usd",
    },
    "sliced": {"per": {"seconds": "0.06 usd per minute"}, "slice": "0.50 usd", "maximum": "5.00 usd"},
    "reported": {"base": "0.001 usd", "reported": True, "maximum": "0.10 usd"},
}
ROUTES = [
    {"name": name, "match": f"/{name}/", "upstream": "echo", "strip_prefix": True, "price": price}
    for name, price in PRICES.items()
]


async def quoted(session: ClientSession, stage: Stage, url: str, caller: Funded | None = None, **more: Any) -> Any:
    body = more.pop("body", None)
    headers = caller.headers if caller else {}
    asked = session.post if body is not None else session.get
    async with asked(stage.url + QUOTE, params={"url": url, **more}, headers=headers, data=body) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize("form", FORMS)
async def test_who_has_a_millionth_less_than_quoted_is_refused_and_who_has_it_is_served(
    form: str, tmp_path: Path
) -> None:
    body = b'{"max_tokens": 200}'
    async with staged(form, tmp_path, routes=ROUTES) as stage, ClientSession() as session:
        [probe] = await funded(stage, "1.00 usd")
        for name in PRICES:
            url = f"/{name}/x"
            status, told = await quoted(session, stage, url, probe, body=body)
            assert (status, told["route"], told["method"]) == (200, name, "POST")
            held = Money.parse(told["held"])
            if name == "free":
                assert told["free"]
                continue
            [poor] = await funded(stage, str(Money(held.micros - 1, "usd")))
            [able] = await funded(stage, str(held))
            for caller, expected in ((poor, 402), (able, 200)):
                async with session.post(stage.url + url, data=body, headers=caller.headers) as answer:
                    assert answer.status == expected, (name, told)
                    assert expected == 200 or (await answer.json())["price"]["amount"] == held.number
            covers = [(await quoted(session, stage, url, one, body=body))[1]["caller"]["covers_it"] for one in (poor,)]
            assert covers == [False]


async def test_a_quote_asks_no_upstream_holds_nothing_and_counts_nowhere(stage: Stage) -> None:
    [ann] = await funded(stage, "5.00 usd")
    async with ClientSession() as session:
        for caller in (None, ann):
            for _ in range(3):
                status, told = await quoted(session, stage, "/weather/oslo", caller)
                assert status == 200
        assert (
            told["says"] == "GET /weather/oslo costs 0.002 usd if its answer is charged (2xx, 3xx; cut off: free), "
            "else nothing."
        )
        assert told["limits"] == [
            {"name": "weather", "text": "100/minute", "policy": '"weather";q=100;w=60', "per": "caller",
             "callers": "all"}
        ]  # fmt: skip
        assert told["caller"] == {"account": ann.account, "balance": "5.00 usd", "covers_it": True, "frozen": False}
        assert [upstream.calls for upstream in stage.upstreams] == [0, 0, 0]
        async with session.get(stage.url + "/weather/oslo", headers=ann.headers) as answer:
            assert '"weather";r=99' in answer.headers["RateLimit"]
            assert answer.headers["Gateway-Balance"] == "4.998 usd"


async def test_a_stranger_is_quoted_without_a_token_being_made_and_a_bad_token_is_told(stage: Stage) -> None:
    async with ClientSession() as session:
        status, told = await quoted(session, stage, "/weather/oslo")
        assert (status, told["caller"], told["at_most"]) == (200, None, "0.002 usd")
        status, told = await quoted(session, stage, f"{stage.url}/weather/oslo?x=1", method="PATCH")
        assert (told["method"], told["target"]) == ("PATCH", "/weather/oslo?x=1")
        bad = Funded("fb_test_no", "")
        for caller, url, code in (
            (bad, "/weather/oslo", "unknown_token"), (None, "/nowhere", "no_route"), (None, "", "bad_request"),
            (None, "https://evil.example/weather/", "bad_target"),
        ):  # fmt: skip
            status, told = await quoted(session, stage, url, caller)
            assert (status >= 400, told["code"], told["charged"]) == (True, code, False)


async def test_nobodys_body_is_looked_at_who_never_paid(make_stage: StageMaker) -> None:
    stage = await make_stage(routes=ROUTES)
    fresh = stage.gateway.identity.callers.fresh()
    assert fresh.fresh is not None
    [ann] = await funded(stage, "1.00 usd")
    async with ClientSession() as session:
        for caller, most in (
            (None, "20.00 usd"),
            (Funded(fresh.fresh.reveal(), ""), "20.00 usd"),
            (ann, "0.050017 usd"),
        ):
            _, told = await quoted(session, stage, "/bounded/x", caller, body=b'{"max_tokens": 5}')
            assert told["at_most"] == most


async def test_quotes_are_limited(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.core.limits import Rate
    from gateway.web import quotes

    monkeypatch.setattr(quotes, "_QUOTES", Rate(2, 60, "2/minute"))
    [ann] = await funded(stage, "1.00 usd")
    async with ClientSession() as session:
        answers = [(await quoted(session, stage, "/status/x"))[0] for _ in range(3)]
        assert answers == [200, 200, 429]
        assert (await quoted(session, stage, "/status/x", ann))[0] == 200


async def explained(session: ClientSession, stage: Stage, id: str, caller: Funded | None) -> Any:
    headers = caller.headers if caller else {}
    async with session.get(f"{stage.url}{REQUESTS}{id}", headers=headers) as answer:
        return answer.status, await answer.json()


async def test_a_request_is_explained_to_its_caller_and_to_nobody_else(stage: Stage) -> None:
    ann, bob = await funded(stage, "5.00 usd", count=2)
    async with ClientSession() as session:
        async with session.get(f"{stage.url}/weather/oslo", headers=ann.headers) as answer:
            id = answer.headers["Gateway-Request-Id"]
        await stage.gateway.ledger.durable()
        status, told = await explained(session, stage, id, ann)
        assert status == 200
        assert told | {"at": "", "steps": []} == {
            "request": id, "at": "", "account": ann.account, "route": "weather", "rule": "0.002 usd",
            "cost": "0.002 usd", "held_at_most": "0.002 usd", "state": "charged", "outcome": "answered", "steps": [],
            "says": "It cost 0.002 usd by the rule 0.002 usd: 0.002 usd when its answer began.",
            "limits_today": told["limits_today"],
        }  # fmt: skip
        others = [await explained(session, stage, id, other) for other in (bob, None)]
        others += [await explained(session, stage, text, ann) for text in ("req_" + "0" * 28, "req_x", "x%20y")]
        assert {(status, told["code"]) for status, told in others} == {(404, "unknown_request")}
        assert len({told["detail"] for _, told in others}) == 1


async def test_a_request_of_before_two_wallets_were_joined_is_explained_to_both(stage: Stage) -> None:
    ann, bob = await funded(stage, "5.00 usd", count=2)
    async with ClientSession() as session:
        async with session.get(f"{stage.url}/weather/oslo", headers=ann.headers) as answer:
            id = answer.headers["Gateway-Request-Id"]
        await stage.gateway.ledger.durable()
        assert await stage.gateway.identity.aliases.add(ann.account, bob.account, "for a test") == "joined"
        for caller in (ann, bob):
            assert (await explained(session, stage, id, caller))[0] == 200


async def test_an_operator_is_told_the_same_by_a_command_and_before_a_reload(stage: Stage, tmp_path: Path) -> None:
    [ann] = await funded(stage, "5.00 usd")
    operator = Operator(stage, tmp_path)
    async with ClientSession() as session:
        async with session.get(f"{stage.url}/weather/oslo", headers=ann.headers) as answer:
            id = answer.headers["Gateway-Request-Id"]
        await stage.gateway.ledger.durable()
        told = await operator.asks("explain", id)
        _, by_the_api = await explained(session, stage, id, ann)
        _, quote = await quoted(session, stage, "/weather/oslo", ann)
    assert told == by_the_api | {"owner": "operator", "token": told["token"]}
    assert "It cost 0.002 usd" in await operator.types("explain", id)
    assert await operator.asks("explain", "GET", "/weather/oslo", "--token", ann.token) == quote
    assert (await operator.asks("explain", "GET", f"{stage.url}/weather/oslo"))["caller"] is None
    words = await operator.types("explain", "GET", "/weather/oslo", "--token", ann.token)
    assert f"{ann.account} has 4.998 usd, which covers it" in words
    assert "limit weather: 100/minute for each caller" in words
    assert "404 no_route" in await operator.types("explain", "GET", "/nowhere", code=1)
    assert "not one of this gateway's" in await operator.types("explain", "GET", "/echo/", "--token", "no", code=1)
    assert "the books hold nothing" in await operator.types("explain", "req_" + "0" * 28, code=1)
    assert "write a method and an address" in await operator.types("explain", "GET", code=2)
    config = tmp_path / "gateway.yaml"
    config.write_text(config.read_text().replace("0.002 usd", "0.007 usd"))
    assert "costs 0.007 usd" in await operator.types("explain", "GET", "/weather/oslo")
    again = await operator.asks("explain", id)
    assert (again["rule"], again["held_at_most"]) == ("0.002 usd", None), "as it was quoted then"
