"""Sealed references: whose payment it is, and nobody else's."""

import re
import string
from base64 import urlsafe_b64encode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.callers import Caller
from gateway.core.keyring import Keyring, NotOurs, UnknownKey
from gateway.core.references import NO_TOKEN, REFERENCE_CHARS_MAX, Reference, of_caller, seal, unseal
from gateway.core.secrets import Secret

OLD, NEW = Secret("o" * 32), Secret("n" * 32)
RING = Keyring([NEW])
NONCE = bytes(range(12))
REFERENCE = Reference("acct_" + "ab" * 16, b"d" * 32, "1a2b", 1_790_000_000)


@given(
    account=st.binary(min_size=16, max_size=16),
    digest=st.binary(min_size=32, max_size=32),
    expires=st.integers(0, 2**32 - 1),
    nonce=st.binary(min_size=12, max_size=12),
)
def test_what_is_sealed_is_unsealed_and_fits_into_a_link(
    account: bytes, digest: bytes, expires: int, nonce: bytes
) -> None:
    reference = Reference(f"acct_{account.hex()}", digest, "0f0f", expires)
    text = seal(RING, reference, nonce=nonce)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,200}", text)
    assert unseal(RING, text) == reference


def test_a_reference_shows_neither_the_account_nor_the_token() -> None:
    text = seal(RING, REFERENCE, nonce=NONCE)
    assert "abab" not in text
    assert text != seal(RING, REFERENCE, nonce=bytes(12))


def test_a_reference_with_any_character_changed_never_means_another_account() -> None:
    """Base64 knows a few spellings of the same bytes; whatever opens is the reference that was sealed."""
    text = seal(RING, REFERENCE, nonce=NONCE)
    refused = 0
    for position in range(len(text)):
        for other in string.ascii_letters + string.digits + "-_. +/=":
            changed = text[:position] + other + text[position + 1 :]
            try:
                assert unseal(RING, changed) == REFERENCE
            except (NotOurs, UnknownKey):
                assert changed != text
                refused += 1
    assert refused > len(text) * 65


@given(text=st.text(max_size=REFERENCE_CHARS_MAX + 20))
def test_any_other_text_is_not_ours(text: str) -> None:
    with pytest.raises((NotOurs, UnknownKey)):
        unseal(RING, text)


@given(body=st.text(max_size=130))
def test_any_other_text_that_names_our_key_is_not_ours(body: str) -> None:
    with pytest.raises(NotOurs):
        unseal(RING, RING.newest.id + body)


@pytest.mark.parametrize("length", [0, 4, 201, 5000])
def test_a_reference_of_another_length_is_not_ours(length: int) -> None:
    with pytest.raises(NotOurs, match="another length"):
        unseal(RING, "a" * length)


def test_a_reference_opens_as_long_as_its_key_is_in_the_ring() -> None:
    text = seal(Keyring([OLD]), REFERENCE, nonce=NONCE)
    assert unseal(Keyring([NEW, OLD]), text) == REFERENCE
    with pytest.raises(UnknownKey):
        unseal(RING, text)


def test_what_was_sealed_for_another_purpose_is_no_reference() -> None:
    key_id, sealed = RING.seal("something else", bytes(57), nonce=NONCE)
    with pytest.raises(NotOurs):
        unseal(RING, key_id + urlsafe_b64encode(sealed).decode().rstrip("="))


@pytest.mark.parametrize("plain", [b"", bytes(57), b"\x02" + bytes(56), b"\x01" + bytes(57), b"\x01" + bytes(55)])
def test_another_version_or_layout_is_refused_although_we_sealed_it(plain: bytes) -> None:
    key_id, sealed = RING.seal("payment reference", plain, nonce=NONCE)
    with pytest.raises(NotOurs, match="another layout"):
        unseal(RING, key_id + urlsafe_b64encode(sealed).decode().rstrip("="))


def test_a_payment_never_names_what_an_agent_holds() -> None:
    person = Caller("acct_" + "0" * 32, b"d" * 32)
    assert of_caller(person, now_seconds=1).token_digest == b"d" * 32
    agent = replace(person, audience="https://gw.example/mcp")
    assert of_caller(agent, now_seconds=1) == replace(of_caller(person, now_seconds=1), token_digest=NO_TOKEN)
