"""What an operator is alerted of, over real records and on a clock that is moved by hand."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from gateway.adapters.alerts import AlertBook
from gateway.adapters.metrics import Counts
from gateway.adapters.sqlite.records import SqliteRecords
from gateway.app.alerting import measures, series
from gateway.core.alerts import NAMES, PREFIX, WORDS, Sign, Thresholds, letter
from gateway.core.letters import Letter
from gateway.core.limits import Rate
from gateway.core.money import Money
from gateway.core.outgoing import AlertType, Outgoing
from gateway.core.reversals import Credited
from gateway.flows.count_spending import CountSpending
from gateway.flows.tell_operators import TellOperators
from gateway.flows.watch import PAID, Watch
from gateway.flows.watch_spending import WatchSpending
from gateway.flows.watch_surges import WatchSurges
from gateway.ports import NotSent, NotTaken
from tests.fakes import FakeClock, SeededRandomness
from tests.stored import KEYRING

HOUR = 3_600
DAY = 24 * HOUR
ROUND = 30
FIVE = Money.parse("5.00 usd")
ACCOUNT = "acct_" + "0" * 32
LIMITS = Thresholds(
    webhook_signatures=Rate(5, 600, "5/10 minute"),
    guessed_tokens=Rate(300, 600, "300/10 minute"),
    cards_refused=Rate(20, 3600, "20/hour"),
    refunds=Rate(20, 3600, "20/hour"),
    dispute_bps=75,
    disputes_least=3,
    surge_least=300,
    surge_factor=4,
    payments_least=30,
    account_payments=Rate(10, 3600, "10/hour"),
    spend_least=2_000_000,
    spend_factor=4,
    outbox_ms=1_800_000,
    returned_ms=3_600_000,
    reconciled_ms=86_400_000,
    devices=6,
    disk_bytes=2**30,
    certificate_days=14,
)


class Roots:
    def root(self, account: str) -> str:
        return "acct_root" if account == "acct_joined" else account

    def names(self, account: str) -> tuple[str, ...]:
        return (account,)


class Host:
    """One host of several."""

    def __init__(self, name: str, records: SqliteRecords, clock: FakeClock, limits: Thresholds = LIMITS) -> None:
        self.book = AlertBook(records.ask)
        self.counted: dict[str, int] = {}
        self.wrong: list[Sign] = []
        self.spent: dict[str, int] = {}
        self.spending = CountSpending(self.book, take=self.take, roots=Roots(), clock=clock)
        surges = WatchSurges(series(limits), counts=self.book, sources=self.book, factor=limits.surge_factor)
        accounts = WatchSpending(self.book, least=limits.spend_least, factor=limits.spend_factor)
        self.watch = Watch(
            alerts=self.book, counts=self.book, sources=self.book, inbox=records, thresholds=limits,
            counted=lambda: self.counted, here=self.here, also=[surges.look, accounts.look], tells=(True, True),
            who=name, lease_ms=120_000, remind_ms=4 * HOUR * 1000, ends_ms=900_000, keep_ms=90 * DAY * 1000,
            clock=clock,
        )  # fmt: skip

    def take(self) -> dict[str, int]:
        spent, self.spent = self.spent, {}
        return spent

    async def here(self) -> Sequence[Sign]:
        return self.wrong

    def counts(self, measure: str, number: int) -> None:
        self.counted[measure] = self.counted.get(measure, 0) + number


class World:
    def __init__(self, records: SqliteRecords) -> None:
        self.records = records
        self.clock = FakeClock()
        self.book = AlertBook(records.ask)
        self.hosts = [Host(f"host-{number}", records, self.clock) for number in (1, 2)]

    async def rounds(self, seconds: float = ROUND, *, every: float = ROUND) -> None:
        for _ in range(int(seconds / every)):
            for host in self.hosts:
                await host.spending.write()
                await host.watch.look()
            self.clock.pass_seconds(every)
            await self.records.ask("UPDATE outgoing SET state = 'delivered' WHERE type LIKE 'alert.%'")

    async def open(self) -> list[tuple[str, str]]:
        return sorted((one.name, one.subject) for one in await self.book.found(open_only=True, count=99))

    async def told(self) -> list[str]:
        found = reversed(await self.records.outbox.entries(None, count=999))
        return [f"{one.type.removeprefix(PREFIX)} {one.content['name']}" for one in found if one.type[:6] == PREFIX]

    async def events(self, type: str, number: int, *, status: str = "done") -> None:
        put = """INSERT INTO event (id, type, live, created, received, object, key_id, status)
VALUES ($1, $2, 0, 1, $3, $4, 'k', $5)"""
        for one in range(number):
            id = f"evt_{type}_{self.clock.now_ms()}_{one}"
            await self.records.ask(put, id, type, self.clock.now_ms(), b"", status)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    records = SqliteRecords(tmp_path / "records.db", keyring=KEYRING, randomness=SeededRandomness())
    await records.open()
    yield World(records)
    await records.close()


async def ticks_over(world: World, name: str, seconds: float, *, subject: str = "") -> None:
    """It opened, is told once, and ends by itself after so long."""
    assert await world.open() == [(name, subject)]
    assert await world.told() == [f"opened {name}"]
    await world.rounds(seconds, every=600)
    assert await world.open() == [], name
    assert await world.told() == [f"opened {name}", f"ended {name}"]


@pytest.mark.parametrize(
    ("name", "measure", "amount"), [("webhook_signatures", "webhooks.refused", 5), ("guessed_tokens", "guessed", 300)]
)
async def test_what_two_hosts_would_not_mind_alone_is_one_alert_that_ends(
    world: World, name: str, measure: str, amount: int
) -> None:
    for host in world.hosts:
        host.counts(measure, (amount - 1) // 2)
    world.hosts[0].counts(measure, (amount - 1) % 2)
    await world.rounds(2 * ROUND)
    assert await world.open() == []
    world.hosts[1].counts(measure, 1)
    await world.rounds(3 * ROUND)
    assert (await world.book.found(open_only=True, count=1))[0].facts == {"number": amount, "seconds": 600}
    await ticks_over(world, name, 2400)


@pytest.mark.parametrize(
    ("name", "type", "below", "above"),
    [("cards_refused", "charge.failed", 19, 1), ("refunds_surge", "charge.refunded", 19, 1),
     ("payment_velocity", PAID[0], 29, 1)],
)  # fmt: skip
async def test_too_many_events_are_an_alert(world: World, name: str, type: str, below: int, above: int) -> None:
    await world.events(type, below)
    await world.rounds()
    assert await world.open() == []
    await world.events(type, above)
    await world.rounds(2 * ROUND)
    await ticks_over(world, name, 2 * HOUR)


@pytest.mark.parametrize(("name", "measure"), [("unpaid_surge", "unpaid"), ("errors_surge", "failed")])
async def test_a_surge_is_one_against_what_is_usual(world: World, name: str, measure: str) -> None:
    world.hosts[0].counts(measure, 299)
    await world.rounds()
    assert await world.open() == []
    world.hosts[1].counts(measure, 1)
    await world.rounds(2 * ROUND)
    await ticks_over(world, name, 2 * HOUR)
    for _ in range(30):  # it is usual by now
        world.hosts[0].counts(measure, 290)
        await world.rounds(HOUR, every=1800)
    world.hosts[0].counts(measure, 800)
    await world.rounds()
    assert await world.open() == []
    world.hosts[0].counts(measure, 4000)
    await world.rounds()
    assert await world.open() == [(name, "")]


async def test_more_payments_than_usual_are_an_alert(world: World) -> None:
    """Velocity: forty in an hour are none where there are always some, and are one where there never were."""
    for _ in range(30):
        await world.events(PAID[0], 14)
        await world.rounds(HOUR, every=1800)
    await world.events(PAID[0], 26)
    await world.rounds()
    assert await world.open() == []
    await world.events(PAID[0], 40)
    await world.rounds()
    assert await world.open() == [("payment_velocity", "")]


async def test_an_account_that_pays_again_and_again_is_an_alert(world: World) -> None:
    async def pays(account: str, times: int) -> None:
        for _ in range(times):
            at_ms = world.clock.now_ms()
            payment = f"pi_{account}_{at_ms}"
            await world.records.keep_credited(Credited(payment, payment, account, FIVE, FIVE, at_ms=at_ms))
            world.clock.pass_seconds(300)

    await pays("acct_few", 9)
    await world.rounds()
    assert await world.open() == []
    await pays("acct_many", 10)
    await world.rounds()
    assert await world.open() == [("account_payments", "acct_many")]
    await world.rounds(2 * HOUR, every=600)
    assert await world.open() == []


async def test_disputes_count_by_their_share_of_a_month(world: World) -> None:
    await world.events(PAID[0], 25)
    await world.events("charge.dispute.created", 2)
    world.clock.pass_seconds(DAY)
    await world.rounds()
    assert await world.open() == [], "two are not enough to say"
    await world.events("charge.dispute.created", 1)
    await world.rounds()
    assert await world.open() == [], "a month is counted anew every five minutes"
    await world.rounds(600)
    assert await world.open() == [("dispute_rate", "")]
    await world.events(PAID[1], 376)
    await world.rounds(2 * HOUR, every=600)
    assert await world.open() == [], "three of 401 are fewer than 0.75 %"


async def test_what_waits_and_what_is_parked_is_an_alert_until_it_is_done(world: World) -> None:
    ask = world.records.ask
    await world.events("checkout.session.completed", 1, status="parked")
    await ask(
        "INSERT INTO licence_restore SELECT 'cus_1', $1 FROM (VALUES (1), (2), (3), (4), (5))", world.clock.now_ms()
    )
    await world.records.outbox.put("balance.low", ACCOUNT, {}, cause="low", now_ms=world.clock.now_ms())
    job = """INSERT INTO sync_jobs (id, kind, cause, user_id, provider, state, tries, turn, due, since, created,
changed, progress) VALUES ('job_1', 'k', 'c', 'u', 'p', 'failed', 0, 0, 1, 1, 1, 1, '{}')"""
    await ask(job)
    await world.rounds()
    assert await world.open() == [("jobs_failed", ""), ("payment_parked", "")]
    await ask("UPDATE sync_jobs SET state = 'waiting'")
    await ask("UPDATE event SET status = 'done'")
    await ask("INSERT INTO licence_restore VALUES ('cus_1', $1)", world.clock.now_ms())
    await world.rounds(2400, every=600)
    assert await world.open() == [("licence_devices", "cus_1"), ("outbox_behind", "")]
    waiting = await world.records.outbox.take(now_ms=world.clock.now_ms(), lease_ms=1)
    assert waiting is not None
    await world.records.outbox.delivered(waiting.id)
    await ask("UPDATE outgoing SET state = 'delivered'")
    world.clock.pass_seconds(31 * DAY)
    await world.rounds(ROUND)
    assert await world.open() == []


async def test_a_host_says_what_is_wrong_with_it_and_what_a_dead_one_said_ends(world: World) -> None:
    one, two = world.hosts
    one.wrong = [Sign("disk_low", "host-1", {"free_bytes": 3}), Sign("ledger_stuck", "host-1")]
    two.wrong = [Sign("ledger_stuck", "host-2")]
    await world.rounds()
    assert await world.open() == [("disk_low", "host-1"), ("ledger_stuck", "host-1"), ("ledger_stuck", "host-2")]
    one.wrong = [Sign("disk_low", "host-1")]
    world.hosts = [one]  # and two is gone, with its lease if it had it
    await world.rounds(1800, every=300)
    assert await world.open() == [("disk_low", "host-1")]
    world.hosts = [two]
    two.wrong = []
    await world.rounds(1800, every=300)
    assert await world.open() == []


async def test_who_looks_for_all_is_replaced_when_it_dies(world: World) -> None:
    one, two = world.hosts
    await one.watch.look()
    world.hosts = [two]
    await world.events("charge.failed", 20)
    await world.rounds()
    assert await world.open() == [], "the claim of the other still holds"
    world.clock.pass_seconds(120)
    await world.rounds()
    assert await world.open() == [("cards_refused", "")]


async def test_what_is_off_is_not_watched_and_what_is_muted_is_not_told(world: World) -> None:
    off = replace(LIMITS, unwatched=frozenset({"cards_refused"}))
    world.hosts = [Host("host-1", world.records, world.clock, off)]
    await world.book.mute("refunds_surge", until_ms=world.clock.now_ms() + HOUR * 500)
    await world.events("charge.failed", 20)
    await world.events("charge.refunded", 20)
    await world.rounds()
    assert (await world.open(), await world.told()) == ([("refunds_surge", "")], [])
    world.clock.pass_seconds(1800)
    await world.rounds()
    assert await world.told() == ["opened refunds_surge"], "it still holds, and may be told"


async def test_an_account_that_spends_as_it_never_did_is_an_alert_about_it(world: World) -> None:
    """Two workers count; a week is learned; then one hour is ten times as much as any before."""
    for hour in range(10 * 24):
        for host in world.hosts:
            host.spent = {"acct_joined": 1_500_000, "acct_small": 900}
        await world.rounds(HOUR, every=1800 if hour % 24 == 0 else HOUR)
    assert await world.open() == []
    habit = (await world.book.habits(["acct_root"]))["acct_root"]
    assert '"peak":3000000' in habit
    world.hosts[0].spent = {"acct_root": 20_000_000}
    await world.rounds()
    [found] = await world.book.found(open_only=True, count=9)
    assert (found.name, found.subject, found.facts["why"]) == ("account_spend", "acct_root", "sudden")
    assert found.facts["micros"] == 20_000_000
    await world.rounds(5 * HOUR, every=900)
    assert (await world.open(), await world.told()) == ([], ["opened account_spend", "ended account_spend"])
    again = World(world.records)
    again.clock.ms = world.clock.ms
    again.hosts[1].spent = {"acct_root": 60_000_000}
    again.clock.pass_seconds(200)
    await again.rounds(2 * ROUND)
    assert await again.open() == [("account_spend", "acct_root")], "what was learned outlives the process"


async def test_counts_of_a_process_that_began_anew_are_not_taken_off(world: World) -> None:
    [one, _] = world.hosts
    one.counts("unpaid", 7)
    await one.watch.look()
    one.counted = {"unpaid": 2}
    await one.watch.look()
    one.counts("unpaid", 3)
    await one.watch.look()
    assert await world.book.counts(since_ms=0, until_ms=2 * world.clock.now_ms()) == {"unpaid": 10}


def test_what_is_counted_comes_from_the_metrics() -> None:
    counts = Counts()
    counts.counters = {
        ("gateway_webhooks_received", "refused"): 3, ("gateway_webhooks_received", "new"): 9,
        ("gateway_requests", "a", "402"): 4, ("gateway_requests", "b", "402"): 1, ("gateway_requests", "b", "200"): 8,
        ("gateway_requests", "a", "502"): 6, ("gateway_refusals", "a", "unknown_token"): 2,
        ("gateway_refusals", "a", "no_route"): 5,
    }  # fmt: skip
    assert measures(counts) == {"webhooks.refused": 3, "unpaid": 5, "failed": 6, "guessed": 2}


# --- telling ----------------------------------------------------------------------------------------------------------


class Ways:
    """A webhook's receiver and a mail server, which fail when they are told to."""

    def __init__(self) -> None:
        self.sent: list[tuple[Mapping[str, str], bytes]] = []
        self.mailed: list[tuple[str, Letter]] = []
        self.fails: dict[str, NotSent] = {}

    async def send(self, head: Mapping[str, str], body: bytes) -> None:
        if "webhook" in self.fails:
            raise self.fails["webhook"]
        self.sent.append((head, body))

    async def mail(self, letter: Letter, to: str) -> None:
        if to in self.fails:
            raise self.fails[to]
        self.mailed.append((to, letter))

    async def close(self) -> None:
        pass


def teller(world: World, ways: Ways, **more: Any) -> TellOperators:
    usual: dict[str, Any] = {"sends": ways, "secrets": [], "mails": ways, "addresses": ["a@x.test", "b@x.test"]}
    return TellOperators(
        outbox=world.records.outbox, live=False, clock=world.clock, report=lambda *_, **__: None, **{**usual, **more}
    )


async def test_one_way_that_fails_holds_up_no_other_and_is_tried_again(world: World) -> None:
    ways = Ways()
    told = teller(world, ways)
    await world.book.note(Sign("disk_low", "host-1"), now_ms=world.clock.now_ms(), tells=True)
    ways.fails = {"webhook": NotSent("away"), "a@x.test": NotTaken("no")}
    await told.deliver()
    assert ([to for to, _ in ways.mailed], ways.sent) == (["b@x.test"], [])
    ways.fails = {}
    world.clock.pass_seconds(60)
    for _ in range(2):
        await told.deliver()
    assert sorted(to for to, _ in ways.mailed) == ["a@x.test", "b@x.test"]
    assert len(ways.sent) == 1
    world.clock.pass_seconds(4 * DAY)
    await world.book.note(Sign("disk_low", "host-2"), now_ms=world.clock.now_ms() - 4 * DAY * 1000, tells=True)
    await told.deliver()
    assert len(ways.sent) == 1
    assert (await world.records.outbox.entries("failed", count=9))[0].error == "it is too old"


async def test_mail_alone_or_a_webhook_alone_is_enough(world: World) -> None:
    for more in ({"sends": None}, {"mails": None}):
        ways = Ways()
        await world.book.note(Sign("disk_low", str(more)), now_ms=world.clock.now_ms(), tells=True)
        await teller(world, ways, **more).deliver()
        assert (len(ways.sent), len(ways.mailed)) == ((0, 2) if "sends" in more else (1, 0))
        tried = await teller(world, ways, **more).test("test_1")
        assert [one.way for one in tried] == (["mail", "mail"] if "sends" in more else ["webhook"])
    assert {one.state for one in await world.records.outbox.entries(None, count=99)} == {"delivered"}


async def test_whoever_is_not_written_to_any_more_gets_nothing(world: World) -> None:
    ways = Ways()
    await world.book.note(Sign("disk_low"), now_ms=world.clock.now_ms(), tells=True)
    ways.fails = {"a@x.test": NotSent("away")}
    await teller(world, ways, addresses=["a@x.test"]).deliver()
    ways.fails = {}
    world.clock.pass_seconds(60)
    await teller(world, ways, addresses=["c@x.test"]).deliver()
    assert ways.mailed == []


@pytest.mark.parametrize("type", get_args(AlertType))
def test_every_message_is_a_letter_that_names_what_to_do(type: AlertType) -> None:
    content = {
        "alert": "alr_1",
        "name": "disk_low",
        "subject": "host-1",
        "severity": "page",
        "facts": {"free_bytes": 3},
    }
    written = letter(Outgoing("ntc_1", type, "", {} if type == "alert.test" else content, 1, 1))
    assert written.stop is None
    if type != "alert.test":
        assert written.subject == f"[gateway] {type[6:]}: disk_low (host-1)"
        assert "gateway alerts ack alr_1" in written.text
        assert "free_bytes: 3" in written.text
        assert WORDS["disk_low"][1] in written.text


def test_the_readme_says_of_every_alert_how_bad_it_is_and_what_to_do() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    section = readme.partition("\n### Alerts\n")[2].partition("\n### ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    assert [(name.strip("`"), severity) for name, severity, _ in rows] == [(name, WORDS[name][0]) for name in NAMES]
    assert all(len(what) > 15 for _, _, what in rows)
