"""What a token may do follows from its line; and what stands in an address."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import query_tokens, tokens
from gateway.core.grants import (
    EVERYTHING,
    ROLES,
    Family,
    Grant,
    OwnCap,
    Role,
    Scope,
    Terms,
    grant_id,
    scope_of,
    sees_all,
    tag_of,
    until,
)
from gateway.core.limits import Rate
from gateway.core.money import Money
from gateway.core.refusals import TokenInQuery

NAMES = st.none() | st.frozensets(st.sampled_from("abc"))
SCOPES = st.builds(Scope, NAMES, NAMES)
RATES = st.builds(Rate, st.integers(1, 3), st.just(60), st.just("x"))
CAPS = st.dictionaries(st.sampled_from(["day", "total"]), st.integers(0, 3)).map(
    lambda caps: tuple(OwnCap(period, Money(micros, "usd"), 7) for period, micros in caps.items())  # type: ignore[arg-type]
)
TERMS = st.builds(Terms, SCOPES, st.lists(RATES, unique=True, max_size=2).map(tuple), CAPS, st.sampled_from(ROLES))


@given(st.lists(SCOPES, max_size=4), st.sampled_from("abcd"), st.sampled_from("abcd"))
def test_a_line_allows_what_each_of_it_allows(scopes: list[Scope], route: str, method: str) -> None:
    line = [Grant(str(n), "a", 1, terms=Terms(scope)) for n, scope in enumerate(scopes)]
    found = scope_of(line)
    assert (found is None or found.allows(route, method)) == all(scope.allows(route, method) for scope in scopes)
    assert (found or EVERYTHING).is_within(scopes[0] if scopes else EVERYTHING)


@given(TERMS, TERMS)
def test_terms_are_kept_as_they_were_and_are_within_themselves(one: Terms, other: Terms) -> None:
    assert Terms.read(one.text()) == one
    assert one.is_within(one)
    if one.is_within(other) and other.is_within(one):
        assert one.scope == other.scope
        assert (set(one.rates), one.role) == (set(other.rates), other.role)


@given(st.lists(st.sampled_from(ROLES), min_size=1, max_size=4))
def test_each_role_of_a_line_takes_something_away(roles: list[Role]) -> None:
    line = [Grant(str(n), "a", 1, terms=Terms(role=role)) for n, role in enumerate(roles)]
    found = scope_of(line)
    assert (found is None or found.allows("a", "GET")) == ("viewer" not in roles)
    assert sees_all(line) == ("viewer" in roles and "spender" not in roles)


def test_terms_that_were_kept_before_there_were_roles_are_an_owners() -> None:
    assert Terms.read('{"routes":null,"methods":["GET"],"rates":[],"caps":[]}').role == "owner"


@given(st.binary(min_size=32, max_size=32))
def test_a_grant_is_in_the_records_what_its_first_secret_was(digest: bytes) -> None:
    assert tag_of(grant_id(digest)) == tokens.tag(digest)


@given(TERMS, TERMS, st.sampled_from("abcd"), st.sampled_from("abcd"))
def test_what_is_within_allows_nothing_more(one: Terms, other: Terms, route: str, method: str) -> None:
    if one.is_within(other):
        assert other.scope.allows(route, method) or not one.scope.allows(route, method)
        mine = {cap.period: cap.amount.micros for cap in one.caps}
        assert all(mine[cap.period] <= cap.amount.micros for cap in other.caps)


def test_a_line_is_over_with_the_first_of_it() -> None:
    plain, ending, gone = Grant("1", "a", 1), Grant("2", "a", 1, expires_ms=9), Grant("3", "a", 1, revoked_ms=5)
    assert until([plain]) is None
    assert until([plain, ending]) == 9
    assert until([plain, ending, gone]) == 0


def test_a_family_knows_who_came_of_whom() -> None:
    family = Family([Grant("1", "a", 1), Grant("2", "a", 2, "1"), Grant("3", "a", 3, "2"), Grant("4", "a", 4)])
    assert [grant.id for grant in family.below("2")] == ["2", "3"]
    assert [grant.id for grant in family.line("3")] == ["3", "2", "1"]
    loop = Family([Grant("1", "a", 1, "2"), Grant("2", "a", 2, "1")])
    assert len(loop.line("1")) == 4


TOKEN = "fb_test_" + "0a1b" + "A" * 40


@given(st.lists(st.sampled_from(["a=1", "b", "=", "", "k=2", "key2=x"]), max_size=4), st.integers(0, 4))
def test_a_token_is_taken_out_and_all_else_stays(parts: list[str], place: int) -> None:
    place = min(place, len(parts))
    query = "&".join([*parts[:place], f"k%65y={TOKEN}", *parts[place:]])
    found, left = query_tokens.taken(f"/x%2Fy?{query}", "key")
    assert found == TOKEN
    assert left == ("/x%2Fy?" + "&".join(parts) if parts else "/x%2Fy")


@pytest.mark.parametrize("target", [f"/x?a={TOKEN}", f"/{TOKEN}/y", f"/x?a={TOKEN.replace('_', '%5f')}"])
def test_a_token_anywhere_else_is_refused(target: str) -> None:
    with pytest.raises(TokenInQuery):
        query_tokens.refuse(target)
    query_tokens.refuse("/x?a=fb_test_short&b=%zz%")
