"""The document of the admin listener's calls is held against the addresses, and so is the README."""

import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from gateway.cli.stage import Stage
from gateway.web.admin_api import CALLS, admin_document
from gateway.web.operator_pages import PREFIX
from gateway.web.templates import Templates

README = (Path(__file__).parents[2] / "README.md").read_text()
NO_CALLS = {("GET", "/-/style.css")}


def addresses(stage: Stage) -> set[tuple[str, str]]:
    running: Any = stage.running
    [admin] = [one.app for one in running._runners if any(route.handler for route in one.app.router.routes())][-1:]
    found = {(route.method, route.resource.canonical) for route in admin.router.routes() if route.resource is not None}
    return {(method, path) for method, path in found if method != "HEAD" and not path.startswith(f"{PREFIX}/")}


async def test_the_document_has_every_call_and_no_other(stage: Stage) -> None:
    assert addresses(stage) == CALLS.keys() | NO_CALLS
    token = stage.settings.secrets.operator_token
    assert stage.running is not None
    assert token is not None
    bearer = {"Authorization": f"Bearer {token.reveal()}"}
    async with ClientSession() as session:
        async with session.get(stage.running.admin_address + "/openapi.json", headers=bearer) as answer:
            served = await answer.json()
    told = {(method.upper(), path) for path, methods in served["paths"].items() for method in methods}
    assert told == CALLS.keys()
    assert served["openapi"] == "3.1.0"
    assert len({one["operationId"] for methods in served["paths"].values() for one in methods.values()}) == len(CALLS)


def test_only_addresses_that_there_are_stand_in_it() -> None:
    document = admin_document([("GET", "/now"), ("GET", "/-/style.css")], version="1")
    assert list(document["paths"]) == ["/now"]


def test_the_readme_names_every_call_of_the_pages() -> None:
    section = README.partition("\n### The operators' pages\n")[2].partition("\n### ")[0]
    named = set(re.findall(r"`(GET|POST) (/[^`]*)`", section))
    assert named <= CALLS.keys()
    assert {(method, path) for method, path in CALLS if path.split("/")[1] in SECTIONS} <= named


SECTIONS = ("now", "money", "webhooks", "upstreams", "workers", "payments", "jobs", "notices", "trail", "openapi.json")


async def test_what_there_is_no_call_for_is_told_in_our_words(stage: Stage) -> None:
    token = stage.settings.secrets.operator_token
    assert stage.running is not None
    assert token is not None
    bearer, admin = {"Authorization": f"Bearer {token.reveal()}"}, stage.running.admin_address
    asked = (("GET", "/nothing", 404), ("DELETE", "/now", 405), ("GET", f"{PREFIX}/nothing", 404))
    async with ClientSession() as session:
        for method, path, status in asked:
            async with session.request(method, admin + path, headers=bearer) as answer:
                assert (answer.status, (await answer.json())["charged"]) == (status, False)
                assert answer.headers.get("Allow", "").startswith("GET") == (status == 405)
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        large = {"reason": "x" * 20_000}
        async with session.post(f"{admin}/accounts/acct_{'0' * 32}/freeze", json=large, headers=bearer) as answer:
            assert (answer.status, (await answer.json())["code"]) == (413, "body_too_large")
        for wrong in ({"account": 5}, {"account": "acct_1"}, {"account": f"acct_{'0' * 32}", "dry_run": 0}):
            async with session.post(f"{admin}/payments/cs_test_1/assign", json=wrong, headers=bearer) as answer:
                assert (answer.status, "account" in (await answer.json())["detail"]) == (400, True), wrong
        for body in (b"[" * 15_000, b"{", b"[]", b"\xff"):
            async with session.post(f"{admin}/entries", data=body, headers=bearer) as answer:
                assert (answer.status, (await answer.json())["code"]) == (400, "bad_request")


def test_the_page_of_alerts_shows_what_their_call_tells() -> None:
    alert: dict[str, Any] = {
        "id": "alert_1", "alert": "webhook_signatures", "about": "stripe", "severity": "critical", "what": "12 forged",
        "facts": {}, "opened": "2027-01-31T12:00:00+00:00", "seen": None, "ended": None, "told": 1,
        "acknowledged": None,
    }  # fmt: skip
    page: dict[str, Any] = {
        "here": "alerts", "titles": {"now": "Now", "alerts": "Alerts"}, "prefix": PREFIX, "acts": True, "mark": "m",
        "session": {"name": "ann"}, "notice": "", "problem": "",
    }  # fmt: skip
    muted = {"disputes": "2027-02-01T00:00:00+00:00"}
    text = Templates().render("operator_alerts.html", alerts=[alert], muted=muted, names=["disputes"], **page)
    assert all(word in text for word in ("webhook_signatures", "12 forged", "2027-01-31 12:00:00", "disputes"))


NAMED = "mail to bob@example.com"
HOLDER = f"acct_{'0' * 32}"
ONE = {"ref": "1", "amount": "1.00 usd", "reason": "x"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"/accounts/{HOLDER}/credit", {"ref": "1", "amount": "1.00 usd"}),
        (f"/accounts/{HOLDER}/debit", {"ref": "1", "amount": "1.00 usd"}),
        (f"/accounts/{HOLDER}/freeze", {}),
        (f"/accounts/{HOLDER}/unfreeze", {}),
        (f"/accounts/{HOLDER}/join", {"into": f"acct_{'1' * 32}"}),
        (f"/requests/req_{'0' * 28}/refund", {}),
        ("/entries", {"verb": "credit", "ref": "stripe:1", "account": HOLDER, "amount": "1.00 usd", "kind": "payment"}),
    ],
)
async def test_no_call_takes_a_reason_that_names_somebody(stage: Stage, path: str, body: dict[str, str]) -> None:
    status, told = await posted(stage, path, {**body, "reason": NAMED})
    assert (status, told["code"]) == (400, "bad_request")
    assert "without addresses, tokens and cards" in told["detail"]
    assert await trail_of(stage) == []


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (
            f"/accounts/{HOLDER}/credit",
            {**ONE, "prioritee": -10},
            "prioritee: ",
        ),
        (f"/accounts/{HOLDER}/debit", {**ONE, "priority": 1}, "priority: "),
        (f"/accounts/{HOLDER}/credit", {"amount": "1.00 usd"}, "ref, reason: missing"),
        (f"/accounts/{HOLDER}/freeze", {}, "reason: missing"),
        (f"/accounts/{HOLDER}/freeze", {"reason": "x", "dry_run": True}, "dry_run: "),
        (f"/accounts/{HOLDER}/join", {"reason": "x"}, "into: missing"),
        (f"/requests/req_{'0' * 28}/refund", {"reason": "x", "amount": "1.00 usd"}, "amount: "),
        ("/entries", {"verb": "credit"}, "ref, account, amount, kind, reason: missing"),
        ("/payments/cs_test_1/assign", {"account": HOLDER, "dry-run": True}, "dry-run: "),
        ("/alerts/mute", {"name": "disk_low"}, "hours: missing"),
    ],
)
async def test_a_member_that_is_unknown_or_missing_is_named(
    stage: Stage, path: str, body: dict[str, Any], words: str
) -> None:
    status, told = await posted(stage, path, body)
    assert (status, told["code"], told["detail"].startswith(words)) == (400, "bad_request", True), told
    assert "the members are" in told["detail"]
    assert await trail_of(stage) == []


async def test_a_ref_with_another_amount_is_a_conflict_that_names_both(stage: Stage) -> None:
    body = {"ref": "one", "amount": "5.00 usd", "reason": "x"}
    moves = [(await posted(stage, f"/accounts/{HOLDER}/credit", body))[1]["credited"] for _ in range(2)]
    status, told = await posted(stage, f"/accounts/{HOLDER}/credit", {**body, "amount": "7.00 usd"})
    assert (moves, status, told["code"]) == ([True, False], 409, "ref_taken")
    assert f"5.00 usd for {HOLDER}, not of 7.00 usd" in told["detail"]
    assert (await posted(stage, f"/accounts/{HOLDER}/debit", body))[0] == 409
    assert [one["facts"]["amount"] for one in await trail_of(stage)] == ["5.00 usd"]


async def test_a_balance_is_of_an_account_and_of_what_there_is(stage: Stage) -> None:
    assert stage.running is not None
    asked = {HOLDER: 200, f"{HOLDER}?currency=unit:export": 200, "acct_1": 400, f"{HOLDER}?currency=eur": 400}
    async with ClientSession(headers=bearer_of(stage)) as session:
        for asks, status in asked.items():
            account, _, query = asks.partition("?")
            async with session.get(f"{stage.running.admin_address}/accounts/{account}/balance?{query}") as answer:
                assert (answer.status, "detail" in await answer.json()) == (status, status == 400), asks


async def posted(stage: Stage, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """As an operator; the status and what is told."""
    assert stage.running is not None
    async with (
        ClientSession(headers=bearer_of(stage)) as session,
        session.post(stage.running.admin_address + path, json=body) as answer,
    ):
        told: dict[str, Any] = await answer.json()
        return answer.status, told


async def trail_of(stage: Stage) -> list[dict[str, Any]]:
    """What is on the trail, the newest first."""
    assert stage.running is not None
    async with (
        ClientSession(headers=bearer_of(stage)) as session,
        session.get(f"{stage.running.admin_address}/trail") as answer,
    ):
        told: list[dict[str, Any]] = (await answer.json())["entries"]
        return [one for one in told if one["role"] == "operator"]


def bearer_of(stage: Stage) -> dict[str, str]:
    token = stage.settings.secrets.operator_token
    assert token is not None
    return {"Authorization": f"Bearer {token.reveal()}"}
