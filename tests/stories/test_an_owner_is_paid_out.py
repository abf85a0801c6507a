"""An owner is paid out: callers pay and spend, and what is due leaves once, whoever is killed when."""

import asyncio
import inspect
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml
from aiohttp import ClientSession
from click.testing import CliRunner, Result

from gateway.adapters.payouts import RecordedPayouts
from gateway.adapters.sqlite.bookkeeping import EVERYTHING_MS, open_books
from gateway.adapters.sqlite.fold import Fold
from gateway.app.paying_owners import pay_out
from gateway.app.stores import owners_money
from gateway.cli import main
from gateway.cli.stage import Stage
from gateway.core.ledger import Credit
from gateway.core.money import Money
from gateway.core.payments import Event
from gateway.core.payouts import DAY_MS, Payout
from gateway.flows.pay_out import PayOut
from tests.callers import Funded, audited, pay, unpaid
from tests.fakes import FakeClock
from tests.forms import staged
from tests.postgres_server import Server
from tests.stories.test_the_readme import blocks, path, script, section

ANNA = "acct_anna1"
SHARE = 1_004_000
"""What one request is to anna: 1.255 usd less a fifth."""


@dataclass
class Market:
    """A caller has paid 50.00 usd in `session`; anna sells, and Stripe keeps 2.9 % and 0.30."""

    stage: Stage
    caller: Funded
    session: str
    clock: FakeClock

    async def buy(self, count: int = 1) -> None:
        async with ClientSession() as client:
            for _ in range(count):
                async with client.get(self.stage.url + "/search/oslo", headers=self.caller.headers) as answer:
                    assert answer.status == 200, await answer.text()
        await self.folded()

    async def folded(self) -> None:
        await self.stage.gateway.ledger.durable()
        if self.stage.settings.store_url is not None:
            shown = await self.command("ledger", "fold")
            assert shown.exit_code == 0, shown.output
            return
        with closing(open_books(self.stage.settings.store_path, write=True)) as sql:
            folding = Fold()
            while folding.step(sql, closed_before_ms=EVERYTHING_MS):
                pass

    async def heard(self) -> None:
        """Everybody has heard of everything."""
        await self.stage.stand_in.settled()
        assert self.stage.gateway.paying.webhooks is not None
        await self.stage.gateway.paying.webhooks.settled()

    def payer(self, **others: Any) -> PayOut:
        """Who pays, as another process of the same gateway would, with a clock of our own."""
        gateway = self.stage.gateway
        made = pay_out(
            self.stage.settings,
            gateway.paying.payments,
            gateway.records,
            gateway.ledger,
            accounts=gateway.paying.owning.accounts,
            roots=gateway.identity.aliases,
            witness=gateway.witness,
            clock=self.clock,
            report=lambda *_, **__: None,
        )
        assert made is not None
        for name, other in others.items():
            setattr(made, f"_{name}", other(getattr(made, f"_{name}")))
        return made

    @property
    def book(self) -> RecordedPayouts:
        return RecordedPayouts(self.stage.gateway.records.ask)

    async def payouts(self) -> list[Payout]:
        return (await self.book.list_payouts())[::-1]

    async def left(self) -> int:
        """What has left anna in the books."""
        found = await owners_money(self.stage.settings).owners_books()
        return sum(entry.micros for entry in found.left if entry.owner == "anna")

    async def acts(self, payout: str) -> list[str]:
        """What is on the trail of it, in order; plans are only attempts."""
        steps = await self.stage.gateway.records.trail.steps_before(2**62, object=payout, count=99)
        return [step.act.action.partition(".")[2] for step in steps if step.act.action != "payout.plan"][::-1]

    def sent(self) -> list[int]:
        return [one["amount"] for one in self.stage.stand_in.transfers]

    def written(self) -> Path:
        """The configuration of the gateway that runs, as a file."""
        settings = self.stage.settings
        config = settings.secrets_path.with_name("operator.yaml")
        values = self.stage._config(int(self.stage.url.rpartition(":")[2]), settings.admin[1])
        if settings.store_url is None:
            values["store"] = f"sqlite:{settings.store_path}"
        config.write_text(json.dumps(values))
        return config

    async def command(self, *arguments: str) -> Result:
        """An operator types, beside the gateway that runs."""
        return await asyncio.to_thread(CliRunner().invoke, main, [*arguments, "--config", str(self.written())])

    async def told(self, *arguments: str, code: int = 0) -> Any:
        shown = await self.command(*arguments, "--json")
        assert shown.exit_code == code, shown.output
        return json.loads(shown.stdout)


@asynccontextmanager
async def market(
    folder: Path,
    *,
    connected: bool = True,
    owners: dict[str, Any] | None = None,
    store: str = "sqlite:./gateway.db",
    **payouts: Any,
) -> AsyncIterator[Market]:
    route = {"match": "/search/", "upstream": "weather", "strip_prefix": True, "price": "1.255 usd", "owner": "anna"}
    config: dict[str, Any] = {
        "owners": owners or {"anna": {"commission_bps": 2000, "stripe_account": ANNA}},
        "store": store,
        "payouts": {"hold_back_days": 0, "every": "daily", **payouts},
        "routes": [{"name": "search", **route}],
    }
    alone = patch("gateway.app.paying.SWEEP_SECONDS", 86_400)  # nobody pays here but who is told to
    stripe = {"top_up": "50.00 usd"}
    with alone:
        staging = staged("relay", folder, **config, stripe=stripe)
        async with staging as stage, ClientSession() as client:
            yield await opened(stage, client, connected=connected)


async def opened(stage: Stage, client: ClientSession, *, connected: bool) -> Market:
    """The caller has paid. The clock is an hour behind the next midnight, UTC, so that no run is due by chance."""
    stage.stand_in.take_fees(290, 30)
    if connected:
        stage.stand_in.connect(ANNA)
    refused = await unpaid(stage, client, "/search/oslo")
    session = await pay(stage, refused["payment_url"])
    now_ms = stage.gateway.clock.now_ms()
    clock = FakeClock(now_ms - now_ms % DAY_MS + DAY_MS + 3_600_000)
    return Market(stage, Funded(refused["access_token"], refused["account"]), session["id"], clock)


class Killed(BaseException):
    """The process is gone."""


class Deadly:
    """Kills who calls for the `last`th time: before it is done, or when it is done and nobody heard."""

    def __init__(self, last: float, *, done: bool) -> None:
        self.last, self.done, self.calls = last, done, 0

    def __call__(self, port: Any) -> Any:
        deadly = self

        class Port:
            def __getattr__(self, name: str) -> Any:
                found = getattr(port, name)
                if not inspect.iscoroutinefunction(found):
                    return found

                async def call(*values: Any, **named: Any) -> Any:
                    deadly.calls += 1
                    if deadly.calls == deadly.last and not deadly.done:
                        raise Killed
                    answer = await found(*values, **named)
                    if deadly.calls == deadly.last:
                        raise Killed
                    return answer

                return call

        return Port()


PORTS = ("money", "lines", "book", "ledger", "accounts", "transfers", "witness")


async def test_whoever_is_killed_at_any_step_it_is_paid_exactly_once(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        paid, last, survived = 0, 0, False
        while not survived:
            last += 1
            for done in (False, True):
                await here.buy()
                paid += 1
                deadly = Deadly(last, done=done)
                try:
                    await here.payer(**dict.fromkeys(PORTS, deadly)).run()
                    survived = True
                except Killed:
                    pass
                here.clock.pass_seconds(120)
                await here.payer().sweep()
                await here.payer().run()
                expected = paid * SHARE - paid * SHARE % 10_000
                assert sum(here.sent()) * 10_000 == await here.left() == expected, (last, done, await here.payouts())
                assert {one.state for one in await here.payouts()} == {"created"}
        assert last > 12
        for one in await here.payouts():
            assert sorted(await here.acts(one.id)) == ["created", "sending", "written"], "each once, whoever was killed"
        await here.folded()
        audited(here.stage)


async def test_of_many_who_pay_at_once_one_does_and_events_that_come_again_change_nothing(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        await here.buy(3)
        await asyncio.gather(*(here.payer().run() for _ in range(5)))
        assert here.sent() == [301]
        assert await here.left() == 3_010_000
        await here.buy(2)
        here.clock.pass_seconds(86_400)
        found = await asyncio.gather(*(here.payer().on_schedule() for _ in range(5)))
        assert sorted(map(len, found)) == [0, 0, 0, 0, 1]
        assert here.sent() == [301, 201]
        await here.buy(1)
        here.clock.pass_seconds(7200)
        assert await here.payer().on_schedule() == []  # not before its next turn
        for event in [one for one in here.stage.stand_in.events if one["type"].startswith("transfer.")]:
            here.stage.stand_in.deliver_again(event["id"], times=5)
        await here.heard()
        assert [one.state for one in await here.payouts()] == ["created", "created"]
        here.clock.pass_seconds(86_400)
        await here.payer().sweep()
        assert here.sent() == [301, 201, 100]


async def test_an_answer_that_nobody_heard_is_looked_for_and_never_sent_again(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        await here.buy(3)
        here.stage.stand_in.hold(["transfer.created"])
        here.stage.stand_in.cut_answers(3, only_writes=True)  # as often as the SDK tries
        [paid] = await here.payer().run()
        assert (paid.state, len(here.sent())) == ("sending", 1)
        assert await here.payer().run() == []  # one is under way
        await here.payer().sweep()
        assert [one.state for one in await here.payouts()] == ["sending"]  # not yet: a call may be under way
        here.clock.pass_seconds(120)
        here.stage.stand_in.fail_requests(3, 500)
        await here.payer().sweep()
        here.clock.pass_seconds(2 * 86_400)
        here.stage.stand_in.forget_keys()
        await here.payer().sweep()
        [paid] = await here.payouts()
        assert (paid.state, paid.tries, here.sent()) == ("created", 3, [301])
        # and one that never got there is sent, with the same key
        await here.buy(2)
        here.stage.stand_in.fail_requests(3, 500, only_writes=True)
        [paid] = await here.payer().run()
        assert (paid.state, here.sent()) == ("sending", [301])
        here.clock.pass_seconds(120)
        await here.payer().sweep()
        assert here.sent() == [301, 201]
        assert here.stage.stand_in.transfers[1]["transfer_group"] == paid.key


class Counted:
    """Counts the transfers that are asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, port: Any) -> Any:
        counted = self

        class Port:
            def __getattr__(self, name: str) -> Any:
                counted.asked += name == "transfer"
                return getattr(port, name)

        return Port()


async def test_of_many_who_take_a_payout_up_one_sends_it(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        await here.buy(3)
        here.stage.stand_in.fail_requests(3, 500, only_writes=True)
        await here.payer().run()
        here.clock.pass_seconds(120)
        counted = Counted()
        await asyncio.gather(*(here.payer(transfers=counted).sweep() for _ in range(5)))
        assert (counted.asked, here.sent()) == (1, [301])


async def test_what_is_paid_between_two_looks_is_not_paid_again(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        await here.buy(3)
        others: list[Payout] = []

        class Slow:
            """Asked for an account, it lets somebody else pay first."""

            def __init__(self, accounts: Any) -> None:
                self._accounts = accounts

            async def payable(self, owner: str) -> Any:
                others.extend(await here.payer().run())
                return await self._accounts.payable(owner)

        assert await here.payer(accounts=Slow).run() == []
        assert ([one.micros for one in others], here.sent()) == ([3_010_000], [301])
        assert await here.left() == 3_010_000


async def test_records_that_are_older_than_the_books_pay_nothing_twice(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        await here.buy(3)
        await here.payer().run()
        await here.buy(2)
        await here.stage.gateway.records.ask("DELETE FROM payouts RETURNING number")
        here.stage.stand_in.forget_keys()
        [paid] = await here.payer().run()
        assert (paid.number, paid.micros, paid.state, here.sent()) == (1, 3_010_000, "created", [301])
        [paid] = await here.payer().run()
        assert (paid.number, here.sent()) == (2, [301, 201])
        # and of what came back, what the books say
        back = Credit(f"{paid.ref}:back:0", "owner:anna", Money.parse("0.50 usd"), "returned", "it was reversed")
        assert await here.stage.gateway.ledger.credit(back)
        here.stage.stand_in.reverse(str(paid.transfer))
        await here.heard()
        [_, paid] = await here.payouts()
        assert (paid.state, paid.came_back, await here.left()) == ("reversed", 2_010_000, 3_010_000)
        await here.folded()
        audited(here.stage)


async def test_an_event_tells_what_the_answer_did_not(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        await here.buy(3)
        here.stage.stand_in.cut_answers(3, only_writes=True)
        await here.payer().run()
        await here.heard()
        assert [one.state for one in await here.payouts()] == ["created"]
        [paid] = await here.payouts()
        about = {**here.stage.stand_in.transfers[0]}
        older = {"id": "evt_older", "object": "event", "type": "transfer.paid", "livemode": False, "created": 1}
        await hear(here, older | {"data": {"object": about}})
        [paid] = await here.payouts()
        assert paid.state == "paid"
        for id, key in (("evt_a", "farebox-00000000-anna-usd-1"), ("evt_b", f"{here.payer().prefix}anna-usd-99")):
            strange = about | {"metadata": {"farebox_payout": key}}
            await hear(here, older | {"id": id, "type": "transfer.created", "data": {"object": strange}})
        assert await here.payouts() == [paid]
        said: list[str] = []
        payer = here.payer(report=lambda _: lambda what, **__: said.append(what))
        others = about | {"metadata": {"farebox_payout": "farebox-00000000-anna-usd-1"}}
        assert not await payer.heard(Event("evt_c", "transfer.created", False, 1, others))
        assert said == []  # it is another gateway's at the same account


async def hear(here: Market, event: dict[str, Any]) -> None:
    from gateway.adapters.stripe.webhooks import event_of

    read = event_of(event)
    assert read is not None
    assert here.stage.gateway.paying.webhooks is not None
    await here.stage.gateway.paying.webhooks.take(read)
    await here.stage.gateway.paying.webhooks.settled()


async def test_what_is_refused_is_due_again_and_is_paid_once_it_can_be(tmp_path: Path) -> None:
    async with market(tmp_path, connected=False) as here:
        await here.buy(3)
        [refused] = await here.payer().run()
        assert (refused.state, refused.error, await here.left()) == ("returned", "resource_missing", 0)
        here.stage.stand_in.connect(ANNA, transfers=False)
        [refused] = await here.payer().run()
        assert (refused.number, refused.error) == (2, "insufficient_capabilities_for_transfer")
        here.stage.stand_in.connect(ANNA)
        [paid] = await here.payer().run()
        assert (paid.number, paid.state, here.sent()) == (3, "created", [301])
        assert await here.acts("anna-usd-1") == ["written", "sending", "refused", "returned"]
        view = "SELECT action, before_id, after_id FROM transaction_audit WHERE object = 'anna-usd-3' ORDER BY number"
        assert [tuple(row) for row in await here.stage.gateway.records.ask(view)] == [
            ("payout.plan", "", "payout:anna:usd:3"),
            ("payout.written", "planned", "payout:anna:usd:3"),
            ("payout.sending", "written", paid.key),
            ("payout.created", "sending", paid.transfer),
        ]
        await here.folded()
        assert audited(here.stage).left_owners == {"usd": 3_010_000}


async def test_what_the_balance_at_stripe_does_not_cover_waits_as_one_payout_until_it_does(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        await here.buy(3)
        world = here.stage.stand_in._world
        whole, world.balance["usd"] = world.balance["usd"], 300  # Stripe keeps more for lost disputes than it holds
        [waits] = await here.payer().run()
        assert (waits.number, waits.state, waits.error, waits.waits) == (1, "sending", "balance_insufficient", True)
        first_ms = waits.due_ms
        assert await here.left() == 3_010_000, "it is taken in the books, and not given back"
        said: list[tuple[str, int]] = []
        payer = here.payer(report=lambda _: lambda what, **more: said.append((what, more.get("times", 0))))
        assert await payer.run() == [], "no other is planned"
        [prospect] = await payer.prospects()
        assert prospect.why_not == "a payout waits until the platform's balance at Stripe covers it"
        await payer.sweep()
        assert said == [], "not before its time"
        waited = []
        for _ in range(8):
            [now] = await here.payouts()
            waited.append(now.due_ms - here.clock.now_ms())
            here.clock.ms = now.due_ms
            await payer.sweep()
        assert [what for what, _ in said] == ["a payout waits for the balance"] * 8
        assert [times for _, times in said] == list(range(2, 10))
        assert waited == sorted(waited)
        assert (waited[0], waited[-1]) == (300_000, 6 * 3_600_000), "ever less often"
        assert first_ms < here.clock.now_ms()
        [shown] = (await here.told("payouts", "list"))["payouts"]
        assert (shown["id"], shown["waits"], shown["error"]) == ("anna-usd-1", True, "balance_insufficient")
        assert await here.book.waiting() == 1
        world.balance["usd"] = whole
        [now] = await here.payouts()
        here.clock.ms = now.due_ms
        here.stage.stand_in.cut_answers(3, only_writes=True)
        await payer.sweep()
        here.stage.stand_in.cut_answers(0)
        await here.heard()
        here.clock.ms += 10 * 3_600_000
        await payer.sweep()
        [paid] = await here.payouts()
        assert (paid.number, paid.state, paid.waits, here.sent()) == (1, "created", False, [301])
        assert await here.book.waiting() == 0
        await here.folded()
        assert audited(here.stage).left_owners == {"usd": 3_010_000}
        acts = await here.stage.gateway.records.trail.steps_before(2**62, object="anna-usd-1", count=99)
        assert "payout.refused" not in [step.act.action for step in acts]
        assert await here.acts("anna-usd-1") == ["written", "sending", "waits", "created"]


async def test_a_payout_that_waits_is_given_up_and_is_due_again(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        await here.buy(3)
        world = here.stage.stand_in._world
        whole, world.balance["usd"] = world.balance["usd"], 0
        payer = here.payer()
        await payer.run()
        [waits] = await here.payouts()
        assert waits.waits
        about = ("payouts", "cancel", "anna-usd-1", "--reason", "it will not come")
        would = await here.told(*about, "--dry-run")
        assert (would["dry_run"], would["waits"], await here.left()) == (True, True, 3_010_000)
        # Somebody asks for it just now: nobody knows yet what becomes of that.
        asked = replace(
            waits, tries=waits.tries + 1, changed_ms=here.clock.now_ms(), due_ms=here.clock.now_ms() + 60_000
        )
        assert await here.book.move_payout(waits, asked)
        refused = await here.command(*about)
        assert (refused.exit_code, "asked for just now" in refused.output, await here.left()) == (3, True, 3_010_000)
        assert await here.book.move_payout(asked, replace(waits, tries=asked.tries + 1))
        done = await here.told(*about)
        assert (done["state"], done["came_back"], done["error"], await here.left()) == (
            "returned", "3.01 usd", "cancelled", 0,
        )  # fmt: skip
        assert await here.acts("anna-usd-1") == ["written", "sending", "waits", "cancel", "returned"]
        again = await here.command(*about)
        assert (again.exit_code, "it does not wait" in again.output) == (3, True)
        world.balance["usd"] = whole
        await here.buy(1)
        [paid] = await here.payer().run()
        assert (paid.number, paid.state, here.sent()) == (2, "created", [401])
        await here.folded()
        assert audited(here.stage).left_owners == {"usd": 4_010_000}


async def test_one_run_pays_what_was_shared_and_what_was_held_each_as_a_payout(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        await here.buy(3)
        ledger = here.stage.gateway.ledger
        await ledger.credit(Credit("proceeds:txn_1:due", "held:anna:due", Money(4_000_000, "usd"), "proceeds", "free"))
        paid = await here.payer().run()
        assert [(one.number, one.source, one.state, one.micros) for one in paid] == [
            (1, "proceeds", "created", 4_000_000),
            (2, "shares", "created", 3_010_000),
        ]
        assert sorted(here.sent()) == [301, 400]
        assert await here.payer().run() == []
        assert (await ledger.balance("held:anna:due", "usd")).available.micros == 0
        compared = await here.told("payouts", "reconcile", "--from", "2020-01-01")
        assert (compared["compared"], compared["differences"]) == (2, [])
        await here.folded()
        assert audited(here.stage).left_owners == {"usd": 3_010_000}


async def test_what_is_fetched_back_is_due_again_part_by_part(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        await here.buy(3)
        [paid] = await here.payer().run()
        assert paid.transfer is not None
        here.stage.stand_in.reverse(paid.transfer, 100)
        await here.heard()
        for event in [one for one in here.stage.stand_in.events if one["type"] == "transfer.reversed"]:
            here.stage.stand_in.deliver_again(event["id"], times=5)
        await here.heard()
        [paid] = await here.payouts()
        assert (paid.state, paid.came_back, await here.left()) == ("created", 1_000_000, 2_010_000)
        [again] = await here.payer().run()
        assert again.micros == 1_000_000

        here.stage.stand_in.hold(["transfer.reversed", "transfer.updated"])
        here.stage.stand_in.cut_answers(3, only_writes=True)
        would = await here.told("payouts", "reverse", paid.id, "--reason", "a mistake", "--dry-run")
        assert (would["dry_run"], would["state"]) == (True, "created")
        assert here.stage.stand_in.transfers[0]["amount_reversed"] == 100
        assert (await here.command("payouts", "reverse", paid.id, "--reason", "a mistake")).exit_code == 3
        assert here.stage.stand_in.transfers[0]["amount_reversed"] == 301  # and nobody knows
        done = await here.told("payouts", "reverse", paid.id, "--reason", "a mistake")
        assert (done["state"], done["came_back"]) == ("reversed", "3.01 usd")
        here.stage.stand_in.release()
        await here.heard()
        assert await here.left() == 1_000_000
        assert [one for one in await here.acts(paid.id) if one == "reversed"] == ["reversed"] * 2, "part by part"
        shown = await here.command("payouts", "reverse", paid.id, "--reason", "a mistake")
        assert (shown.exit_code, "nothing to fetch back" in shown.output) == (3, True)
        await here.folded()
        audited(here.stage)


async def test_an_owner_without_an_account_or_on_hold_is_owed_and_not_paid(tmp_path: Path) -> None:
    async with market(tmp_path, minimum="2.00 usd") as here:
        await here.buy()
        [poor] = await here.payer().prospects()
        assert (poor.amount.micros, poor.why_not) == (0, "too little is payable yet")
        await here.buy()
        held = await here.told("payouts", "hold", "anna", "--reason", "her papers are missing")
        assert held == {"owner": "anna", "on_hold": True, "changed": True}
        assert await here.payer().run() == []
        [told] = await here.told("payouts", "run", "--dry-run")
        assert (told["due"], told["pays"]) == ("2.008 usd", "0.00 usd")
        assert told["why_not"] == "on hold: her papers are missing"
        listed = await here.told("payouts", "list")
        assert [one["owner"] for one in listed["on_hold"]] == ["anna"]
        assert (await here.told("payouts", "hold", "anna", "--reason", "again"))["changed"] is False
        assert (await here.told("payouts", "resume", "anna", "--reason", "they came"))["changed"] is True
        assert (await here.command("payouts", "hold", "bert", "--reason", "who")).exit_code == 2
        [paid] = await here.told("payouts", "run", "--owner", "anna")
        assert (paid["id"], paid["amount"], paid["state"]) == ("anna-usd-1", "2.00 usd", "created")
        assert here.sent() == [200]
        here.stage.stand_in.send_on(ANNA, 200, succeed=False)
        await here.heard()
        shown = await here.told("payouts", "show", "anna-usd-1")
        assert [(one["amount"], one["status"], one["error"]) for one in shown["to_bank"]] == [
            ("2.00 usd", "failed", "account_closed")
        ]
        assert (await here.command("payouts", "show", "anna-usd-9")).exit_code == 3
        assert (await here.command("payouts", "show", "what")).exit_code == 2


async def test_owners_bear_their_share_of_what_a_caller_spent_and_took_back(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        await here.buy(20)  # 25.10 usd, of which 20.08 are anna's
        await here.payer().run()
        dispute = here.stage.stand_in.dispute(here.session, 4000)
        await here.heard()  # 24.90 are left and 40.00 go: 15.10 are owed, of which 12.08 are anna's
        assert await here.payer().run() == []
        [stands] = await here.payer().prospects()
        assert stands.standing.clawed_back == 12_080_000
        await here.payer().sweep()
        assert await here.payer().prospects() == [stands]
        assert (stands.standing.due, stands.why_not) == (
            20_080_000 - 20_080_000 - 12_080_000,
            "less than nothing is due",
        )
        assert await here.payer().run() == []
        await here.folded()
        assert audited(here.stage).left_owners == {"usd": 32_160_000}
        [books] = await here.told("books", "--stripe")
        assert (books["callers"], books["clawed_back"], books["difference"]) == ("-15.10 usd", "12.08 usd", "0.00 usd")
        assert books["stripe"]["uneven"] is False

        here.stage.stand_in.close_dispute(dispute["id"], won=True)
        await here.heard()
        await here.payer().sweep()
        [stands] = await here.payer().prospects()
        assert (stands.standing.clawed_back, stands.standing.due) == (0, 0)
        await here.buy(1)
        [paid] = await here.payer().run()
        assert paid.micros == 1_000_000
        await here.folded()
        audited(here.stage)


async def test_the_platform_may_bear_it_instead(tmp_path: Path) -> None:
    async with market(tmp_path, claw_back="platform") as here:
        await here.buy(20)
        here.stage.stand_in.refund(here.session, 4000)
        await here.heard()
        assert await here.payer().claw_back() == 0
        [stands] = await here.payer().prospects()
        assert (stands.standing.clawed_back, stands.amount.micros) == (0, 20_080_000)


async def test_stripe_and_the_books_are_compared_in_both_directions(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        await here.buy(3)
        here.stage.stand_in.hold(["transfer.created", "transfer.reversed", "transfer.updated"])
        here.stage.stand_in.cut_answers(3, only_writes=True)
        await here.payer().run()
        day = ("--from", "2020-01-01")
        found = await here.told("payouts", "reconcile", *day, "--dry-run", code=1)
        assert [(one["payout"], one["what"], one["sent"], one["booked"]) for one in found["differences"]] == [
            ("anna-usd-1", "sent at Stripe, and here it is not known yet", "3.01 usd", "3.01 usd")
        ]
        assert found["fees"] == {"usd": "1.75 usd"}
        found = await here.told("payouts", "reconcile", *day)
        assert [one["healed"] for one in found["differences"]] == [True]
        [paid] = await here.payouts()
        assert (paid.state, paid.transfer is not None) == ("created", True)
        here.stage.stand_in.reverse(str(paid.transfer), 1)
        found = await here.told("payouts", "reconcile", *day, "--dry-run", code=1)
        [only] = found["differences"]
        assert (only["what"], only["sent"]) == ("another amount is in the books", "3.00 usd")
        assert (await here.told("payouts", "reconcile", *day))["differences"][0]["healed"] is True
        clean = await here.told("payouts", "reconcile", *day)
        assert (clean["compared"], clean["differences"]) == (1, [])
        # what nobody here sent, and what nobody there knows
        world = here.stage.stand_in._world
        [transfer] = world.shelf("transfer")
        world.forget(transfer)
        found = await here.told("payouts", "reconcile", *day, code=1)
        assert [one["what"] for one in found["differences"]] == ["in the books, not sent at Stripe"]
        strange = transfer | {"metadata": {"farebox_payout": f"{here.payer().prefix}anna-usd-7"}}
        world.keep(strange)
        found = await here.told("payouts", "reconcile", *day, code=1)
        assert [one["what"] for one in found["differences"]] == [
            "sent at Stripe, not on record here",
            "in the books, not sent at Stripe",
        ]


async def test_every_cent_is_on_the_books_and_equal_to_what_stripe_has(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        await here.buy(7)
        here.stage.stand_in.refund(here.session, 1234)
        await here.heard()
        await here.payer().run()
        [books] = await here.told("books", "--stripe")
        there = books.pop("stripe")
        assert books == {
            "unit": "usd",
            "paid_in": "50.00 usd",
            "refunded": "12.34 usd",
            "otherwise": "0.00 usd",
            "callers": "28.875 usd",
            "owners_due": "0.008 usd",
            "paid_out": "7.02 usd",
            "clawed_back": "0.00 usd",
            "held": "0.00 usd",
            "released": "0.00 usd",
            "platform": "1.757 usd",
            "difference": "0.00 usd",
        }
        assert here.stage.stand_in.balance == {"usd": 5000 - 175 - 1234 - 702}
        assert (there["balance"], there["fees"], there["uneven"]) == ("28.89 usd", "1.75 usd", False)
        shown = await here.command("books", "--stripe")
        assert "difference: 0.00 usd" in shown.output


async def test_a_command_that_is_killed_while_it_asks_leaves_a_payout_that_is_gone_on_with(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        await here.buy(3)
        config = here.written()
        here.stage.stand_in.hold_requests(only_writes=True)
        command = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "payouts", "run", "--config", str(config),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        await here.stage.stand_in.requests_waiting()
        command.kill()
        await command.wait()
        here.stage.stand_in.release_requests()
        assert [one.state for one in await here.payouts()] == ["sending"]
        here.clock.pass_seconds(120)
        await here.payer().sweep()
        assert [one.state for one in await here.payouts()] == ["created"]
        assert here.sent() == [301]


async def test_the_readmes_settings_and_commands_are_as_they_stand(tmp_path: Path) -> None:
    text = section("### Paying owners", "### Owners are paid through Stripe Connect")
    [settings], [commands] = blocks(text, "yaml"), blocks(text, "sh")
    told = yaml.safe_load(settings)
    assert (told["payouts"]["every"], told["owners"]["bert"]["payouts"]["day"]) == ("weekly", 15)
    sooner = {"hold_back_days": 0, "minimum": "1.00 usd"}  # than seven days
    owners, terms = told["owners"], {**told["payouts"], **sooner}
    async with market(tmp_path, owners=owners, **terms) as here:
        here.stage.stand_in.connect("acct_1AnnaExample")
        await here.buy(3)
        (tmp_path / "shop").mkdir()
        (tmp_path / "shop/gateway.yaml").write_text(here.written().read_text())
        ran = await asyncio.create_subprocess_exec(
            "bash", "-c", script(f'export PATH="{path()}:$PATH"\n{commands}'), cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        shown, _ = await asyncio.wait_for(ran.communicate(), 60)
        assert ran.returncode == 0, shown.decode()
        assert here.sent() == [271]  # 3.012 usd, less a tenth
        statement = await here.command("owners", "statement", "anna", "--format", "jsonl")
        lines = [json.loads(line) for line in statement.stdout.splitlines()]
        assert [(line["share"], line["entry"]) for line in lines] == [
            ("3.012", ""),
            ("-2.71", "payout anna:usd:1"),
        ]
        shown_owner = await here.told("owners", "show", "anna")
        assert [(one["paid_out"], one["due"]) for one in shown_owner["dues"]] == [("2.71 usd", "0.302 usd")]


async def test_many_hosts_pay_out_of_books_that_they_share(tmp_path: Path, postgres: Server) -> None:
    async with market(tmp_path, store=await postgres.schema()) as here:
        await here.buy(20)
        await asyncio.gather(*(here.payer().run() for _ in range(3)))
        assert here.sent() == [2008]
        assert await here.left() == 20_080_000
        here.stage.stand_in.dispute(here.session, 4000)
        await here.heard()
        await here.payer().sweep()
        [stands] = await here.payer().prospects()
        assert stands.standing.clawed_back == 12_080_000
        [paid] = await here.payouts()
        here.stage.stand_in.reverse(str(paid.transfer))
        await here.heard()
        [paid] = await here.payouts()
        assert (paid.state, paid.came_back) == ("reversed", 20_080_000)
        [books] = await here.told("books", "--stripe")
        assert (books["paid_out"], books["clawed_back"], books["difference"]) == ("0.00 usd", "12.08 usd", "0.00 usd")
        shown = await here.command("audit")
        assert (shown.exit_code, "12.08 paid out to owners or clawed back" in shown.output) == (0, True), shown.output
