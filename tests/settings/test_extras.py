"""Settings of what is an extra to install."""

from pathlib import Path
from typing import Any

import pytest

from gateway.core.countries import CountryRule
from gateway.settings import Mistake
from tests.settings.asking import LIVE_KEY, full, mistakes, only, settings


def wrong(base: Path, **changes: Any) -> Mistake:
    return only(mistakes(base, full(**changes)))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "country.mmdb").write_bytes(b"x")
    return tmp_path


def geo(**more: Any) -> dict[str, Any]:
    return {"database": "country.mmdb", **more}


def test_countries_are_two_capital_letters_and_in_one_list(base: Path) -> None:
    assert "did you mean `NO`" in wrong(base, geo=geo(allow=["no"])).words
    assert "its two capital letters" in wrong(base, geo=geo(deny=["Norway"])).words
    found = wrong(base, geo=geo(allow=["NO", "SE"], deny=["DK", "SE"]))
    assert (found.path, found.words) == ("geo.deny[1]", "SE is in `allow` as well; write it once")


def test_the_database_is_a_file_that_is_there(base: Path) -> None:
    assert wrong(base, geo={"database": "none.mmdb"}).path == "geo.database"
    found = settings(base, full(geo=geo(checkouts="50/minute"))).geo
    assert found is not None
    assert found.database == base / "country.mmdb"
    assert found.per_country is not None
    assert found.per_country.text == "50/minute"


def test_who_lists_those_that_may_pay_means_nobody_else(base: Path) -> None:
    for given, unknown in (
        ({}, True),
        ({"deny": ["SE"]}, True),
        ({"allow": ["NO"]}, False),
        ({"allow": ["NO"], "unknown": "allow"}, True),
        ({"unknown": "deny"}, False),
    ):
        found = settings(base, full(geo=geo(**given))).geo
        assert found is not None
        rule = CountryRule(frozenset(given.get("allow", ())), frozenset(given.get("deny", ())), unknown=unknown)
        assert found.rule == rule, given


MAIL = {"host": "mail.example.com", "sender": "shop@example.com"}
NOTICES = {"url": "https://shop.example/told", "secrets": ["Zq3TzL8wN5vR2xK7mB4yH9cJ6dF1gS0pq"]}


def test_letters_say_what_notices_tell(base: Path) -> None:
    found = wrong(base, mail=MAIL)
    words = "what is written is what `notices` and `alerts` tell, and codes for `licences`; add one of them"
    assert (found.path, found.words) == ("mail", words)
    made = settings(base, full(mail=MAIL, notices=NOTICES)).mail
    assert made is not None
    assert (made.port, made.starttls, made.user, made.password) == (587, True, None, None)


def test_letters_leave_sealed_and_a_login_is_whole(base: Path) -> None:
    words = wrong(base, mail={**MAIL, "starttls": False}, notices=NOTICES).words
    assert "must not travel in the clear" in words
    settings(base, full(mail={**MAIL, "host": "localhost", "starttls": False}, notices=NOTICES))
    for name, value, other in (("user", "shop", "password"), ("password", "a-password", "user")):
        assert wrong(base, mail={**MAIL, name: value}, notices=NOTICES).words == f"a login needs `{other}` as well"
    for sender in ("shop", "Shop <shop@example.com>", "shop@", "a b@example.com", "shop@example.com\n"):
        assert wrong(base, mail={**MAIL, "sender": sender}, notices=NOTICES).path == "mail.sender"


def test_cards_are_counted_in_live_mode_or_where_it_is_said(base: Path) -> None:
    live: dict[str, Any] = {"mode": "live", "public_url": "https://pay.example.com"}
    for changes, rate in (
        ({}, None),
        ({"stripe": {"tries_per_card": "3/day"}}, "3/day"),
        ({**live, "stripe": {"secret_key": LIVE_KEY}}, "10/hour"),
        ({**live, "stripe": {"secret_key": LIVE_KEY, "tries_per_card": "3/day"}}, "3/day"),
    ):
        stripe = settings(base, full(**changes)).stripe
        assert stripe is not None
        assert (stripe.tries_per_card.text if stripe.tries_per_card else None) == rate
        assert (stripe.declines_per_account is None) == (changes.get("mode") != "live")
    stripe = settings(base, full(stripe={"declines_per_account": "4/day"})).stripe
    assert stripe is not None
    assert stripe.declines_per_account is not None
    assert (stripe.declines_per_account.text, stripe.tries_per_card) == ("4/day", None)
