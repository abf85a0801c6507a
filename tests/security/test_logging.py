"""What is logged and what is not: on a gateway that lived, and the policy as it is written against the code."""

import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.adapters.logs.policy import NEVER, OWN_LINE, REQUEST_LINE
from gateway.core.redaction import clean, redacted
from gateway.settings.plain import secrets_in
from tests.security.company import Company, company
from tests.security.test_at_rest import lived
from tests.security.test_checklist import SECURITY
from tests.shipped.test_observed import table


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Company]:
    async with company(tmp_path, idempotency={}) as made:
        yield made


async def test_a_log_has_ids_and_no_name_address_token_or_secret(here: Company) -> None:
    words = await lived(here)
    stage = here.here.stage
    async with here.session.get(f"{stage.url}/weather/ann@example.com?token=abc&email=ann@example.com") as answer:
        assert answer.status == 402
    forged = {"Stripe-Signature": f"t=1,v1={'0' * 64}"}
    async with here.session.post(f"{stage.url}/-/webhooks/stripe", data=b"bea@example.com", headers=forged) as answer:
        assert answer.status == 400
    stage.gateway.report("somebody wrote ann@example.com", token=here.fields["holder"]["Authorization"])
    assert stage.settings.log.file is not None
    events = stage.settings.log.file.read_text()
    assert "[e-mail]" in events, "or this test could not fail"
    assert not [word for word in words if word in events]
    assert "email=" not in events


async def test_a_request_to_an_address_of_ours_has_a_line_with_its_pattern_and_nothing_of_what_was_in_it(
    here: Company,
) -> None:
    stage, token = here.here.stage, f"{secrets.randbelow(10**12):012d}"
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01", **here.fields["holder"]}
    async with here.session.get(f"{stage.url}/-/api/v1/requests/req_{token}?q={token}", headers=headers) as answer:
        assert answer.status == 404
        id = answer.headers["Gateway-Request-Id"]
    async with here.session.get(f"{stage.url}/-/me", headers=headers) as answer:
        assert (answer.status, answer.headers["Gateway-Request-Id"][:4]) == (200, "req_")
    host, port = stage.settings.admin
    admin = f"http://{host}:{port}"
    for path, fields, status in (
        ("/livez", {}, 200), ("/metrics", {}, 200), ("/alerts", {}, 401),
        (f"/alerts?x={token}", here.fields["operator"], 200), (f"/no/{token}", here.fields["operator"], 404),
    ):  # fmt: skip
        async with here.session.get(admin + path, headers=fields) as answer:
            assert (answer.status, answer.headers["Gateway-Request-Id"][:4]) == (status, "req_")
    stage.gateway.request_log.close()
    assert stage.settings.log.file is not None
    text = stage.settings.log.file.read_text()
    assert token not in text
    lines = [json.loads(line) for line in text.splitlines()]
    [one] = [line for line in lines if line.get("request_id") == id]
    assert list(one) == list(OWN_LINE)
    assert (one["event"], one["status"], one["trace_id"]) == ("own_request", 404, trace)
    own = [(line["path"], line["status"]) for line in lines if line["event"] == "own_request"][-4:]
    assert own == [("/-/me", 200), ("/alerts", 401), ("/alerts", 200), ("-", 404)]


def test_whatever_an_event_says_it_is_redacted() -> None:
    said = {"why": "refused sk_test_51Nq8JkLmPzRtVwXyAbCdEf of ann@example.com", "password": "hunter2", "count": 3,
            "card": "4242 4242 4242 4242", "deep": [{"url": "postgresql://shop:hunter2@db/x"}]}  # fmt: skip
    written = json.dumps(clean(said))
    assert not [word for word in ("hunter2", "sk_test_", "ann@", "4242 4242") if word in written]
    assert clean(said)["count"] == 3
    assert redacted("order 12 of acct_1") == "order 12 of acct_1"


async def test_no_secret_of_the_settings_is_in_what_it_says_of_itself(here: Company) -> None:
    stage = here.here.stage
    host, port = stage.settings.admin
    fields = here.fields["operator"]
    for path in ("/metrics", "/readyz?verbose", "/healthz", "/livez"):
        async with here.session.get(f"http://{host}:{port}{path}", headers=fields) as answer:
            said = await answer.text()
        assert not [name for name, secret in secrets_in(stage.settings) if secret.reveal() in said], path


def test_the_policy_says_of_every_field_whether_it_is_logged() -> None:
    def said(heading: str) -> dict[str, str]:
        return {name: words for name, words in table(SECURITY, heading).items() if name != "---"}

    assert said("### Logged") == REQUEST_LINE
    assert said("### Logged of requests to addresses of our own") == OWN_LINE
    assert said("### Never logged") == NEVER
