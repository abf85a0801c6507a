"""Who acts for an owner: whom the configuration names as long as it does, and whom an invitation made one, once."""

import pytest

from gateway.adapters.memory_owners import MemoryOwners
from gateway.core.owning import Member
from gateway.core.refusals import BadRequest
from gateway.core.secrets import Secret
from gateway.core.tokens import Peppers
from gateway.flows.belong import INVITED_MS, Belong
from tests.fakes import FakeClock, SeededRandomness, Trail

OLD, NEW = Secret("o" * 40), Secret("n" * 40)


class People:
    """Who signs in by which digests."""

    def __init__(self) -> None:
        self.digests: dict[str, list[bytes]] = {}

    async def logins(self, user: str) -> list[bytes]:
        return self.digests.get(user, [])


class Desk:
    def __init__(self) -> None:
        self.people, self.book, self.clock, self.trail = People(), MemoryOwners(), FakeClock(), Trail()
        self.peppers, self.randomness = Peppers([OLD]), SeededRandomness()
        self.people.digests["usr_ann"] = self.peppers.digests("ann")

    def belong(self, **signs_in: list[str]) -> Belong:
        return Belong(
            signs_in, book=self.book, people=self.people, peppers=self.peppers,  # type: ignore[arg-type]
            witness=self.trail, clock=self.clock, randomness=self.randomness,
        )  # fmt: skip


async def test_the_configuration_counts_as_long_as_it_says_so() -> None:
    desk = Desk()
    assert await desk.belong(anna=["ann"], bert=[]).owner_of("usr_ann") == "anna"
    assert await desk.belong(anna=["ann"], bert=[]).owner_of("usr_bea") is None
    assert await desk.belong(anna=[], bert=["bea"]).owner_of("usr_ann") is None
    assert desk.book.people == {}, "nothing is left of it"


async def test_a_new_pepper_and_the_end_of_an_old_one_are_heeded_at_once() -> None:
    desk = Desk()
    belong = desk.belong(anna=["ann"])
    assert await belong.owner_of("usr_ann") == "anna"
    desk.peppers.renew([NEW, OLD])
    assert await belong.owner_of("usr_ann") == "anna", "who has not signed in since has an older digest"
    desk.people.digests["usr_ann"] = [desk.peppers.digests("ann")[0]]
    assert await belong.owner_of("usr_ann") == "anna"
    desk.peppers.renew([NEW])
    assert await belong.owner_of("usr_ann") == "anna"


async def test_whoever_acted_for_an_owner_who_is_gone_acts_for_nobody() -> None:
    desk = Desk()
    await desk.book.add_member(Member("usr_bea", "bert", "linked", 1))
    assert await desk.belong(bert=[]).owner_of("usr_bea") == "bert"
    assert await desk.belong(anna=[]).owner_of("usr_bea") is None


async def test_what_was_written_down_goes_before_the_configuration() -> None:
    desk = Desk()
    await desk.book.add_member(Member("usr_ann", "bert", "linked", 1))
    assert await desk.belong(anna=["ann"], bert=[]).owner_of("usr_ann") == "bert"


async def test_an_invitation_is_good_for_a_week_and_for_an_owner_that_there_is() -> None:
    desk = Desk()
    belong = desk.belong(bert=[])
    code = (await belong.invite("bert")).reveal()
    desk.clock.ms += INVITED_MS - 1
    assert await belong.invitation(code) == "bert"
    with pytest.raises(BadRequest):
        await desk.belong(anna=[]).invitation(code)
    with pytest.raises(BadRequest):
        await desk.belong(anna=[]).join("usr_bea", code)
    await belong.drop_old()
    assert await belong.invitation(code) == "bert"
    desk.clock.ms += 1
    for ended in (belong.invitation(code), belong.join("usr_bea", code), belong.join("usr_bea", "inv_x")):
        with pytest.raises(BadRequest):
            await ended
    desk.clock.ms += INVITED_MS + 1
    await belong.drop_old()
    assert desk.book.invites == {}


async def test_joining_is_on_the_trail_first_and_may_be_repeated() -> None:
    desk = Desk()
    belong = desk.belong(anna=["ann"], bert=[])
    code = (await belong.invite("bert")).reveal()
    assert [await belong.join("usr_bea", code) for _ in range(2)] == ["bert", "bert"]
    assert [(act.action, act.object) for act in desk.trail.acts] == [("owner.invite", "bert"), ("owner.join", "bert")]
    assert code not in repr(desk.trail.acts)
    assert code.encode() not in b"".join(desk.book.invites), "what is kept of it opens nothing"


async def test_whoever_was_cut_off_between_using_an_invitation_and_joining_comes_again() -> None:
    desk = Desk()
    belong = desk.belong(bert=[])
    code = (await belong.invite("bert")).reveal()
    await belong.join("usr_bea", code)
    desk.book.people.clear()
    assert await belong.join("usr_bea", code) == "bert"
    assert await belong.owner_of("usr_bea") == "bert"
