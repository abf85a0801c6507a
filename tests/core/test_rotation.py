"""When a key may seal, and when it may go."""

import pytest

from gateway.core.jwt_keys import LIFE_DAYS
from gateway.core.rotation import LINK_DAYS, Holder, KeyKind, KeyUse, lacking, needed_for

DAY_MS = 86_400_000
NOW = 1_000 * DAY_MS
OLD, NEW = "0ld0", "nEw0"


def here(*ids: str, name: str = "a 0", seen_ms: int = NOW) -> Holder:
    return Holder(name, "sealing_key", ids, seen_ms)


def use(*holders: Holder, sealed: int = NOW - LINK_DAYS * DAY_MS, **more: object) -> KeyUse:
    return KeyUse(holders, {OLD: sealed}, **{"tokens": {}, **more})  # type: ignore[arg-type]


def reasons(found: KeyUse, id: str = OLD, signs: tuple[str, ...] = (), kind: KeyKind = "sealing_key") -> str:
    return "; ".join(needed_for(found, id, [NEW, OLD], kind=kind, signs=signs, now_ms=NOW))


def test_a_key_is_known_everywhere_when_every_process_that_is_there_has_it() -> None:
    found = use(here(NEW, OLD), here(OLD, name="b 0"), here(OLD, name="gone", seen_ms=NOW - 180_000))
    assert lacking(found, NEW, now_ms=NOW) == ["b 0"]
    assert lacking(found, OLD, now_ms=NOW) == []
    late = use(here(OLD, name="late", seen_ms=NOW - 179_999))
    assert lacking(late, NEW, now_ms=NOW) == ["late"]


def test_a_key_that_nothing_needs_may_go() -> None:
    assert reasons(use(here(NEW, OLD), tokens={NEW: 3}, answers={NEW: 2}, clients={NEW: 1})) == ""


@pytest.mark.parametrize(
    ("found", "id", "signs", "why"),
    [
        (use(), NEW, (), "newest"),
        (use(here(OLD, NEW, name="b 1")), OLD, (), "b 1 still use it"),
        (use(sealed=NOW - LINK_DAYS * DAY_MS + 1), OLD, (), "until 1972-09-27"),
        (KeyUse([], {}, {}), OLD, (), "may still be paid"),
        (use(tokens={OLD: 2}), OLD, (), "2 tokens on record need it"),
        (use(tokens={None: 1}), OLD, (), "may need it"),
        (use(answers={OLD: 4}), OLD, (), "4 answers that are kept"),
        (use(clients={OLD: 2}), OLD, (), "2 programs that people allow something"),
        (use(clients={None: 3}), OLD, (), "3 programs have not proved themselves"),
        (use(), OLD, ("the head",), "it has signed the head"),
    ],
)
def test_a_key_that_is_needed_stays_and_says_why(found: KeyUse, id: str, signs: tuple[str, ...], why: str) -> None:
    assert why in reasons(found, id, signs)


def test_a_key_pair_stays_until_the_last_token_that_it_signed_has_ended() -> None:
    held = use(sealed=NOW - LIFE_DAYS * DAY_MS + 1)
    assert reasons(held, kind="jwt") == "licences and sessions that it signed may still be shown until 1972-09-27"
    assert reasons(use(sealed=NOW - LIFE_DAYS * DAY_MS), kind="jwt") == ""
