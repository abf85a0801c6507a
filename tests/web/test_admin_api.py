"""The document of the admin listener's calls is held against the addresses, and so is the README."""

import re
from pathlib import Path
from typing import Any

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
