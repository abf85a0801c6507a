"""What an answer of ours says, and never says: safe fields on each, generic errors, CORS for who is listed alone."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from gateway.web import pages
from gateway.web.answers import SECURITY_FIELDS
from tests.callers import signed
from tests.conftest import StageMaker
from tests.security.company import AUDITOR, OPERATOR, ROLES, Company, company

OAUTH_TOKEN = "/-/oauth/token"
OURS, THEIRS = "https://app.example", "https://evil.example"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Company]:
    async with company(tmp_path, cors={"origins": {"development": [OURS]}}) as made:
        yield made


async def fields_of(here: Company, method: str, path: str, **more: str) -> tuple[int, dict[str, str], str]:
    url = here.here.stage.url + re.sub(r"\{[^}]*\}", "x", path)
    async with here.session.request(method, url, data=b"{}", headers=more, allow_redirects=False) as answer:
        return answer.status, dict(answer.headers), await answer.text(errors="replace")


async def test_each_answer_of_ours_has_the_fields_that_protect_a_browser(here: Company) -> None:
    for method, path in [*here.addresses(), ("GET", "/-/nothing"), ("GET", "/nowhere")]:
        status, fields, _ = await fields_of(here, method, path)
        assert fields.get("X-Content-Type-Options") == "nosniff", (method, path, status)
        assert fields.get("Referrer-Policy") in ("no-referrer", "same-origin"), (method, path)
        policy = fields.get("Content-Security-Policy", "")
        said = {part.strip() for part in policy.split(";")}
        assert said >= {"default-src 'none'", "frame-ancestors 'none'"}, (method, path)
        assert "unsafe-" not in policy, (method, path)
        assert not {"Server", "X-Powered-By"} & fields.keys(), (method, path)
    assert SECURITY_FIELDS["Cache-Control"] == "no-store"


async def test_no_page_has_a_script_or_a_style_within(here: Company) -> None:
    folder = Path(pages.__file__).parent / "templates"
    inline = re.compile(r"<script(?![^>]*\bsrc=)|<style\b|\son[a-z]+=|\sstyle=|javascript:", re.IGNORECASE)
    assert not [file.name for file in folder.rglob("*.html*") if inline.search(file.read_text())]
    assert inline.search('<p onclick="x()">'), "or this test could not fail"


async def test_errors_are_generic_and_say_no_secret(here: Company) -> None:
    secrets = [OPERATOR, AUDITOR, here.here.stage.webhook_secret, str(here.here.stage.settings.store_path.parent)]
    for role in (*ROLES, "forged"):
        for method, path in here.addresses():
            if role in here.browsers:
                continue
            status, fields, body = await fields_of(here, method, path, **here.fields.get(role, {}))
            assert status < 500, (role, method, path, body)
            if status >= 400 and "json" in fields["Content-Type"]:
                told = json.loads(body)
                if path == OAUTH_TOKEN:
                    assert re.fullmatch(r"[a-z_]+", told["error"]), "as RFC 6749 has it"
                    continue
                assert told["charged"] is False, (method, path, told)
                assert re.fullmatch(r"[a-z_]+", told["code"]), (method, path, told)
            assert not [secret for secret in secrets if secret in body], (role, method, path)
            assert not re.search(r"Traceback|\.py\b", body), (role, method, path)


async def test_a_bug_of_ours_tells_its_caller_an_id_and_nothing_else(here: Company) -> None:
    async def bug(*_: Any) -> web.StreamResponse:
        raise RuntimeError("the password is hunter2")

    here.here.stage.gateway.serve._callers.identify = bug  # type: ignore[method-assign,assignment]
    status, fields, body = await fields_of(here, "GET", "/weather/oslo", Accept="application/json")
    assert (status, json.loads(body)["code"]) == (500, "internal_error")
    assert not re.search("hunter2|RuntimeError", body)
    assert fields["Gateway-Request-Id"] in body


async def test_cors_is_answered_to_listed_origins_alone(here: Company) -> None:
    for origin, allowed in ((OURS, OURS), (THEIRS, None), ("null", None), (OURS + ".evil.example", None)):
        asks = {"Origin": origin, "Access-Control-Request-Method": "GET"}
        for method, path, more in (("OPTIONS", "/-/api/v1/quote", asks), ("GET", "/weather/oslo", {"Origin": origin})):
            _, fields, _ = await fields_of(here, method, path, **more)
            assert fields.get("Access-Control-Allow-Origin") == allowed, (origin, path)
            assert fields.get("Access-Control-Allow-Origin") != "*"


async def test_a_webhook_over_plain_http_is_refused_unless_a_trusted_front_ended_its_tls(
    make_stage: StageMaker, tmp_path: Path
) -> None:
    """Whatever its signature: somebody in between has read it."""
    body = json.dumps({"id": "evt_1", "object": "event", "type": "x.y", "livemode": False, "created": 1,
                       "data": {"object": {"id": "x_1"}}}).encode()  # fmt: skip
    for trusted, told, taken in (
        ([], {}, False),
        ([], {"X-Forwarded-Proto": "https"}, False),
        (["127.0.0.1/32"], {}, True),
        (["127.0.0.1/32"], {"X-Forwarded-Proto": "http"}, False),
        (["127.0.0.1/32"], {"X-Forwarded-Proto": "http", "X-Forwarded-For": "203.0.113.9"}, False),
        (["127.0.0.1/32"], {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}, True),
    ):
        stage = await make_stage(public_url="https://pay.example.com", trusted_proxies=trusted)
        assert isinstance(stage.settings.listen, tuple)
        port = stage.settings.listen[1]
        fields = {"Stripe-Signature": signed(body, stage.webhook_secret), **told}
        async with (
            ClientSession() as session,
            session.post(f"http://127.0.0.1:{port}/-/webhooks/stripe", data=body, headers=fields) as answer,
        ):
            assert (answer.status == 200) is taken, (trusted, told, await answer.text())
            assert taken or (await answer.json())["code"] == "webhook_refused"
