"""A marketplace, from a sign-in to a payout: its processes are killed at every step, and the books are even.

Everything is as it would be but for who answers: a fake Amazon, a fake Stripe, an upstream of our own. Two workers
serve, one process keeps the books, and all of them are killed at once, again and again.
"""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from aiohttp import ClientError, ClientSession
from click.testing import CliRunner

from gateway import settings as configuration
from gateway.adapters.sqlite.bookkeeping import EVERYTHING_MS, open_books
from gateway.adapters.sqlite.fold import Fold
from gateway.adapters.stripe.parameters import parameters
from gateway.cli import main
from gateway.core.money import Money
from gateway.demo.standin import Endpoint, StandIn
from gateway.demo.upstreams import all_three
from gateway.settings import Settings
from tests.callers import reference_in
from tests.gateway_process import GatewayProcess, running, write_config
from tests.outside import Outside, outside
from tests.stories.test_an_owner_and_three_kills import KEY, end_leases, rows
from tests.stories.test_an_owner_has_routes_of_their_own import EMPTY, put, shown
from tests.stories.test_signing_in import Browser

SECRETS = ["whsec_" + one * 20 for one in ("1a", "2b", "3c")]
PRICE = 37_700
"""What a call costs, in micros: of it a fifth is no whole number of cents."""


class Marketplace:
    """All who take part. The gateway is a process that comes and goes."""

    def __init__(self, folder: Path, stand_in: StandIn, who: Outside, upstream: str, opened: AsyncExitStack) -> None:
        self.stand_in, self.who, self._upstream, self._opened = stand_in, who, upstream, opened
        write_config(folder, "http://127.0.0.1:1", workers=2)
        self.file, self.records = folder / "gateway.yaml", folder / "gateway.records.db"
        stripe = {"secret_key": KEY, "webhook_secrets": SECRETS, "api_url": stand_in.url, "top_up": "50.00 usd"}
        bounds = {"hosts": ["127.0.0.1"], "price_max": "0.10 usd", "private_addresses": True}
        more = {
            "stripe": {**stripe, "reconcile_seconds": 0},
            "sign_in": {"providers": [who.settings()], "private_addresses": True},
            "owners": {"anna": {"signs_in": ["amazon:amzn1.account.ANN"], "routes": bounds}},
            "routes_folder": str(folder / "routes.d"),
            "connect": {"country": "US"},
            "payouts": {"hold_back_days": 0, "every": "monthly", "day": 28},
        }
        self.file.write_text(json.dumps(json.loads(self.file.read_text()) | more))
        self.settings: Settings = configuration.load(self.file, {}, make_secrets=True)
        self.url = self.settings.public_url
        hook = f"{self.url}/-/webhooks/stripe"
        stand_in.add_endpoint(Endpoint(hook, SECRETS[0]))
        stand_in.add_endpoint(Endpoint(hook, SECRETS[1], hears="connected"))
        stand_in.add_endpoint(Endpoint(hook, SECRETS[2], hears="thin"))
        stand_in.take_fees(290, 30)
        stand_in.hold()

    def browser(self) -> Browser:
        made = Browser(cast(Any, SimpleNamespace(url=self.url)))
        self._opened.push_async_callback(made.session.close)
        return made

    def routes(self, price: int = PRICE) -> str:
        one = {"name": "anna-oslo", "match": "/anna/oslo/", "upstream": "anna-api", "strip_prefix": True}
        routes = [{**one, "price": str(Money(price, "usd"))}]
        return json.dumps({"upstreams": {"anna-api": {"url": self._upstream}}, "routes": routes})

    @asynccontextmanager
    async def run(self) -> AsyncIterator[GatewayProcess]:
        """The gateway, until it is killed; leases of who was killed before are over."""
        if self.records.exists():
            end_leases(self.records)
            self._due_now()
        async with running(self.file) as process:
            yield process
            await process.kill()

    def _due_now(self) -> None:
        with closing(sqlite3.connect(self.records, timeout=20)) as sql:
            sql.execute("UPDATE payouts SET due = 0")
            sql.commit()

    async def heard(self) -> None:
        """Whatever Stripe has to tell is told, and acted on."""
        self.stand_in.release()
        missing = {"?"}
        async with asyncio.timeout(30):
            while missing:
                await asyncio.sleep(0.05)
                found = dict(rows(self.records, "SELECT id, status FROM event"))
                assert "parked" not in found.values(), found
                told = [*self.stand_in.events, *self.stand_in.thin_events]
                missing = {one["type"] for one in told if found.get(one["id"], "") not in ("done", "ignored")}
        self.stand_in.hold()

    async def until(self, query: str, wanted: list[Any]) -> None:
        async with asyncio.timeout(30):
            while rows(self.records, query) != wanted:
                await asyncio.sleep(0.02)

    def fold(self) -> None:
        """As if the hours were over."""
        with closing(open_books(self.settings.store_path, write=True)) as sql:
            folding = Fold()
            while folding.step(sql, closed_before_ms=EVERYTHING_MS):
                pass

    async def command(self, *words: str) -> Any:
        ran = await asyncio.to_thread(CliRunner().invoke, main, [*words, "--config", str(self.file), "--json"])
        assert ran.exit_code == 0, ran.output
        return json.loads(ran.stdout)


class Caller:
    """Somebody who was refused, and may pay."""

    def __init__(self, here: Marketplace, refused: dict[str, Any]) -> None:
        self._here = here
        self.token, self._link, self.session = refused["access_token"], refused["payment_url"], ""

    def pay(self) -> None:
        paid = self._here.stand_in.pay(self._link, client_reference_id=reference_in(self._link))
        self.session = paid["id"]

    async def spend(self, times: int) -> int:
        """How many calls were answered, and so paid for, until somebody pulled the plug."""
        answered, headers = 0, {"Authorization": f"Bearer {self.token}"}
        async with ClientSession() as session:
            for _ in range(times):
                with suppress(ClientError):
                    async with session.get(f"{self._here.url}/anna/oslo/x", headers=headers) as answer:
                        answered += answer.status == 200
        return answered


async def a_stranger(here: Marketplace) -> Caller:
    async with ClientSession() as session, session.get(f"{here.url}/anna/oslo/x") as answer:
        assert answer.status == 402, await answer.text()
        return Caller(here, await answer.json())


async def test_a_marketplace_is_killed_at_every_step_and_every_cent_is_where_it_belongs(tmp_path: Path) -> None:
    async with AsyncExitStack() as opened:
        stand_in = await opened.enter_async_context(StandIn(api_key=KEY, parameters=parameters))
        who = await opened.enter_async_context(outside("amazon"))
        upstream = all_three()[0]
        await upstream.start()
        opened.push_async_callback(upstream.stop)
        here = Marketplace(tmp_path, stand_in, who, upstream.url, opened)
        ann = here.browser()

        # She signs in. Stripe makes her account, and nobody is there to hear of it.
        stand_in.cut_answers(1000)
        async with here.run():
            await ann.sign_in()
            async with asyncio.timeout(30):
                while not stand_in.accounts:
                    await asyncio.sleep(0.02)
        stand_in.cut_answers(0)

        # Her account is found again. Stripe is told what it needs, and says so to nobody.
        async with here.run():
            await here.until("SELECT count(account) FROM stripe_accounts", [(1,)])
        [annas] = stand_in.accounts
        stand_in.give_what_is_due(annas.id)

        # She writes a route, and the plug is pulled while she does; what is there is what she wrote, or nothing.
        async with here.run():
            await here.heard()
            writing = asyncio.create_task(put(ann, here.routes(), of=EMPTY))
            await asyncio.sleep(0)
        with suppress(ClientError):
            await writing
        async with here.run():
            _, text, tag = await shown(ann)
            assert text in ("", here.routes())
            if not text:
                status, told, _ = await put(ann, text := here.routes(), of=tag)
                assert (status, told["done"]) == (200, True)
            callers = [await a_stranger(here) for _ in range(4)]

        # Callers pay, and it is heard of later.
        for caller in callers[:2]:
            caller.pay()
        async with here.run():
            for caller in callers[2:]:
                caller.pay()
        async with here.run():
            await here.heard()
            assert [await caller.spend(9) for caller in callers] == [9, 9, 9, 9]

        # They spend until the plug is pulled.
        async with here.run():
            spending = [asyncio.create_task(caller.spend(40)) for caller in callers]
            while upstream.calls < 60 and not all(task.done() for task in spending):
                await asyncio.sleep(0.01)
        await asyncio.gather(*spending)

        # One has some of it back, one disputes it all; it is heard of when the process is there again.
        stand_in.refund(callers[0].session, 1000)
        dispute = stand_in.dispute(callers[1].session, 5000)
        stand_in.close_dispute(dispute["id"], won=False)
        async with here.run():
            await here.heard()

        # What is due is paid by itself. The plug is pulled when Stripe has done it unheard, and when it is asked again.
        here.fold()
        stand_in.cut_answers(1000, only_writes=True)  # that there is none yet is heard
        async with here.run():
            async with asyncio.timeout(30):
                while not stand_in.transfers:
                    await asyncio.sleep(0.02)
        stand_in.cut_answers(0)
        assert rows(here.records, "SELECT state FROM payouts") == [("sending",)]
        stand_in.hold_requests()
        async with here.run():
            await stand_in.requests_waiting()
        stand_in.release_requests()
        assert rows(here.records, "SELECT state FROM payouts") == [("sending",)]
        async with here.run():
            await here.until("SELECT state FROM payouts", [("created",)])
            await here.heard()
            [books] = await here.command("books", "--stripe")
            await here.command("audit")
            page = await ann.get("/-/owners")
            assert page[0] == 200

        # And this is where it all is.
        micros, there = in_micros(books), in_micros(books["stripe"])
        paid_in, refunded = 4 * 50_000_000, 10_000_000 + 50_000_000
        sent = stand_in.transfers
        paid_out = sum(one["amount"] for one in sent) * 10_000
        assert (micros["paid_in"], micros["refunded"], micros["otherwise"]) == (paid_in, refunded, 0)
        assert (micros["paid_out"], {one["destination"] for one in sent}) == (paid_out, {annas.id})
        assert paid_out > 0
        assert (micros["difference"], there["difference"]) == (0, 0)
        fees = {"charge": 4 * (50_000_000 * 29 // 1000 + 300_000), "dispute": 15_000_000}
        assert (in_micros(books["stripe"]["fees_of"]), there["fees"]) == (fees, sum(fees.values()))
        earned = micros["platform"] - there["fees"]  # what Stripe keeps, the platform bears
        held = micros["callers"] + micros["owners_due"] + micros["clawed_back"] + earned
        assert held + paid_out + there["fees"] == paid_in - refunded
        assert held == stand_in.balance["usd"] * 10_000 == there["balance"]
        shared = micros["owners_due"] + paid_out + micros["clawed_back"]
        sold = shared + micros["platform"]
        assert sold % PRICE == 0
        assert micros["platform"] == sold // 5, "a fifth of all of it, rounded once"
        assert sold >= 36 * PRICE


def in_micros(told: dict[str, Any]) -> dict[str, int]:
    """Every amount that is told, which may be less than nothing."""
    amounts = {name: text.removesuffix(" usd") for name, text in told.items() if str(text).endswith(" usd")}
    return {name: int(Decimal(text) * 1_000_000) for name, text in amounts.items()}
