"""A backup is put back that is older than a payout: what has left has left, and leaves once."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.app.gateway import Gateway
from gateway.cli.stage import Stage
from gateway.flows.pay_out import PayOut
from tests.callers import audited
from tests.stories.test_an_owner_is_paid_out import SHARE, Market, market

DAY = ("--from", "2020-01-01")


class Wary:
    """The port, with a hand on one of its calls."""

    def __init__(self, port: Any, **calls: Callable[..., Any]) -> None:
        self._port, self._calls = port, calls

    def __getattr__(self, name: str) -> Any:
        return self._calls.get(name) or getattr(self._port, name)


async def back_up(here: Market, folder: Path) -> Path:
    """The books up to now, as `gateway db backup` copies them."""
    await here.stage.gateway.ledger.durable()
    shown = await here.command("db", "backup", str(folder / "backup"))
    assert shown.exit_code == 0, shown.output
    return folder / "backup"


@asynccontextmanager
async def put_back(here: Market, folder: Path, *, hears: bool = True, pays: bool = False) -> AsyncIterator[Market]:
    """The machine is lost. The copy is put back as the README says, a day later, and started.

    `hears`: it reads Stripe's events; else nothing but a look at Stripe can tell it anything. `pays`: by itself, too.
    """
    await here.heard()
    new = folder / "again"
    new.mkdir(mode=0o700)
    for file in (folder / "backup").glob("gateway.*"):
        shutil.copy(file, new / file.name)
    shutil.copytree(here.stage.settings.secrets_path, new / "secrets")
    here.stage.stand_in.forget_keys()
    old = here.stage.settings
    stripe = old.stripe if hears or old.stripe is None else replace(old.stripe, reconcile_seconds=0)
    settings = replace(old, store_path=new / "gateway.db", secrets_path=new / "secrets", stripe=stripe)
    gateway = Gateway(settings, report=lambda *_, **__: None)
    if not pays:
        setattr(gateway.paying, "_pay_owners", _nothing)  # noqa: B010 -- a method
    await gateway.open()
    try:
        if gateway.paying.reconcile is not None:
            await gateway.paying.reconcile.was_read.wait()
        assert gateway.paying.webhooks is not None
        await gateway.paying.webhooks.settled()
        stage = SimpleNamespace(
            gateway=gateway, settings=settings, stand_in=here.stage.stand_in, url=here.stage.url,
            _config=here.stage._config,
        )  # fmt: skip
        yield Market(cast("Stage", stage), here.caller, here.session, here.clock)
    finally:
        await gateway.close()


async def _nothing() -> None: ...


async def agrees(here: Market) -> None:
    """Stripe and the books have the same payouts, and the audit finds nothing."""
    found = await here.told("payouts", "reconcile", *DAY)
    assert found["differences"] == []
    assert sum(here.sent()) * 10_000 == await here.left()
    await here.folded()
    audited(here.stage)


async def test_a_copy_that_starts_by_itself_pays_nobody_a_second_time(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        await here.buy(3)
        await back_up(here, tmp_path)
        await here.payer().run()
        async with put_back(here, tmp_path, pays=True) as again:
            await again.folded()
            await again.payer().sweep()
            assert again.sent() == [301]
            assert [(one.micros, one.state) for one in await again.payouts()] == [(3_010_000, "created")]
            await agrees(again)


@pytest.mark.parametrize("hears", [True, False], ids=["it hears of it", "it only looks"])
async def test_a_payout_after_the_backup_is_not_paid_a_second_time(tmp_path: Path, hears: bool) -> None:
    async with market(tmp_path) as here:
        await here.buy(3)
        await back_up(here, tmp_path)
        [paid] = await here.payer().run()
        async with put_back(here, tmp_path, hears=hears) as again:
            await again.folded()
            await again.payer().run()
            assert again.sent() == [301]
            [known] = await again.payouts()
            assert (known.id, known.micros, known.state, known.transfer) == (
                paid.id, paid.micros, "created", paid.transfer
            )  # fmt: skip
            await agrees(again)
            assert await again.payer().run() == []


@pytest.mark.parametrize("hears", [True, False], ids=["it hears of it", "it only looks"])
async def test_what_was_paid_of_sales_that_are_lost_is_made_up_for_by_later_ones(tmp_path: Path, hears: bool) -> None:
    async with market(tmp_path) as here:
        await here.buy(3)
        await back_up(here, tmp_path)
        await here.buy(2)
        await here.payer().run()
        await here.buy(1)
        await here.payer().run()
        assert here.sent() == [502, 100]
        async with put_back(here, tmp_path, hears=hears) as again:
            await again.folded()
            await again.payer().run()
            await again.payer().run()
            assert again.sent() == [502, 100], "it was sent under these numbers, whatever is due here"
            if not hears:  # nothing is payable any more, so nobody looked for the second
                found = await again.told("payouts", "reconcile", *DAY, "--dry-run", code=1)
                assert [one["what"] for one in found["differences"]] == ["sent at Stripe, not on record here"]
                assert again.stage.gateway.paying.payments is not None
                transfers = again.stage.gateway.paying.payments.transfers
                notice = await transfers.find_transfer(found["differences"][0]["payout"])
                assert notice is not None
                assert await again.payer().believe(notice), "as the command does"
            known = {one.number: (one.micros, one.state) for one in await again.payouts()}
            assert known == {1: (5_020_000, "created"), 2: (1_000_000, "created")}
            await again.folded()
            [stands] = await again.payer().prospects()
            assert stands.standing.due == stands.standing.shared - 6_020_000 <= 3 * SHARE - 6_020_000
            assert stands.why_not == "less than nothing is due"
            await agrees(again)


async def test_what_was_fetched_back_of_it_is_due_again(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        await here.buy(4)  # of the last one the copy may not know that it was answered: then it is given back
        await back_up(here, tmp_path)
        [paid] = await here.payer().run()
        here.stage.stand_in.reverse(str(paid.transfer), 300)
        async with put_back(here, tmp_path) as again:
            await again.folded()
            [known] = await again.payouts()
            assert (known.state, known.came_back, await again.left()) == ("created", 3_000_000, 1_010_000)
            [stands] = await again.payer().prospects()
            [more] = await again.payer().run()
            assert (more.number, more.micros) == (2, (stands.standing.shared - 1_010_000) // 10_000 * 10_000)
            assert (await again.told("payouts", "reconcile", *DAY))["differences"] == []


@pytest.mark.parametrize("step", ["written", "sending"])
async def test_one_that_was_under_way_when_the_backup_was_made_is_looked_for(tmp_path: Path, step: str) -> None:
    async with market(tmp_path) as here:
        await here.buy(3)

        def stopped(book: Any) -> Any:
            async def move(before: Any, after: Any) -> bool:
                gone = before.state == "sending" if step == "sending" else after.state == "sending"
                if gone:
                    raise asyncio.CancelledError
                return bool(await book.move_payout(before, after))

            return Wary(book, move_payout=move)

        with pytest.raises(asyncio.CancelledError):
            await here.payer(book=stopped).run()
        [left] = await here.payouts()
        assert (left.state, left.tries) == (step, 0)
        await back_up(here, tmp_path)
        await here.payer().sweep()
        assert here.sent() == [301]
        async with put_back(here, tmp_path, hears=False) as again:
            await again.payer().sweep()
            assert again.sent() == [301]
            await agrees(again)


async def test_a_transfer_that_is_not_what_its_payout_is_puts_the_owner_on_hold(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        await here.buy(3)
        here.stage.stand_in.hold(["transfer.created"])
        here.stage.stand_in.cut_answers(3, only_writes=True)
        await here.payer().run()
        [transfer] = here.stage.stand_in._world.shelf("transfer")
        transfer["amount"] = 7  # another gateway of this name and address sent it
        here.clock.pass_seconds(120)
        await here.payer().sweep()
        [stands] = await here.payouts()
        assert (stands.state, stands.transfer, stands.error) == (
            "sending", None, "a transfer that has its key is another one"
        )  # fmt: skip
        [hold] = await here.book.holds()
        assert hold.reason.startswith(
            "anna-usd-1 is 3.01 usd to acct_anna1 here, and 0.07 usd to acct_anna1 there, tr_"
        )
        assert len(here.sent()) == 1
        [difference] = (await here.told("payouts", "reconcile", *DAY, code=1))["differences"]
        assert (difference["sent"], difference["booked"], difference["healed"]) == ("0.07 usd", "3.01 usd", False)
        assert [one.state for one in await here.payouts()] == ["sending"]


async def test_a_second_transfer_of_one_payout_is_told_and_to_fetch_it_back_makes_nothing_due(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        await here.buy(3)
        [paid] = await here.payer().run()
        world = here.stage.stand_in._world
        [transfer] = world.shelf("transfer")
        second = world.keep({**transfer, "id": "tr_second", "reversals": {**transfer["reversals"], "data": []}})
        found = await here.told("payouts", "reconcile", *DAY, code=1)
        assert [(one["what"], one["sent"]) for one in found["differences"]] == [
            ("sent a second time, tr_second", "3.01 usd")
        ]
        here.stage.stand_in.reverse(second["id"])
        await here.heard()
        assert [(one.state, one.came_back) for one in await here.payouts()] == [("created", 0)]
        assert await here.left() == paid.micros
        assert (await here.told("payouts", "reconcile", *DAY))["differences"] == []


async def test_what_was_missed_is_heard_before_anything_is_paid_at_a_start(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        paying = here.stage.gateway.paying
        assert paying.reconcile is not None
        assert paying.pay_out is not None
        swept: list[str] = []

        class Sweeps:
            async def sweep(self) -> None:
                swept.append("swept")

        paying.pay_out, kept = cast("PayOut", Sweeps()), paying.pay_out
        paying.reconcile.was_read.clear()
        waits = asyncio.create_task(paying._pay_owners())
        for _ in range(20):
            await asyncio.sleep(0)
        assert swept == []
        await paying.reconcile.turn()
        await waits
        assert swept == ["swept"]
        paying.pay_out = kept


async def test_a_transfer_that_does_not_say_what_it_paid_out_puts_the_owner_on_hold(tmp_path: Path) -> None:
    """Where money is held for owners, too: those that were sent by a version that did not write it down."""
    async with market(tmp_path) as here:
        await here.buy(3)
        await here.payer().run()
        [transfer] = here.stage.stand_in._world.shelf("transfer")
        del transfer["metadata"]["farebox_payout_of"]
        records = here.stage.gateway.records
        [paid] = await here.payouts()
        await records.ask("DELETE FROM payouts RETURNING number")
        provider = here.stage.gateway.paying.payments
        assert provider is not None
        told = await provider.transfers.find_transfer(paid.key)
        assert told is not None
        payer = here.payer(rules=lambda rules: replace(rules, holds=True))
        assert await payer.believe(told)
        [hold] = await here.book.holds()
        assert hold.reason.endswith("does not say what it paid out")
        assert [(one.micros, one.state, one.source) for one in await here.payouts()] == [
            (3_010_000, "created", "shares")
        ]
