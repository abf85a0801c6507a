"""What is logged and what is not, on a gateway that lived; the policy is held against the code elsewhere."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.core.redaction import clean, redacted
from gateway.settings.plain import secrets_in
from tests.security.company import Company, company
from tests.security.test_at_rest import lived


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
