"""A chain of entries proves itself, and shows where it does not."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.keyring import Keyring
from gateway.core.secrets import Secret
from gateway.core.trail import CHARS_MAX, FACTS_MAX, Act, Step, Verdict, against_head, step_after, verify

OLD, NEW, STRANGE = Secret("o" * 40), Secret("n" * 40), Secret("s" * 40)
ACT = Act("operator:ann", "operator", "account.freeze", "acct_1", "command", "a stolen card", {"before": "not frozen"})


def chain(count: int, keys: Keyring, before: Step | None = None) -> list[Step]:
    steps: list[Step] = []
    for at in range(count):
        before = step_after(before, replace(ACT, object=f"acct_{at}"), at_ms=at, keys=keys)
        steps.append(before)
    return steps


def verdict_of(steps: list[Step], keys: Keyring) -> Verdict:
    verdict = Verdict()
    verify(steps, keys, verdict)
    return verdict


def test_an_entry_says_what_was_done() -> None:
    step = step_after(None, ACT, at_ms=1_700, keys=Keyring([NEW]))
    assert (step.number, step.at_ms, step.act) == (1, 1_700, ACT)


@given(st.integers(0, 12), st.integers(0, 12))
def test_a_chain_that_nobody_touched_is_whole_however_it_is_read(count: int, cut: int) -> None:
    keys = Keyring([NEW])
    steps, verdict = chain(count, keys), Verdict()
    verify(steps[:cut], keys, verdict)
    verify(steps[cut:], keys, verdict)
    assert (verdict.problem(), verdict.entries, verdict.vouched) == (None, count, count)


@given(st.integers(2, 12), st.data(), st.sampled_from(["change", "drop", "insert", "swap"]))
def test_what_was_changed_dropped_put_in_or_swapped_is_found_where_it_is(
    count: int, data: st.DataObject, what: str
) -> None:
    keys = Keyring([NEW])
    steps = chain(count, keys)
    place = data.draw(st.integers(0, count - 2))
    if what == "change":
        steps[place] = replace(steps[place], content=steps[place].content.replace("stolen", "lost"))
    elif what == "drop":
        del steps[place]
    elif what == "insert":
        steps.insert(place, replace(steps[place], content="{}"))
    else:
        one, other = steps[place : place + 2]
        steps[place : place + 2] = [replace(other, number=one.number), replace(one, number=other.number)]
    assert verdict_of(steps, keys).first_bad == place + 1


def test_who_makes_a_new_chain_without_our_keys_is_found() -> None:
    keys = Keyring([NEW])
    forged = chain(3, Keyring([STRANGE]))
    assert verdict_of(forged, keys).problem() == "entries 1 to 3 are signed by keys that are not here any more"
    claimed = [replace(step, key_id=keys.newest.id) for step in forged]
    assert verdict_of(claimed, keys).problem() == "entry 1: it was not signed by us"


def test_a_key_that_went_is_vouched_for_by_the_next_entry() -> None:
    before = chain(3, Keyring([OLD]))
    after = chain(1, Keyring([NEW, OLD]), before[-1])
    assert verdict_of([*before, *after], Keyring([NEW])).problem() is None
    assert verdict_of(before, Keyring([NEW])).unvouched == 3


def test_an_end_that_was_cut_off_shows_against_the_head() -> None:
    steps = chain(5, Keyring([NEW]))
    last = steps[-1]
    assert against_head(0, bytes(32), [], entries=5) is None
    assert against_head(last.number, last.hash, steps[-1:], entries=5) is None
    assert "cut off" in str(against_head(last.number, last.hash, [], entries=4))
    other = chain(6, Keyring([NEW]), step_after(None, ACT, at_ms=99, keys=Keyring([NEW])))
    assert "exchanged" in str(against_head(last.number, last.hash, other[3:4], entries=7))


@pytest.mark.parametrize(
    "change",
    [
        {"reason": "x" * (CHARS_MAX + 1)},
        {"facts": {"a": "x" * (CHARS_MAX + 1)}},
        {"facts": {f"{number}": "" for number in range(FACTS_MAX + 1)}},
    ],
)
def test_an_entry_is_no_place_for_long_texts(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="at most"):
        replace(ACT, **change)  # type: ignore[arg-type]
