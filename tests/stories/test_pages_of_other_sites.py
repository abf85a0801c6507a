"""Which sites' pages may call from a browser: those that are listed, to routes and to our own API, errors too."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from gateway.cli.stage import Stage
from tests.callers import funded
from tests.forms import FORMS, staged

SITE, OTHER = "https://app.example.com", "https://evil.example"
NEAR = [
    "https://app.example.com.evil.example", "http://app.example.com", "https://app.example.com:8443", "null",
    "https://APP.example.com", "https://evil.example/https://app.example.com", "*", "",
]  # fmt: skip
both = pytest.mark.parametrize("form", FORMS)


@pytest.fixture
async def upstream() -> AsyncIterator[str]:
    """It has ideas of its own of who may."""

    async def answer(request: web.Request) -> web.Response:
        said = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "PATCH", "Vary": "Accept"}
        said["X-Saw"] = f"{request.method} {request.headers.get('Authorization')}"
        return web.Response(status=500 if "fail" in request.path else 200, headers=said)

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def shop(upstream: str, **cors: Any) -> dict[str, Any]:
    paid = {"match": "/paid/", "upstream": "toy", "price": "0.01 usd", "methods": {"POST": "0.02 usd"}}
    theirs = {"match": "/theirs/", "upstream": "toy", "price": "0.01 usd", "cors": "upstream", "limit": "4/day"}
    return {
        "upstreams": {"toy": {"url": upstream}},
        "routes": [{"name": "paid", **paid}, {"name": "theirs", **theirs}],
        "cors": {"origins": {"development": [SITE], "production": ["https://elsewhere.example"]}, **cors},
    }


def preflight(origin: str, method: str = "POST") -> dict[str, str]:
    asks = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "authorization"}
    return {"Origin": origin, **asks}


def allowed(fields: Any) -> list[str]:
    return [value for name, value in fields.items() if name.lower() == "access-control-allow-origin"]


def varies(fields: Any) -> set[str]:
    lines = [value for name, value in fields.items() if name.lower() == "vary"]
    return {part.strip() for line in lines for part in line.split(",")}


@both
async def test_a_listed_site_is_told_with_every_answer_and_no_other_is(
    form: str, tmp_path: Path, upstream: str
) -> None:
    async with staged(form, tmp_path, **shop(upstream)) as stage, ClientSession() as session:
        [ann] = await funded(stage, "5.00 usd")
        asked = [
            ("GET", "/paid/x", ann.headers, 200), ("POST", "/paid/x", ann.headers, 200),
            ("GET", "/paid/fail", ann.headers, 500), ("GET", "/paid/x", {}, 402),
            ("GET", "/paid/x", {"Authorization": "Bearer fb_test_wrong"}, 401), ("GET", "/nowhere", ann.headers, 404),
            ("GET", "/-/me", ann.headers, 200), ("GET", "/-/me", {}, 401),
            ("GET", "/-/api/v1/tokens", ann.headers, 200), ("GET", "/-/api/v1/tokens/none", ann.headers, 404),
        ]  # fmt: skip
        for method, path, headers, status in asked:
            url = stage.url + path
            async with session.request(method, url, headers={**headers, "Origin": SITE}) as answer:
                found = method, path, answer.status
                assert found == (method, path, status)
                assert allowed(answer.headers) == [SITE], found
                assert "Origin" in varies(answer.headers)
                assert "Access-Control-Allow-Credentials" not in answer.headers
                assert "Gateway-Cost" in answer.headers["Access-Control-Expose-Headers"]
                assert "Access-Control-Allow-Methods" not in answer.headers, "the upstream's is not passed on"
            for origin in (OTHER, "https://elsewhere.example", *NEAR):
                async with session.request(method, url, headers={**headers, "Origin": origin}) as answer:
                    assert allowed(answer.headers) == [], (path, origin)
                    assert "Origin" in varies(answer.headers)
            async with session.request(method, url, headers=headers) as answer:
                assert allowed(answer.headers) == []
                assert "Origin" in varies(answer.headers), "or a cache would give it to the next site"


@both
async def test_a_preflight_costs_nothing_and_asks_nobody_who_they_are(form: str, tmp_path: Path, upstream: str) -> None:
    async with staged(form, tmp_path, **shop(upstream)) as stage, ClientSession() as session:
        [ann] = await funded(stage, "5.00 usd")
        for path in ("/paid/x", "/-/api/v1/tokens", "/-/me", "/-/rotate-token"):
            for headers in ({}, ann.headers):
                async with session.options(stage.url + path, headers={**preflight(SITE), **headers}) as answer:
                    assert (answer.status, allowed(answer.headers)) == (204, [SITE]), path
                    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
                    assert "Idempotency-Key" in answer.headers["Access-Control-Allow-Headers"]
                    assert answer.headers["Access-Control-Max-Age"] == "600"
                    assert "X-Saw" not in answer.headers, "the upstream is not asked"
            for origin in (OTHER, *NEAR):
                async with session.options(stage.url + path, headers=preflight(origin)) as answer:
                    assert (answer.status, allowed(answer.headers)) == (403, []), (path, origin)
                    assert (await answer.json())["code"] == "origin_refused"
        balance = await stage.gateway.ledger.balance(ann.account, "usd")
        assert (balance.available.micros, balance.held.micros) == (5_000_000, 0)


@both
async def test_what_only_looks_like_a_preflight_is_a_request_like_any_other(
    form: str, tmp_path: Path, upstream: str
) -> None:
    async with staged(form, tmp_path, **shop(upstream)) as stage, ClientSession() as session:
        for path in ("/paid/x", "/theirs/x"):
            for headers, body in (
                ({"Origin": SITE}, None), ({"Access-Control-Request-Method": "POST"}, None), (preflight(SITE), b"work"),
            ):  # fmt: skip
                async with session.options(stage.url + path, headers=headers, data=body) as answer:
                    assert answer.status == 402, (path, headers)
            async with session.get(stage.url + path, headers=preflight(SITE)) as answer:
                assert answer.status == 402


@both
async def test_a_route_may_leave_it_to_its_upstream(form: str, tmp_path: Path, upstream: str) -> None:
    async with staged(form, tmp_path, **shop(upstream)) as stage, ClientSession() as session:
        [ann] = await funded(stage, "5.00 usd")
        async with session.get(f"{stage.url}/theirs/x", headers={**ann.headers, "Origin": OTHER}) as answer:
            assert (answer.headers["Access-Control-Allow-Origin"], varies(answer.headers)) == ("*", {"Accept"})
            assert answer.headers["Gateway-Cost"] == "0.01 usd"
        for status in (200, 200, 200, 200, 429):
            async with session.options(f"{stage.url}/theirs/x", headers={**preflight(OTHER), **ann.headers}) as answer:
                assert answer.status == status, "an address may ask so often"
                assert answer.headers.get("X-Saw", "OPTIONS None") == "OPTIONS None"
                assert "Gateway-Cost" not in answer.headers
        balance = await stage.gateway.ledger.balance(ann.account, "usd")
        assert balance.available.micros == 4_990_000


async def calls(stage: Stage, session: ClientSession, path: str, headers: dict[str, str]) -> int:
    async with session.post(stage.url + path, headers=headers, json={"name": "x"}) as answer:
        return answer.status


async def test_a_listed_site_may_change_what_is_there_for_programs_and_no_page(tmp_path: Path, upstream: str) -> None:
    more = shop(upstream, credentials=True, headers=["X-Mine"], exposed=["X-Theirs"], max_age="1h")
    async with staged("relay", tmp_path, **more) as stage, ClientSession() as session:
        [ann] = await funded(stage, "5.00 usd")
        cross = {**ann.headers, "Sec-Fetch-Site": "cross-site"}
        assert await calls(stage, session, "/-/api/v1/tokens", {**cross, "Origin": SITE}) == 201
        assert await calls(stage, session, "/-/api/v1/tokens", {**cross, "Origin": OTHER}) == 403
        assert await calls(stage, session, "/-/wallet/tokens", {**cross, "Origin": SITE}) == 403
        async with session.options(f"{stage.url}/paid/x", headers=preflight(SITE)) as answer:
            assert answer.headers["Access-Control-Allow-Credentials"] == "true"
            assert answer.headers["Access-Control-Max-Age"] == "3600"
            assert "X-Mine" in answer.headers["Access-Control-Allow-Headers"]
        async with session.get(f"{stage.url}/-/wallet", headers={**ann.headers, "Origin": SITE}) as answer:
            assert allowed(answer.headers) == []
        async with session.get(f"{stage.url}/.well-known/pricing.json", headers={"Origin": SITE}) as answer:
            assert allowed(answer.headers) == ["*"], "prices are for everybody"


async def test_one_site_never_gets_the_kept_answer_of_another(tmp_path: Path, upstream: str) -> None:
    more = shop(upstream)
    more["cors"]["origins"]["development"] = [SITE, "https://second.example"]
    async with staged("relay", tmp_path, **more) as stage, ClientSession() as session:
        [ann] = await funded(stage, "5.00 usd")
        for origin, expected in ((SITE, [SITE]), ("https://second.example", ["https://second.example"]), (OTHER, [])):
            headers = {**ann.headers, "Origin": origin, "Idempotency-Key": "once"}
            async with session.post(f"{stage.url}/paid/x", headers=headers) as answer:
                assert (answer.status, allowed(answer.headers)) == (200, expected)


async def test_without_the_setting_nothing_is_changed(tmp_path: Path, upstream: str) -> None:
    more = shop(upstream)
    more["cors"] = None
    more = {name: value for name, value in more.items() if value is not None}
    async with staged("relay", tmp_path, **more) as stage, ClientSession() as session:
        [ann] = await funded(stage, "5.00 usd")
        async with session.get(f"{stage.url}/paid/x", headers={**ann.headers, "Origin": OTHER}) as answer:
            assert (answer.headers["Access-Control-Allow-Origin"], varies(answer.headers)) == ("*", {"Accept"})
        async with session.options(f"{stage.url}/paid/x", headers=preflight(OTHER)) as answer:
            assert answer.status == 402
