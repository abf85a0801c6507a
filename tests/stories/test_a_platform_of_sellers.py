"""A platform of sellers, from the first sign-in to the first money: what is read, what is found, and who is paid.

A seller signs in with Amazon and connects their shop. A job opens their account at Stripe, another reads their orders
page by page, with their own token. The platform's program looks for claims at an upstream in their name; the refund
that it confirms is charged its fee, off-session and once, and what was held for the seller is due and paid out to them.
"""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from tests.callers import audited, pay
from tests.cli.test_payments import Operator
from tests.outside import outside
from tests.stories.test_a_fee_is_charged import ANN, BELOW, PUBLISHABLE, Market
from tests.stories.test_a_marketplace import in_micros
from tests.stories.test_an_owner_is_onboarded import done, heard
from tests.stories.test_signing_in import shop

ROUTES = [
    {"name": "forecast", "match": "/forecast/", "upstream": "weather", "strip_prefix": True, "price": "0.25 usd",
     "unpaid": "page"},
    {"name": "claims", "match": "/claims/", "upstream": "echo", "strip_prefix": True, "price": "0.01 usd",
     "inject": "oauth:amazon-sp"},
]  # fmt: skip


async def test_a_seller_is_read_found_a_refund_charged_for_it_and_paid(tmp_path: Path) -> None:
    said: dict[str, Any] = {
        "owners": {"anna": {"signs_in": [ANN]}},
        "connect": {"country": "US"},
        "payouts": {"hold_back_days": 0},
        "charging": {"hold_proceeds": True},
        "stripe": {"reconcile_seconds": 0, "top_up": "200.00 usd", "publishable_key": PUBLISHABLE},
        "routes": ROUTES,
    }
    async with outside("amazon-sp") as seller, ClientSession() as session:
        own = seller.settings(sync=seller.sync())
        setattr(seller, "settings", lambda: own)  # noqa: B010 -- a method of a value, for this shop alone
        async with shop(tmp_path, others=(seller,), **said) as here:
            platform, ann = Market(here, session), here.browser()
            here.stage.stand_in.take_fees(290, 30)
            await platform.add_service("refund-engine", "commission")
            _, page, _ = await ann.get("/forecast/oslo")
            await pay(here.stage, re.findall(r'href="([^"]+client_reference_id[^"]+)"', page)[0].replace("&amp;", "&"))

            # They sign in, and an account at Stripe is opened; they connect their shop, and its orders are read.
            await platform.agree(ann)
            [account] = here.stage.stand_in.accounts
            here.stage.stand_in.give_what_is_due(account.id)
            await heard(here.stage)
            await ann.sign_in("amazon-sp")
            await done(here.stage)
            assert seller.asked_pages == ["0", "1", "2", "3", "4"]

            # A claim is looked for in their name: the upstream is shown their own token of the shop.
            _, found, answer = await ann.get("/claims/today")
            assert answer.status == 200
            fields = {name.lower(): value for name, value in json.loads(found)["fields"]}
            assert fields["x-amz-access-token"] in seller.access

            # Its refund is confirmed: told five times, charged once, and the seller is paid what was held.
            answers = [(await platform.charge("rf_claim_1"))[1] for _ in range(5)]
            assert len({answer["transaction_id"] for answer in answers}) == 1
            kept = await platform.kept("rf_claim_1")
            async with asyncio.timeout(30):
                while kept.seller != "due":  # a round of the gateway's own may be at it just now
                    await platform.later()
                    kept = await platform.kept("rf_claim_1")
                while not here.stage.stand_in.transfers:
                    await platform.pay_out()
            assert kept.state == "succeeded"
            [transfer] = here.stage.stand_in.transfers
            assert (transfer["destination"], transfer["amount"], len(platform.fees())) == (account.id, 10_000, 1)
            holders = ("held:anna", "held:anna:due", "platform")
            assert [await platform.balance(one) for one in holders] == [0, 0, 20_000_000]
            await heard(here.stage)
            assert not await here.stage.gateway.records.entries("parked")

            # And this is where it all is: two paid, their seller has all of theirs, and the fee is the platform's.
            [books] = await Operator(here.stage, tmp_path).asks("books", "--stripe")
            sums, there = in_micros(books), in_micros(books["stripe"])
            assert (sums["paid_in"], sums["released"], sums["held"], sums["difference"]) == (
                220_000_000, 100_000_000, 0, 0,
            )  # fmt: skip
            assert sums["paid_in"] == sums["callers"] + sums["platform"]
            assert sums["platform"] >= 20_000_000
            fees = 200_000_000 * 29 // 1000 + 300_000 + 20_000_000 * 29 // 1000 + 300_000
            assert (in_micros(books["stripe"]["fees_of"]), there["difference"]) == ({"charge": fees}, 0)
            at_stripe = sums["paid_in"] - sums["released"] - fees
            assert there["balance"] == at_stripe == here.stage.stand_in.balance["usd"] * 10_000

            # Each step is among the jobs and on the trail, and hers alone are told to her.
            await platform.later()
            await done(here.stage)
            command = Operator(here.stage, tmp_path)
            jobs = await command.asks("jobs", "list")
            kinds = {job["kind"]: job["state"] for job in jobs}
            assert {kinds.get(kind) for kind in ("onboard", "first_sync", "charge")} == {"done"}, kinds
            trail = await command.asks("audit", "log")
            actions = {entry["action"] for entry in trail}
            assert {"integration.connect", "charge.succeeded"} <= actions, actions
            status, told = await ann.api(f"{BELOW}transactions")
            assert (status, [one["refund_id"] for one in told["transactions"]]) == (200, ["rf_claim_1"])
            assert (await here.browser().api(f"{BELOW}transactions"))[0] == 401
            audited(here.stage)
