"""What the trail tells of an incident, its clock, and what is said about it."""

from dataclasses import replace

import pytest

from gateway.core import incidents
from gateway.core.incidents import CLOSE, FACT, OPEN, Incident
from gateway.core.keyring import Keyring
from gateway.core.secrets import Secret
from gateway.core.trail import Act, Step, excerpt_problem, step_after

KEYS = Keyring([Secret("k" * 40)])
OPENED = 1_800_000_000_000
HOUR = 3_600_000
ONE = Incident("inc_1", "personal_data", "a list was seen", OPENED)


def chain(*acts: Act) -> list[Step]:
    steps: list[Step] = []
    for number, act in enumerate(acts):
        steps.append(step_after(steps[-1] if steps else None, act, at_ms=OPENED + number * HOUR, keys=KEYS))
    return steps


def act(action: str, object: str, reason: str = "", **facts: str) -> Act:
    return Act("operator:ann", "operator", action, object, "command", reason, facts)


STORY = chain(
    act("account.freeze", "acct_1", "before it"),
    act(OPEN, "inc_1", "seen", kind="token"),
    act("incident.revoke", "everyone", "to be sure", incident="inc_1", tokens="3"),
    act(OPEN, "inc_2", "another", kind="outage"),
    act(CLOSE, "inc_1", "mended"),
)


def test_the_trail_tells_which_there_are_and_how_they_stand() -> None:
    told = incidents.told_by(reversed(STORY))
    assert told["inc_1"] == Incident("inc_1", "token", "seen", OPENED + HOUR, OPENED + 4 * HOUR, "mended")
    assert told["inc_2"].closed_ms is None
    assert [line.split(" UTC ")[1] for line in incidents.timeline(STORY, "inc_1")] == [
        "operator:ann incident.open inc_1 kind token: seen",
        "operator:ann incident.revoke everyone tokens 3: to be sure",
        "operator:ann incident.close inc_1: mended",
    ]
    assert FACT == "incident"


@pytest.mark.parametrize(
    ("hours", "said"),
    [(0, "72 h 00 min left"), (71.5, "0 h 30 min left"), (72, "0 h 00 min left"), (73.25, "over since 1 h 15 min")],
)
def test_the_clock_runs_for_72_hours_from_its_opening(hours: float, said: str) -> None:
    assert incidents.clock(ONE, now_ms=OPENED + int(hours * HOUR)).startswith(said)


def test_texts_are_filled_in_and_name_nobody_by_themselves() -> None:
    late = OPENED + 80 * HOUR
    notice = incidents.notice_to_authority(ONE, accounts=12, contacts=7, now_ms=late)
    assert "about 12 accounts, of 7 of which" in notice
    assert "later than 72 hours" in notice
    assert "later than" not in incidents.notice_to_authority(ONE, accounts=1, contacts=1, now_ms=OPENED)
    assert "acct_9" in incidents.letter_to_holder(ONE, account="acct_9")
    plan = incidents.plan(ONE, now_ms=OPENED)
    assert all(role in plan for role, _ in incidents.ROLES)
    assert "inc_1" not in incidents.plan(None, now_ms=OPENED)
    review = incidents.review(replace(ONE, closed_ms=late), incidents.timeline(STORY, "inc_1"))
    assert "incident.revoke everyone" in review


def test_a_part_of_a_chain_proves_itself_and_each_change_is_found() -> None:
    part, before = STORY[1:4], STORY[0].hash
    assert excerpt_problem(before, part, KEYS) is None
    assert excerpt_problem(bytes(32), part, KEYS) == "entry 2: it, or the one before it, was changed"
    assert excerpt_problem(before, [part[0], part[2]], KEYS) == "entry 3 is missing"
    changed = replace(part[1], content=part[1].content.replace("sure", "cure"))
    assert (
        excerpt_problem(before, [part[0], changed, part[2]], KEYS) == "entry 3: it, or the one before it, was changed"
    )
    forged = replace(part[1], mac=bytes(32))
    assert excerpt_problem(before, [part[0], forged, part[2]], KEYS) == "entry 3: it was not signed by us"
