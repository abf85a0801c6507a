"""Our own verification of Stripe's signatures: what passes, and that nothing else can come of any bytes."""

import hmac
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.adapters.stripe.webhooks import event_of, verify
from gateway.core.refusals import WebhookRefused
from gateway.core.secrets import Secret

NOW = 1_800_000_000
SECRETS = [Secret("whsec_new"), Secret("whsec_old")]
BODY = json.dumps(
    {"id": "evt_1", "type": "t", "livemode": False, "created": 1, "data": {"object": {"id": "cs_1"}}}
).encode()


def sign(body: bytes, secret: str = "whsec_new", at: int = NOW) -> str:
    return f"t={at},v1=" + hmac.digest(secret.encode(), b"%d." % at + body, "sha256").hex()


@pytest.mark.parametrize("secret", ["whsec_new", "whsec_old"])
def test_either_secret_signs(secret: str) -> None:
    event = verify(BODY, sign(BODY, secret), secrets=SECRETS, now=NOW, tolerance=300)
    assert (event.id, event.type, event.live, event.object) == ("evt_1", "t", False, {"id": "cs_1"})


def test_one_right_signature_among_others_is_enough() -> None:
    header = sign(BODY, "whsec_other") + ",v0=abc," + sign(BODY).partition(",")[2]
    assert verify(BODY, header, secrets=SECRETS, now=NOW, tolerance=300).id == "evt_1"


@pytest.mark.parametrize(("age", "fits"), [(300, True), (301, False), (-300, True), (-301, False)])
def test_a_timestamp_fits_on_both_sides_up_to_the_tolerance(age: int, fits: bool) -> None:
    header = sign(BODY, at=NOW - age)
    if fits:
        assert verify(BODY, header, secrets=SECRETS, now=NOW, tolerance=300).id == "evt_1"
    else:
        with pytest.raises(WebhookRefused):
            verify(BODY, header, secrets=SECRETS, now=NOW, tolerance=300)


@given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_no_byte_of_the_body_can_be_changed(position: int, change: int) -> None:
    changed = BODY[:position] + bytes([BODY[position] ^ change]) + BODY[position + 1 :]
    with pytest.raises(WebhookRefused):
        verify(changed, sign(BODY), secrets=SECRETS, now=NOW, tolerance=300)


@given(st.binary(max_size=200))
@example(b"null")
@example(b'{"id":"e","type":"t","livemode":0,"created":1,"data":{"object":{}}}')
@example(b'{"id":"e","type":"t","livemode":false,"created":"1","data":{"object":{}}}')
@example(b'{"id":"e","type":"t","livemode":false,"created":1,"data":[]}')
@example(b"1" * 5000)
@example(b"\xed\xa0\x80")
def test_a_signed_body_of_any_bytes_is_an_event_or_refused(body: bytes) -> None:
    with pytest.raises(WebhookRefused):
        verify(body, sign(body), secrets=SECRETS, now=NOW, tolerance=300)


@given(st.text(max_size=200) | st.none())
@example("t=" + "9" * 12 + ",v1=" + "0" * 64)
@example("t=١٢٣,v1=" + "0" * 64)
@example(",".join(["t=1"] + ["v1=" + "0" * 64] * 40))
def test_a_header_of_any_text_is_refused(header: str | None) -> None:
    with pytest.raises(WebhookRefused):
        verify(BODY, header, secrets=SECRETS, now=NOW, tolerance=300)


THIN: dict[str, Any] = {
    "id": "evt_test_1", "object": "v2.core.event", "type": "v2.core.account.closed", "livemode": False,
    "created": "2026-11-22T08:00:00.250Z", "context": None,
    "related_object": {"id": "acct_1", "type": "v2.core.account", "url": "/v2/core/accounts/acct_1"},
}  # fmt: skip


def test_a_thin_event_says_where_to_look() -> None:
    found = event_of(THIN)
    assert found is not None
    assert (found.id, found.type, found.created, found.account) == (
        "evt_test_1", "v2.core.account.closed", 1_795_334_400, ""
    )  # fmt: skip
    assert found.object["id"] == "acct_1"
    elsewhere = event_of({**THIN, "context": "acct_9"})
    assert elsewhere is not None
    assert elsewhere.account == "acct_9"


@pytest.mark.parametrize(
    "change",
    [
        {"related_object": None}, {"created": "yesterday"}, {"created": None}, {"created": 5}, {"livemode": None},
        {"context": 5}, {"created": "0001-01-01T00:00:00Z"}, {"id": ""},
    ],
)  # fmt: skip
def test_what_is_no_thin_event_is_none(change: dict[str, Any]) -> None:
    assert event_of({**THIN, **change}) is None
