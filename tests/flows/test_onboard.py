"""However often an owner comes, and wherever a process is killed meanwhile, Stripe makes exactly one account."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.jobs import JobBook
from gateway.adapters.owning import OwnerRecords
from gateway.adapters.people import PeopleBook
from gateway.adapters.sqlite.records import SqliteRecords
from gateway.adapters.stripe.connect import StripeConnect
from gateway.adapters.stripe.parameters import parameters
from gateway.adapters.stripe.payments import StripePayments
from gateway.core.jobs import Job
from gateway.core.keyring import Keyring
from gateway.core.owning import AccountWish, Member, OwnerAccount
from gateway.core.secrets import Secret
from gateway.core.sign_ins import PROFILE_PURPOSE, Profile
from gateway.core.tokens import Peppers
from gateway.demo.standin import StandIn
from gateway.flows.belong import Belong
from gateway.flows.onboard import ONBOARD, Onboard
from gateway.flows.work import LEASE_MS, Work
from gateway.ports import User
from tests.fakes import FakeClock, SeededRandomness, Trail

KEY = "sk_test_" + "1a" * 20
KEYRING = Keyring([Secret("k" * 40)])
PEPPERS = Peppers([Secret("p" * 40)])
USER, OWNER = "usr_ann", "anna"
HOUR = 3600


class Killed(BaseException):
    """The process is gone."""


class Cut:
    """Whatever is asked of `whole` is counted, and the process is killed at one of the calls: before it, or after."""

    def __init__(self, whole: object, count: Callable[[bool], None]) -> None:
        self._whole = whole
        self._count = count

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._whole, name)

        async def counted(*args: Any, **named: Any) -> Any:
            self._count(False)
            answer = await call(*args, **named)
            self._count(True)
            return answer

        return counted


class Host:
    """What outlives a process: Stripe, the records, the time. `run` is a process, which may be killed."""

    def __init__(self, records: SqliteRecords, stand_in: StandIn, stripe: StripePayments) -> None:
        self.records, self.stand_in, self.stripe = records, stand_in, stripe
        self.clock, self.trail, self.randomness = FakeClock(), Trail(), SeededRandomness()
        self.jobs = JobBook(records.ask, shared=False)
        self.api: Any = "v2"
        self.email = "ann@example.com"
        self.told: list[dict[str, Any]] = []
        self.keyring = KEYRING

    async def sign_up(self) -> None:
        profile = Profile("s", self.email, "Ann").text().encode()
        sealed = self.keyring.seal(PROFILE_PURPOSE, profile, nonce=bytes(12), about=USER)
        people = PeopleBook(self.records.ask)
        await people.add_user(User(USER, "acct_" + "1a" * 16, *sealed), now_ms=1)
        await people.change_user(User(USER, "acct_" + "1a" * 16, *sealed), now_ms=1)
        await people.add_login(PEPPERS.digest("ann signs in"), USER, provider="amazon", pepper_id="p", now_ms=1)

    def onboard(self, cut: Callable[[Any], Any] = lambda port: port) -> Onboard:
        people, book = PeopleBook(self.records.ask), OwnerRecords(self.records.ask)
        acts = Belong(
            {OWNER: ["ann signs in"]}, book=book, people=people, peppers=PEPPERS, witness=self.trail,
            clock=self.clock, randomness=self.randomness,
        )  # fmt: skip
        return Onboard(
            {OWNER: AccountWish(self.api, "US", OWNER)},
            acts_for=acts, book=cut(book), people=people, jobs=cut(self.jobs),
            connects=cut(StripeConnect(self.stripe)), keyring=self.keyring, peppers=PEPPERS, witness=cut(self.trail),
            live=False, clock=self.clock, randomness=self.randomness,
        )  # fmt: skip

    async def run(self, *, callbacks: int = 1, die_at: int | None = None) -> int:
        """Somebody signs in so often, and all that is due is done; how many calls there were. Raises Killed."""
        calls = 0

        def count(_: bool) -> None:
            nonlocal calls
            calls += 1
            if calls == die_at:
                raise Killed

        onboard = self.onboard(lambda port: Cut(port, count))
        for _ in range(callbacks):
            await onboard.welcomed(USER)
        work = Work(
            Cut(self.jobs, count), {ONBOARD: onboard.do}, clock=self.clock,
            report=lambda *_, **told: self.told.append(told),
        )  # fmt: skip
        await work.now()
        return calls

    def wait(self, seconds: float = LEASE_MS / 1000 + 1) -> None:
        self.clock.pass_seconds(seconds)

    async def account(self) -> OwnerAccount:
        found = await OwnerRecords(self.records.ask).find_account(OWNER, live=False)
        assert found is not None
        return found

    async def job(self) -> Job:
        [job] = await self.jobs.list_jobs(state=None, user=None, count=9)
        return job


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    async with StandIn(api_key=KEY, parameters=parameters) as stand_in:
        records = SqliteRecords(tmp_path / "records.db", keyring=KEYRING, randomness=SeededRandomness())
        await records.open()
        stripe = StripePayments(
            secret_key=Secret(KEY), webhook_secrets=[Secret("whsec_x")], api_url=stand_in.url, tolerance_seconds=300,
            report=lambda *_, **__: None,
        )  # fmt: skip
        made = Host(records, stand_in, stripe)
        await made.sign_up()
        yield made
        await stripe.close()
        await records.close()


APIS = pytest.mark.parametrize("api", ["v1", "v2"])


@APIS
async def test_wherever_a_process_is_killed_there_is_one_account(host: Host, api: str, tmp_path: Path) -> None:
    host.api = api
    calls = await host.run()
    [first] = host.stand_in.accounts
    assert (await host.account()).standing is not None
    assert first.api == api
    for number in range(1, calls + 1):
        for table in ("stripe_accounts", "sync_jobs"):
            await host.records.ask(f"DELETE FROM {table}")
        before = len(host.stand_in.accounts)
        for die_at in (number, number + 3, number + 7):
            with suppress(Killed):
                await host.run(callbacks=2, die_at=die_at)
            host.wait()
        for _ in range(5):
            await host.run()
        assert len(host.stand_in.accounts) == before + 1, f"killed at call {number}"
        kept = await host.account()
        assert kept.standing is not None
        assert kept.standing.account == host.stand_in.accounts[-1].id
        assert (await host.job()).state == "done"


@APIS
async def test_an_answer_that_was_lost_and_is_asked_for_days_later_is_found(host: Host, api: str) -> None:
    host.api = api
    host.stand_in.cut_answers(9)  # the SDK asks three times
    await host.run()
    assert (await host.job()).state == "waiting"
    [made] = host.stand_in.accounts
    host.stand_in.cut_answers(0)
    host.stand_in._api._keys._claims.clear()  # a day later Stripe knows the key no more
    for _ in range(130 if api == "v1" else 3):
        host.stand_in._world.connected[f"acct_other{_}"] = type(made)(
            f"acct_other{_}", api, "US", None, None, {}, 0, []
        )
    host.wait(2 * HOUR)
    await host.run()
    assert (await host.account()).standing is not None
    assert sum(one.id == made.id or bool(one.metadata) for one in host.stand_in.accounts) == 1


async def test_what_stripe_refuses_is_given_up_and_tried_anew_with_the_next_sign_in(host: Host) -> None:
    host.stand_in.enable_connect(False)
    await host.run()
    job = await host.job()
    assert (job.state, job.error) == ("failed", "stripe refused to make the account: accounts_v2_access_blocked")
    assert (await host.account()).attempt == 2
    host.stand_in.enable_connect(True)
    host.api = "v1"
    await host.run()
    [made] = host.stand_in.accounts
    kept = await host.account()
    assert (made.api, kept.api, kept.status) == ("v1", "v1", "restricted")
    assert (await host.job()).state == "done"


async def test_without_an_address_no_account_of_the_second_api_is_asked_for(host: Host) -> None:
    host.email = ""
    await host.sign_up()
    await host.run()
    assert "told no e-mail address" in str((await host.job()).error)
    host.api = "v1"
    await host.run()
    [made] = host.stand_in.accounts
    assert (made.api, made.email) == ("v1", None)


async def test_a_stripe_that_is_away_is_asked_again_for_days(host: Host) -> None:
    host.stand_in.fail_requests(3, 500)
    await host.run()
    job = await host.job()
    assert (job.state, job.error) == ("waiting", "stripe cannot be asked")
    host.wait(HOUR)
    await host.run()
    assert len(host.stand_in.accounts) == 1


async def test_a_wish_that_nobody_can_open_any_more_is_asked_anew(host: Host) -> None:
    host.stand_in.fail_requests(3, 500)
    await host.run()
    host.keyring = Keyring([Secret("n" * 40)])
    await host.sign_up()
    for _ in range(3):
        host.wait(HOUR)
        await host.run()
    assert len(host.stand_in.accounts) == 1


async def test_whoever_acts_for_nobody_any_more_gets_nothing(host: Host) -> None:
    await host.onboard().welcomed(USER)
    await host.records.ask("DELETE FROM user_login")
    work = Work(host.jobs, {ONBOARD: host.onboard().do}, clock=host.clock, report=lambda *_, **__: None)
    await work.now()
    assert (await host.job()).error == "they act for no owner who gets an account here"
    assert host.stand_in.accounts == []


async def test_it_is_on_the_trail_before_it_is_asked(host: Host) -> None:
    host.stand_in.fail_requests(3, 500)
    await host.run()
    [act] = host.trail.acts
    assert (act.action, act.object, act.actor, act.facts) == (
        "owner.account.open", OWNER, USER, {"api": "v2", "country": "US"}
    )  # fmt: skip
    assert host.stand_in.accounts == []


async def test_a_lost_answer_is_found_though_what_was_asked_for_cannot_be_read_any_more(host: Host) -> None:
    host.stand_in.cut_answers(9)
    await host.run()
    host.stand_in.cut_answers(0)
    host.keyring = Keyring([Secret("n" * 40)])
    await host.sign_up()
    for _ in range(3):
        host.wait()
        await host.run()
    [made] = host.stand_in.accounts
    kept = await host.account()
    assert kept.standing is not None
    assert kept.standing.account == made.id


async def test_a_refusal_after_a_lost_answer_makes_no_second_account(host: Host) -> None:
    host.stand_in.cut_answers(9)
    await host.run()
    host.stand_in.cut_answers(0)
    kept = await host.account()
    await OwnerRecords(host.records.ask).ask_again(kept, "v2", None, now_ms=host.clock.now_ms())
    host.wait()
    await host.run()
    assert len(host.stand_in.accounts) == 1
    assert (await host.account()).attempt == 3


async def test_where_there_is_an_account_another_of_theirs_who_signs_in_has_nothing_to_do(host: Host) -> None:
    await host.run()
    people = PeopleBook(host.records.ask)
    await people.add_login(PEPPERS.digest("ann signs in") + b"2", "usr_bea", provider="amazon", pepper_id="p", now_ms=1)
    await OwnerRecords(host.records.ask).add_member(Member("usr_bea", OWNER, "linked", 1))
    await host.onboard().welcomed("usr_bea")
    assert (await host.job()).user == USER
