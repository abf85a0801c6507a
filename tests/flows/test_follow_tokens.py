"""What others changed about tokens is forgotten here; which were used is noted."""

from pathlib import Path

import pytest

from gateway.adapters.sqlite.records import SqliteRecords
from gateway.core.grants import Grant
from gateway.core.keyring import Keyring
from gateway.core.secrets import Secret
from gateway.flows.follow_tokens import FollowTokens
from tests.fakes import FakeClock, SeededRandomness


class Remembering:
    def __init__(self) -> None:
        self.forgotten: list[list[str]] = []
        self.seen: list[str] = []

    def forget_grants(self, ids: object) -> None:
        self.forgotten.append(list(ids))  # type: ignore[call-overload]

    def used(self) -> list[str]:
        seen, self.seen = self.seen, []
        return seen


@pytest.mark.parametrize("used", [["tok_1"], ["tok_1", "tok_1"], []])
async def test_changes_are_heard_once_and_uses_are_noted(tmp_path: Path, used: list[str]) -> None:
    records = SqliteRecords(tmp_path / "records.db", keyring=Keyring([Secret("k" * 40)]), randomness=SeededRandomness())
    await records.open()
    callers, clock = Remembering(), FakeClock()
    follow = FollowTokens(book=records.grants, callers=callers, clock=clock)
    for number in (1, 2):
        grant = Grant(f"tok_{number}", "acct_1", 1)
        await records.grants.add_grant(grant, bytes([number] * 32), pepper_id="0000", alive_max=9)
    await records.grants.revoke_grant("tok_1", now_ms=1)
    await follow.begin()
    await follow.look()
    assert callers.forgotten == [], "nothing was remembered before it began"
    await records.grants.revoke_grant("tok_2", now_ms=1)
    await follow.look()
    await follow.look()
    assert callers.forgotten == [["tok_2"]]
    callers.seen = used
    await follow.note_used()
    found = {grant.id: grant.used_ms for grant in await records.grants.grants_of(["acct_1"])}
    assert found == {"tok_1": clock.now_ms() if used else None, "tok_2": None}
    await records.close()
