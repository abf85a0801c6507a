"""Who may call what, and whose secret it is."""

import base64
from dataclasses import replace

import pytest

from gateway.core.licences import holds_licence
from gateway.core.services import APIS, MAY, ROLES, Service, ServiceCaller, caller_of, claims, service_name

ONE = Service("refund-engine", "commission", b"new", "pep1", 1, 2, b"old", 100)


def test_every_role_has_its_apis_and_a_higher_one_has_those_of_the_lower() -> None:
    cells = {(role, api): api in MAY[role] for role in ROLES for api in APIS}
    expected: dict[tuple[str, str], bool] = {
        ("monitor", "charge-commission"): False,
        ("monitor", "transactions"): False,
        ("auditor", "charge-commission"): False,
        ("auditor", "transactions"): True,
        ("commission", "charge-commission"): True,
        ("commission", "transactions"): True,
        ("owner", "charge-commission"): False,
        ("owner", "transactions"): False,
        **{(role, "routes"): role == "owner" for role in ROLES},
    }
    assert cells == expected
    assert [len(MAY[role]) for role in ROLES] == [0, 1, 2, 1]


def test_an_owners_program_says_whose_it_is_and_nobody_else_does() -> None:
    program = replace(ONE, role="owner", owner="anna")
    said = claims(program, ["x"], now_seconds=7, id="i")
    assert caller_of(said) == ServiceCaller("refund-engine", "owner", "anna")
    assert caller_of({**said, "owner": ""}) is None
    assert caller_of({**said, "role": "commission"}) is None


def test_the_older_secret_is_good_until_its_grace_is_over() -> None:
    assert ONE.knows([b"new"], 1_000)
    assert ONE.knows([b"other", b"old"], 99)
    assert not ONE.knows([b"old"], 100)
    assert not ONE.knows([b"other"], 99)
    assert not ONE.knows([], 99)


def test_a_token_says_whom_it_is_of_and_ends_in_five_minutes() -> None:
    said = claims(ONE, ["https://x/api"], now_seconds=1000, id="7")
    assert (said["exp"], said["aud"], said["jti"]) == (1300, ["https://x/api"], "7")
    assert caller_of(said) == ServiceCaller("refund-engine", "commission")
    for wrong in ({"role": "owner"}, {"role": None}, {"sub": "usr_1"}, {"sub": "service:"}, {"sub": None}):
        assert caller_of({**said, **wrong}) is None


@pytest.mark.parametrize("name", ["", "Refunds", "1x", "a b", "x" * 64, "a_b"])
def test_a_name_is_plain(name: str) -> None:
    assert service_name("refund-engine-2") == "refund-engine-2"
    with pytest.raises(ValueError, match="no name"):
        service_name(name)


def test_a_token_of_a_service_goes_to_no_upstream() -> None:
    head = base64.urlsafe_b64encode(b'{"alg":"RS256","typ":"service+jwt"}').decode().rstrip("=")
    other = base64.urlsafe_b64encode(b'{"alg":"RS256","typ":"JWT"}').decode().rstrip("=")
    assert holds_licence(f"Bearer {head}.e30.x")
    assert not holds_licence(f"Bearer {other}.e30.x")
