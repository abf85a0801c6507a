"""A refund is confirmed: the platform's fee is charged from a saved method, once, and the seller is paid."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import ClientSession

from gateway.adapters.charging import ChargeRecords
from gateway.adapters.payouts import RecordedPayouts
from gateway.adapters.personal import Erasure
from gateway.adapters.services import ServiceRecords
from gateway.adapters.system import SystemRandomness
from gateway.app.stores import statement_books
from gateway.core.charges import Charge
from gateway.core.payments import Event
from gateway.core.payouts import Payout
from gateway.core.refusals import RecordsUnavailable
from gateway.core.secrets import Secret
from gateway.core.services import MAY, Service, ServiceRole
from gateway.core.tokens import Peppers
from gateway.settings.values import ServiceSettings
from tests.callers import audited, pay
from tests.cli.test_payments import Operator
from tests.forms import FORMS
from tests.stories.test_an_owner_is_onboarded import done, heard
from tests.stories.test_signing_in import Browser, Shop, shop

BELOW = "/-/api/v1/stripe/"
ANN = "amazon:amzn1.account.ANN"
PUBLISHABLE = "pk_test_" + "1a" * 20
TABLES = (
    "users", "oauth_tokens", "integration_status", "stripe_accounts", "stripe_customers", "stripe_transactions",
    "transaction_audit", "sync_jobs",
)  # fmt: skip
SECRET = "fbs_" + "1a" * 32
DECLINED, CONFIRMS, GOOD = "4000000000000341", "4000002760003184", "4242424242424242"


class Market:
    """A platform where Ann acts for anna, and services that call it."""

    def __init__(self, here: Shop, session: ClientSession) -> None:
        self.here, self.stage, self.session = here, here.stage, session
        self.stand_in = here.stage.stand_in
        self.user = ""
        self.method = ""

    @property
    def book(self) -> ChargeRecords:
        return ChargeRecords(self.stage.gateway.records.ask)

    async def add_service(self, name: str, role: Any, secret: str = SECRET) -> None:
        gateway = self.stage.gateway
        digest = Peppers(gateway.settings.secrets.peppers).digest(secret)
        await ServiceRecords(gateway.records.ask).add_service(Service(name, role, digest, "", 0, 0))

    async def token(self, name: str = "refund-engine", secret: str = SECRET, **more: str) -> tuple[int, dict[str, Any]]:
        form = {"grant_type": "client_credentials", "client_id": name, "client_secret": secret, **more}
        async with self.session.post(f"{self.stage.url}/-/oauth/token", data=form) as answer:
            return answer.status, await answer.json()

    async def bearer(self, name: str = "refund-engine") -> dict[str, str]:
        status, told = await self.token(name)
        assert status == 200, told
        return {"Authorization": f"Bearer {told['access_token']}"}

    async def call(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        method = "POST" if body is not None else "GET"
        url = self.stage.url + path
        async with self.session.request(method, url, json=body, headers=headers) as answer:
            return answer.status, await answer.json()

    async def charge(self, refund: str = "rf_1", amount: Any = 10_000, **more: Any) -> tuple[int, Any]:
        wish = {"refund_id": refund, "user_id": self.user, "amount": amount, "currency": "usd", **more}
        return await self.call(f"{BELOW}charge-commission", wish, **await self.bearer())

    async def agree(self, ann: Browser, number: str = GOOD) -> dict[str, Any]:
        """Ann signs in, and saves a card on a page of the platform's."""
        await ann.sign_in()
        await done(self.stage)
        [row] = await self.stage.gateway.records.ask("SELECT id FROM users WHERE id NOT IN ('')")
        self.user = row[0]
        async with ann.session.post(f"{self.stage.url}{BELOW}create-customer-setup", json={}) as answer:
            told: dict[str, Any] = await answer.json()
            assert answer.status == 200, told
        self.method = self.stand_in.save_method(told["setup_intent_id"], number)["payment_method"]
        await heard(self.stage)
        return told

    async def kept(self, refund: str = "rf_1") -> Charge:
        found = await self.book.charge_of(refund, live=False)
        assert found is not None
        return found

    async def later(self) -> None:
        """As if all times were over that something waits for."""
        await self.stage.gateway.records.ask("UPDATE stripe_transactions SET due = 0")
        await self.stage.gateway.records.ask("UPDATE sync_jobs SET due = 0 WHERE state IN ('waiting', 'running')")
        charging = self.stage.gateway.paying.charging
        assert charging is not None
        await charging.charge.sweep()
        await heard(self.stage)

    async def pay_out(self) -> None:
        """As the schedule would."""
        pay_out = self.stage.gateway.paying.pay_out
        assert pay_out is not None
        await pay_out.run()
        await heard(self.stage)

    async def kept_payout(self, number: int = 1) -> Payout:
        found = await RecordedPayouts(self.stage.gateway.records.ask).find_payout("anna", "usd", number)
        assert found is not None
        return found

    def fees(self) -> list[dict[str, Any]]:
        """The payment intents of charges."""
        return [one for one in self.stand_in.shelf("payment_intent") if "farebox_charge" in one["metadata"]]

    async def balance(self, holder: str) -> int:
        return (await self.stage.gateway.ledger.balance(holder, "usd")).available.micros


@asynccontextmanager
async def market(
    folder: Path, *, form: str = "relay", connect: bool = False, anna: dict[str, Any] | None = None, **charging: Any
) -> AsyncIterator[Market]:
    more: dict[str, Any] = {"connect": {"country": "US"}, "payouts": {"hold_back_days": 0}} if connect else {}
    stripe = {"reconcile_seconds": 0, "top_up": "200.00 usd", "publishable_key": PUBLISHABLE}
    owners = {"anna": {"signs_in": [ANN], **(anna or {})}, "bert": {}}
    async with (
        shop(folder, form=form, owners=owners, stripe=stripe, charging=charging, **more) as here,
        ClientSession() as session,
    ):
        made = Market(here, session)
        await made.add_service("refund-engine", "commission")
        yield made


@pytest.mark.parametrize("form", FORMS)
async def test_a_refund_is_confirmed_and_its_fee_is_charged_once(form: str, tmp_path: Path) -> None:
    async with market(tmp_path, form=form) as here:
        ann = here.here.browser()
        told = await here.agree(ann)
        assert told["publishable_key"] == PUBLISHABLE
        assert told["client_secret"].startswith(told["setup_intent_id"])
        status, first = await here.charge()
        assert (status, first["status"], first["fee"], first["seller"]) == (200, "succeeded", 2000, "none")
        [intent] = here.fees()
        assert (intent["id"], intent["amount"], intent["amount_received"]) == (first["payment_intent_id"], 2000, 2000)
        answers = await asyncio.gather(*(here.charge() for _ in range(4)))
        assert {answer["transaction_id"] for _, answer in answers} == {first["transaction_id"]}
        assert len(here.fees()) == 1
        await heard(here.stage)
        assert await here.balance("platform") == 20_000_000
        status, said = await here.charge(amount=9_999)
        assert (status, said["code"]) == (409, "charge_conflict")
        audited(here.stage)


async def test_a_declined_card_is_tried_again_on_schedule_with_one_payment_intent_and_then_given_up(
    tmp_path: Path,
) -> None:
    async with market(tmp_path, retry_hours=[1, 2]) as here:
        await here.agree(here.here.browser(), DECLINED)
        _, told = await here.charge()
        assert (told["status"], told["reason"]) == ("retrying", "generic_decline")
        _, again = await here.charge()
        assert again == told, "a delivery that is repeated is no other attempt"
        assert await here.kept() == await here.kept()
        first = await here.kept()
        assert first.due_ms - first.changed_ms == 3_600_000
        charging = here.stage.gateway.paying.charging
        assert charging is not None
        assert await charging.charge.go_on(first) == first, "it is not due"
        other = {"id": "pi_other", "status": "succeeded", "metadata": {"farebox_charge": first.id}}
        assert not await charging.charge.heard(Event("evt_1", "payment_intent.succeeded", False, 1, other))
        ours = {**other, "id": first.intent}
        assert not await charging.charge.heard(Event("evt_2", "payment_intent.succeeded", True, 1, ours))
        await here.later()
        second = await here.kept()
        assert (second.state, second.tries, second.due_ms - second.changed_ms) == ("retrying", 2, 7_200_000)
        await here.later()
        last = await here.kept()
        assert (last.state, last.tries) == ("failed", 3)
        await here.later()
        [intent] = here.fees()
        tried = [one for one in here.stand_in.shelf("charge") if one["payment_intent"] == intent["id"]]
        assert [one["status"] for one in tried] == ["failed"] * 3
        jobs = await here.stage.gateway.records.ask("SELECT id FROM sync_jobs WHERE kind = 'charge'")
        assert len(jobs) == 3, "each attempt is one"
        assert await here.balance("platform") == 0
        outbox = await here.stage.gateway.records.outbox.entries(None, count=9)
        assert [one.type for one in outbox] == ["charge.failed"]
        steps = await here.stage.gateway.records.trail.steps_before(2**62, object=told["transaction_id"], count=99)
        acts = [step.act.action.partition(".")[2] for step in steps[::-1]]
        assert acts == ["planned", *["sending", "declined"] * 2, "sending", "failed"], "each state that it was in"


async def test_a_card_that_works_by_then_pays_at_the_next_attempt(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        await here.agree(here.here.browser(), DECLINED)
        assert (await here.charge())[1]["status"] == "retrying"
        here.stand_in.set_number(here.method, GOOD)
        await here.later()
        assert (await here.kept()).state == "succeeded"
        assert len(here.fees()) == 1
        assert await here.balance("platform") == 20_000_000


async def test_a_bank_that_wants_the_person_is_answered_by_them_on_its_page(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        ann = here.here.browser()
        await here.agree(ann, CONFIRMS)
        _, told = await here.charge()
        assert (told["status"], told["fee"]) == ("pending", 2000)
        [message] = await here.stage.gateway.records.outbox.entries(None, count=9)
        assert message.type == "charge.pending"
        assert message.content["url"].startswith(here.stage.url + "/-/stripe/confirm?charge=")
        stranger = here.here.browser()
        async with stranger.session.head(told["link"]) as answer:
            assert answer.status == 204, "who only looks begins nothing"
        assert here.fees()[0]["status"] == "requires_payment_method"
        for wanted, state in (("no", "pending"), ("yes", "succeeded")):
            status, _, answer = await stranger.get((await here.charge())[1]["link"])
            assert status == 303
            page = answer.headers["Location"]
            assert page == f"{here.stand_in.url}/authenticate/{told['payment_intent_id']}"
            async with ann.session.post(page, data={"answer": wanted}, allow_redirects=False) as there:
                assert there.headers["Location"] == here.stage.url + "/-/wallet"
            await heard(here.stage)
            assert (await here.kept()).state == state
        assert (len(here.fees()), await here.balance("platform")) == (1, 20_000_000)
        _, other = await here.charge("rf_2")
        await stranger.get(other["link"])
        await here.later()
        assert (await here.kept("rf_2")).state == "pending", "they have not said yes"
        here.stand_in.drop_next(9)
        page = f"{here.stand_in.url}/authenticate/{other['payment_intent_id']}"
        async with ann.session.post(page, data={"answer": "yes"}, allow_redirects=False):
            await here.later()
        assert (await here.kept("rf_2")).state == "succeeded", "it was looked up"
        status, _, answer = await stranger.get(told["link"])
        assert (status, answer.headers["Location"]) == (303, here.stage.url + "/-/wallet"), "nothing is left to confirm"
        status, _, _ = await stranger.get(told["link"][:-4] + "AAAA")
        assert status == 404


async def test_an_answer_that_was_lost_is_looked_up_and_nothing_is_charged_twice(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        await here.agree(here.here.browser())
        stand_in = here.stand_in
        stand_in.hold()
        for cuts in range(1, 7):  # the SDK tries each call three times: the first, and then also the second is lost
            stand_in.cut_answers(cuts)
            _, told = await here.charge(f"rf_{cuts}")
            stand_in.cut_answers(0)
            assert told["status"] in ("processing", "succeeded")
            if cuts == 6:
                stand_in.forget_keys()
                await here.stage.gateway.records.ask("UPDATE stripe_transactions SET created = created - 7200000")
            await here.later()
            assert (await here.kept(f"rf_{cuts}")).state == "succeeded"
        paid = [one for one in here.fees() if one["status"] == "succeeded"]
        assert len(paid) == len(here.fees()) == 6, "one for each, also where its making was not heard of"
        assert await here.balance("platform") == 6 * 20_000_000
        stand_in.release()
        await heard(here.stage)
        assert await here.balance("platform") == 6 * 20_000_000
        audited(here.stage)


async def test_an_event_alone_brings_a_charge_to_its_end(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        await here.agree(here.here.browser())
        records = here.stage.gateway.records
        await here.charge()
        await heard(here.stage)
        await records.ask("UPDATE stripe_transactions SET state = 'sending', due = 9000000000000")
        for event in [one for one in here.stand_in.events if one["type"] == "payment_intent.succeeded"]:
            await records.ask("DELETE FROM event WHERE id = $1", event["id"])
            here.stand_in.deliver_again(event["id"], times=3)
        await heard(here.stage)
        assert (await here.kept()).state == "succeeded"
        assert await here.balance("platform") == 20_000_000
        here.stand_in.detach_method(here.method)
        await heard(here.stage)
        status, told = await here.charge("rf_2")
        assert (status, told["code"]) == (422, "no_method_saved")


async def test_what_is_held_for_the_seller_is_due_when_the_fee_is_paid_and_the_payouts_pay_it(tmp_path: Path) -> None:
    async with market(tmp_path, connect=True, hold_proceeds=True) as here:
        ann = here.here.browser()
        await here.agree(ann, DECLINED)
        [account] = here.stand_in.accounts
        here.stand_in.give_what_is_due(account.id)
        await heard(here.stage)
        _, told = await here.charge()
        assert (told["status"], told["seller"]) == ("retrying", "held")
        await here.pay_out()
        assert await here.balance("held:anna") == 100_000_000
        assert here.stand_in.transfers == [], "nothing leaves before the fee is paid"
        here.stand_in.set_account(account.id, rejected=True)
        await heard(here.stage)
        here.stand_in.set_number(here.method, GOOD)
        await here.later()
        kept = await here.kept()
        assert (kept.state, kept.seller, kept.reason) == ("succeeded", "due", None)
        await here.pay_out()
        assert [await here.balance(one) for one in ("held:anna", "held:anna:due")] == [0, 100_000_000], "it accrues"
        command = Operator(here.stage, tmp_path)
        [prospect] = await command.asks("payouts", "run", "--dry-run")
        why = "Stripe has rejected the account"
        assert (prospect["of"], prospect["due"], prospect["why_not"]) == ("proceeds", "100.00 usd", why)
        shown = await command.asks("owners", "show", "anna")
        dues = [(one["freed"], one["paid_out"], one["due"]) for one in shown["dues"]]
        assert dues == [("100.00 usd", "0.00 usd", "100.00 usd")]
        assert "was held and is free 100.00 usd" in await command.types("owners", "list")
        _, home, _ = await ann.get("/-/owners")
        assert "Was held for you, and is yours by now</dt><dd>100.00 USD" in home
        here.stand_in.set_account(account.id, rejected=False)
        await heard(here.stage)
        _, page, _ = await here.here.browser().get("/forecast/oslo")
        await pay(here.stage, re.findall(r'href="([^"]+client_reference_id[^"]+)"', page)[0].replace("&amp;", "&"))
        here.stand_in.cut_answers(3)
        await here.pay_out()
        here.stand_in.cut_answers(0)
        [transfer] = here.stand_in.transfers
        payout = await here.kept_payout()
        assert (payout.state, payout.transfer, transfer["amount"]) == ("created", transfer["id"], 10_000)
        assert (transfer["destination"], payout.source, payout.id) == (account.id, "proceeds", "anna-usd-1")
        holders = ("held:anna", "held:anna:due", "platform")
        assert [await here.balance(one) for one in holders] == [0, 0, 20_000_000]
        assert not await here.stage.gateway.records.entries("parked")
        audited(here.stage)
        reconciled = await command.asks("payouts", "reconcile", "--from", "2020-01-01")
        assert (reconciled["compared"], reconciled["differences"]) == (1, [])
        statement = (await command.types("owners", "statement", "anna")).splitlines()
        assert [line.rpartition(",")[2] for line in statement[1:]] == [
            "proceeds " + kept.id + ":due",
            "payout anna:usd:1",
        ]
        shown = await command.asks("owners", "show", "anna")
        assert [(one["paid_out"], one["due"]) for one in shown["dues"]] == [("100.00 usd", "0.00 usd")]
        with statement_books(here.stage.settings).open(seconds=9) as source:
            [sums] = [one for one in source.sums() if one.unit == "usd"]
        assert (sums.charged, sums.held, sums.released, sums.callers) == (20_000_000, 0, 100_000_000, 200_000_000)
        assert sums.paid_in + sums.otherwise == sums.charged + sums.held + sums.callers
        assert sums.paid_in - sums.released == 1_000_000 * here.stand_in.balance["usd"] // 100

        # Stripe fetches it back: it is due again, and goes out once more.
        command_back = await command.asks("payouts", "reverse", "anna-usd-1", "--reason", "wrong account")
        assert command_back["came_back"] == "100.00 usd"
        assert await here.balance("held:anna:due") == 100_000_000
        await here.pay_out()
        assert (await here.kept_payout(2)).state == "created"
        with statement_books(here.stage.settings).open(seconds=9) as source:
            [sums] = [one for one in source.sums() if one.unit == "usd"]
        assert (sums.held, sums.released) == (0, 100_000_000)
        audited(here.stage)


async def test_a_fee_that_goes_back_is_off_the_platforms_revenue_and_a_dispute_that_is_won_brings_it_back(
    tmp_path: Path,
) -> None:
    async with market(tmp_path, connect=True, hold_proceeds=True) as here:
        await here.agree(here.here.browser())
        _, told = await here.charge()
        intent = told["payment_intent_id"]
        await heard(here.stage)
        here.stand_in.refund(intent, 500)
        await heard(here.stage)
        kept = await here.kept()
        assert (kept.state, kept.back, kept.seller) == ("refunded", 5_000_000, "due")
        assert await here.balance("platform") == 15_000_000
        opened = here.stand_in.dispute(intent, 1500)
        await heard(here.stage)
        kept = await here.kept()
        assert (kept.state, kept.back, kept.dispute_fee) == ("disputed", 20_000_000, 15_000_000)
        assert await here.balance("platform") == 0
        _, told = await here.call(f"{BELOW}transactions/{kept.id}", **await here.bearer())
        assert (told["status"], told["refunded"], told["dispute_fee"]) == ("disputed", 2000, 1500)
        here.stand_in.close_dispute(opened["id"], won=True)
        await heard(here.stage)
        kept = await here.kept()
        assert (kept.state, kept.back, kept.dispute_fee) == ("refunded", 5_000_000, 0)
        assert await here.balance("platform") == 15_000_000
        assert await here.balance("held:anna:due") == 100_000_000, "the seller's is the seller's"
        trail = await here.stage.gateway.records.trail.steps_before(2**62, object=kept.id, count=99)
        acts = [(step.act.action, step.act.facts["before"]) for step in reversed(trail)]
        assert [act for act in acts if act[0] in ("charge.refunded", "charge.disputed")] == [
            ("charge.refunded", "succeeded"),
            ("charge.disputed", "refunded"),
            ("charge.disputed", "disputed"),  # and now it is known what Stripe keeps for it
            ("charge.refunded", "disputed"),
        ]
        booked = await here.stage.gateway.records.ask(
            "SELECT action FROM transaction_audit WHERE object LIKE 'stripe:pi%'"
        )
        assert [row[0] for row in booked] == ["payment.taken_back", "payment.taken_back", "payment.given_back"]
        await here.stage.gateway.records.ask("UPDATE event SET status = 'waiting' WHERE type LIKE 'charge.%'")
        assert here.stage.gateway.paying.webhooks is not None
        await here.stage.gateway.paying.webhooks.resume()
        await heard(here.stage)
        assert await here.kept() == kept, "told again it is no different"
        assert not await here.stage.gateway.records.entries("parked")
        audited(here.stage)


async def test_services_get_tokens_for_minutes_and_call_what_their_role_may(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        await here.agree(here.here.browser())
        await here.add_service("watcher", "monitor")
        await here.add_service("books", "auditor")
        wish = {"refund_id": "rf_1", "user_id": here.user, "amount": 100, "currency": "usd"}
        names: dict[ServiceRole, str] = {"monitor": "watcher", "auditor": "books", "commission": "refund-engine"}
        for role, name in names.items():
            shown = await here.bearer(name)
            for api, body in (("charge-commission", wish), ("transactions", None)):
                status, told = await here.call(BELOW + api, body, **shown)
                allowed = api in MAY[role]
                assert status == (200 if allowed else 403), (role, api, told)
                if not allowed:
                    assert told["code"] == "token_out_of_scope"
        for name, secret in (("refund-engine", "fbs_wrong"), ("nobody", SECRET), ("refund-engine", "")):
            status, told = await here.token(name, secret)
            assert (status, told["error"]) == (401, "invalid_client")
        status, told = await here.token(grant_type="password")
        assert (status, told["error"]) == (400, "unsupported_grant_type")
        status, told = await here.token(resource="https://elsewhere.example")
        assert (status, told["error"]) == (400, "invalid_target")
        status, told = await here.token(resource=f"{here.stage.url}{BELOW}transactions")
        claims = jwt.decode(told["access_token"], options={"verify_signature": False})
        assert jwt.get_unverified_header(told["access_token"])["typ"] == "service+jwt"
        assert (claims["aud"], claims["role"]) == ([f"{here.stage.url}{BELOW}transactions"], "commission")
        assert claims["exp"] - claims["iat"] == told["expires_in"] == 300
        narrow = {"Authorization": f"Bearer {told['access_token']}"}
        assert (await here.call(BELOW + "transactions", **narrow))[0] == 200
        assert (await here.call(BELOW + "charge-commission", wish, **narrow))[0] == 401, "it is for another API"
        signs = here.stage.gateway.identity.signs
        now = here.stage.gateway.clock.now_ms() // 1000
        right = {key: value for key, value in claims.items() if key not in ("iat", "iss")}
        right["aud"] = f"{here.stage.url}{BELOW}charge-commission"
        for kind, changes in (
            ("licence+jwt", {}), ("JWT", {}), ("session+jwt", {}), ("service+jwt", {"role": "owner"}),
            ("service+jwt", {"sub": "usr_1"}), ("service+jwt", {"iss": "https://elsewhere.example"}),
            ("service+jwt", {"exp": now + 200, "nbf": now + 100}),
        ):  # fmt: skip
            other = {"Authorization": f"Bearer {signs.sign({**right, **changes}, kind=kind)}"}
            assert (await here.call(BELOW + "charge-commission", wish, **other))[0] == 401, (kind, changes)
        async with here.session.get(f"{here.stage.url}/-/me", headers=await here.bearer()) as answer:
            assert answer.status == 401, "it is nobody's wallet"
        trail = await here.stage.gateway.records.trail.steps_before(2**62, action="service.token", object=None, count=9)
        assert {step.act.actor for step in trail} == {"service:watcher", "service:books", "service:refund-engine"}


async def test_a_reload_exchanges_the_secrets_that_the_configuration_gives(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        gateway, settings = here.stage.gateway, here.stage.settings
        assert (await here.token("robot", SECRET))[0] == 401
        for secret, other in ((SECRET, "fbs_" + "2b" * 32), ("fbs_" + "2b" * 32, SECRET)):
            robot = ServiceSettings("robot", "commission", "", Secret(secret), None)
            told = gateway.reload(replace(settings, services=(robot,)))
            assert (told["keys"], told["needs_restart"]) == (["services"], [])
            assert ((await here.token("robot", secret))[0], (await here.token("robot", other))[0]) == (200, 401)
        assert gateway.reload(gateway.settings)["keys"] == []
        assert gateway.reload(settings)["keys"] == ["services"]
        assert (await here.token("robot", secret))[0] == 401
        assert (await here.token())[0] == 200, "those on record are no matter of it"


async def test_whoever_guesses_secrets_of_services_is_held_off(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        for _ in range(200):
            status, _ = await here.token(secret="fbs_guess")
            if status == 429:
                break
        assert status == 429
        assert (await here.token())[0] == 429, "then the right one is not looked at either"


async def test_everybody_sees_their_own_transactions_and_another_is_not_there(tmp_path: Path) -> None:
    async with market(tmp_path, older_paths=True) as here:
        ann, bea = here.here.browser(), here.here.browser()
        await here.agree(ann)
        for number in range(3):
            assert (await here.charge(f"rf_{number}", 1000 + number))[0] == 200
        here.here.who.person = {"user_id": "amzn1.account.BEA", "email": "bea@example.com", "name": "Bea"}
        await bea.sign_in()
        status, told = await ann.api(BELOW + "transactions?limit=2")
        assert (status, told["has_more"], len(told["transactions"])) == (200, True, 2)
        last = told["transactions"][-1]["transaction_id"]
        _, rest = await ann.api(f"{BELOW}transactions?limit=2&after={last}")
        found = [one["refund_id"] for one in (*told["transactions"], *rest["transactions"])]
        assert (sorted(found), rest["has_more"]) == (["rf_0", "rf_1", "rf_2"], False)
        assert (await ann.api(f"{BELOW}transactions/{last}"))[1]["transaction_id"] == last
        assert (await bea.api(BELOW + "transactions"))[1]["transactions"] == []
        there, never = await bea.api(f"{BELOW}transactions/{last}"), await bea.api(f"{BELOW}transactions/txn_never")
        assert (there[0], there[1]["code"]) == (never[0], never[1]["code"]) == (404, "no_route")
        assert (await bea.api(f"{BELOW}transactions?after={last}"))[0] == 400
        assert (await here.here.browser().api(BELOW + "transactions"))[0] == 401
        token = here.stage.settings.secrets.operator_token
        assert token is not None
        operator = {"Authorization": f"Bearer {token.reveal()}"}
        for shown in (operator, await here.bearer()):
            status, told = await here.call(f"{BELOW}transactions?user_id={here.user}", **shown)
            assert (status, len(told["transactions"])) == (200, 3)
            assert (await here.call(f"{BELOW}transactions/{last}", **shown))[0] == 200
        for path in ("transactions", f"transactions/{last}"):
            assert await ann.api(f"/api/v1/stripe/{path}") == await ann.api(BELOW + path)
        assert (await ann.api("/api/v1/stripe/transactions", "DELETE"))[0] == 405
        status, _ = await here.call("/api/v1/stripe/charge-commission", {}, **await here.bearer())
        assert status == 400
        assert (await here.call("/api/v1/stripe/create-customer-setup", {}))[0] == 401


async def test_what_may_not_be_charged_is_refused_and_nothing_is_written_down(tmp_path: Path) -> None:
    async with market(tmp_path, maximum="30.00 usd", per_day="55.00 usd", count_per_day=3) as here:
        await here.agree(here.here.browser())
        for wrong, words in (
            ({"amount": 1.5}, "amount"), ({"amount": 0}, "amount"), ({"amount": True}, "amount"),
            ({"amount": 2}, "fee"),
            ({"currency": "eur"}, "currency"), ({"user_id": "acct_1"}, "user_id"), ({"user_id": "usr_none"}, "user_id"),
            ({"refund_id": "a b"}, "refund_id"), ({"refund_id": 7}, "refund_id"), ({"extra": 1}, "extra"),
        ):  # fmt: skip
            status, told = await here.charge(**({"amount": 1000} | wrong))
            assert (status, words in told["detail"]) == (400, True), (wrong, told)
        status, told = await here.charge(amount=15_003)
        assert (status, told["code"]) == (422, "charge_too_large")
        assert (await here.charge("rf_a", 15_000))[1]["fee"] == 3000
        status, told = await here.charge("rf_b", 12_503)
        assert (status, told["code"]) == (429, "rate_limited"), "25.01 more would be above 55"
        assert (await here.charge("rf_b", 9_998))[1]["fee"] == 2000, "half up"
        gateway = here.stage.gateway
        user = await gateway.identity.lending.people.user(here.user)
        assert user is not None
        await gateway.records.freezes.add_freeze(user.account, frozen=True, reason="test", now_ms=1)
        status, told = await here.charge("rf_c")
        assert (status, told["code"]) == (403, "account_frozen")
        assert len(here.fees()) == 2
        rows = await gateway.records.ask("SELECT refund FROM stripe_transactions ORDER BY refund")
        assert [row[0] for row in rows] == ["rf_a", "rf_b"]
        await gateway.records.freezes.add_freeze(user.account, frozen=False, reason="test", now_ms=2)
        assert (await here.charge("rf_d", 5))[1]["reason"] == "amount_too_small"
        assert (await here.charge("rf_d", 5))[1]["status"] == "failed", "and it does not count"
        assert (await here.charge("rf_e", 500))[1]["status"] == "succeeded"
        assert (await here.charge("rf_f", 500))[0] == 429, "three in a day"


async def test_no_secret_of_stripe_is_in_any_answer_and_the_setup_is_the_same_until_it_is_done(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        ann = here.here.browser()
        first = await here.agree(ann)
        setup = f"{here.stage.url}{BELOW}create-customer-setup"
        async with ann.session.post(setup, json={"hosted": True}) as answer:
            told = await answer.json()
            assert (answer.headers["Cache-Control"], told["has_method"]) == ("no-store", True)
        async with ann.session.post(setup, json={}) as answer:
            again = await answer.json()
        assert (told["customer_id"], again["setup_intent_id"]) == (first["customer_id"], told["setup_intent_id"])
        assert told["setup_intent_id"] != first["setup_intent_id"], "that one is done"
        assert len(here.stand_in.shelf("customer")) == 1
        here.stand_in.pay(told["url"], card="5555555555554444")
        await heard(here.stage)
        agreed = await here.book.agreed(here.user, live=False)
        assert agreed is not None
        assert agreed.method not in (None, here.method), "what was saved on Stripe's own page is charged now"
        await here.charge()
        stripe = here.stage.settings.stripe
        assert stripe is not None
        secrets = [*(one.reveal() for one in stripe.webhook_secrets), stripe.secret_key.reveal(), SECRET]
        for path in ("/-/", "/-/wallet", "/-/pricing", "/-/openapi.json", "/-/llms.txt", "/.well-known/jwks.json",
                     "/-/wallet/sessions", "/-/api/v1/jobs", BELOW + "transactions", "/-/me"):  # fmt: skip
            status, page, _ = await ann.get(path)
            assert status == 200, path
            for secret in (*secrets, PUBLISHABLE, "sk_test", "whsec_"):
                assert secret not in page, path


async def test_the_books_tables_are_there_and_the_audit_is_chained_and_only_added_to(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        await here.agree(here.here.browser())
        _, told = await here.charge()
        records = here.stage.gateway.records
        for table in TABLES:
            await records.ask(f"SELECT * FROM {table}")
        query = "SELECT actor, action, reason, before_id, after_id, hash FROM transaction_audit WHERE object = $1"
        rows = await records.ask(f"{query} ORDER BY number", told["transaction_id"])
        assert [row[1] for row in rows] == ["charge.planned", "charge.sending", "charge.succeeded"]
        assert rows[0][0] == "service:refund-engine"
        assert (rows[1][3], rows[1][4]) == ("planned", "rf_1")
        assert (rows[2][3], rows[2][4]) == ("sending", told["payment_intent_id"])
        assert all(len(bytes(row[5])) == 32 for row in rows)
        with pytest.raises(RecordsUnavailable):
            await records.ask("DELETE FROM trail")


async def test_an_owner_has_a_rate_of_their_own_and_who_is_frozen_meanwhile_is_not_charged(tmp_path: Path) -> None:
    async with market(tmp_path, anna={"charge_bps": 1250}) as here:
        await here.agree(here.here.browser(), DECLINED)
        _, told = await here.charge()
        assert (told["fee"], told["commission_bps"], told["status"]) == (1250, 1250, "retrying")
        gateway = here.stage.gateway
        user = await gateway.identity.lending.people.user(here.user)
        assert user is not None
        await gateway.records.freezes.add_freeze(user.account, frozen=True, reason="test", now_ms=1)
        here.stand_in.set_number(here.method, GOOD)
        await here.later()
        kept = await here.kept()
        assert (kept.state, kept.reason, kept.tries) == ("retrying", "account_frozen", 1)
        await gateway.records.freezes.add_freeze(user.account, frozen=False, reason="test", now_ms=2)
        await here.later()
        assert (await here.kept()).state == "succeeded"


async def test_who_was_joined_into_a_frozen_account_is_not_charged(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        await here.agree(here.here.browser(), GOOD)
        gateway, other = here.stage.gateway, "acct_" + "2b" * 16
        user = await gateway.identity.lending.people.user(here.user)
        assert user is not None
        assert await gateway.identity.aliases.add(user.account, other, "for a test") == "joined"
        await gateway.records.freezes.add_freeze(other, frozen=True, reason="test", now_ms=1)
        status, told = await here.charge()
        assert (status, told["code"]) == (403, "account_frozen")
        assert here.fees() == []
        await gateway.records.freezes.add_freeze(other, frozen=False, reason="test", now_ms=2)
        assert (await here.charge())[1]["status"] == "succeeded"


async def test_an_owner_on_hold_is_not_paid_what_is_held(tmp_path: Path) -> None:
    async with market(tmp_path, connect=True, hold_proceeds=True) as here:
        await here.agree(here.here.browser())
        [account] = here.stand_in.accounts
        here.stand_in.give_what_is_due(account.id)
        await heard(here.stage)
        payouts = RecordedPayouts(here.stage.gateway.records.ask)
        await payouts.hold_owner("anna", "looked into", now_ms=1)
        _, told = await here.charge()
        assert (told["status"], told["seller"]) == ("succeeded", "due")
        await here.pay_out()
        assert here.stand_in.transfers == []
        assert await here.balance("held:anna:due") == 100_000_000


async def test_what_a_command_replays_about_a_fee_does_what_the_event_would_have(tmp_path: Path) -> None:
    async with market(tmp_path, connect=True, hold_proceeds=True) as here:
        await here.agree(here.here.browser(), CONFIRMS)
        _, told = await here.charge()
        assert told["status"] == "pending"
        records, command = here.stage.gateway.records, Operator(here.stage, tmp_path)
        about = {"id": told["payment_intent_id"], "status": "succeeded",
                 "metadata": {"farebox_charge": told["transaction_id"]}}  # fmt: skip
        back = {"id": "re_1", "amount": 700, "currency": "usd", "payment_intent": about["id"], "status": "succeeded"}
        now = here.stage.gateway.clock.now_ms()
        for event in (
            Event("evt_paid", "payment_intent.succeeded", False, now // 1000, about),
            Event("evt_back", "refund.created", False, now // 1000, back),
        ):
            assert await records.claim(event, now_ms=now), "it was written down, and nobody acted on it"
        [replayed] = await command.asks("webhooks", "replay", "evt_paid")
        assert replayed["status"] == "done"
        kept = await here.kept()
        assert (kept.state, kept.seller, await here.balance("platform")) == ("succeeded", "due", 20_000_000)
        assert [await here.balance(one) for one in ("held:anna", "held:anna:due")] == [0, 100_000_000]
        [replayed] = await command.asks("webhooks", "replay", "evt_back")
        assert (replayed["status"], (await here.kept()).back) == ("done", 7_000_000)
        assert await here.balance("platform") == 13_000_000
        audited(here.stage)


async def test_who_is_erased_owes_no_fee_any_more_if_the_operator_waives_it(tmp_path: Path) -> None:
    async with market(tmp_path, connect=True) as here:
        await here.agree(here.here.browser(), CONFIRMS)
        for refund in ("rf_1", "rf_2"):
            assert (await here.charge(refund))[1]["status"] == "pending"
        waiting = sorted([(await here.kept(refund)).id for refund in ("rf_1", "rf_2")])
        [row] = await here.stage.gateway.records.ask("SELECT account FROM users WHERE id = $1", here.user)
        command, account = Operator(here.stage, tmp_path), row[0]
        would = await command.asks("erase", "--account", account, "--dry-run")
        assert would["charges_waiting"] == waiting
        refused = await command.types("erase", "--account", account, code=1)
        assert f"fees wait for this person: {', '.join(waiting)};" in refused
        assert "--waive-charges" in refused
        assert (await here.kept()).state == "pending", "and nothing was done"
        done = await command.asks("erase", "--account", account, "--waive-charges", "--reason", "asked by letter")
        assert done["charges_waived"] == waiting
        assert {(await here.kept(refund)).state for refund in ("rf_1", "rf_2")} == {"failed"}
        acts = await here.stage.gateway.records.trail.steps_before(2**62, action="charge.waive", count=9)
        assert sorted((step.act.object, step.act.reason) for step in acts) == [
            (id, "asked by letter") for id in waiting
        ]
        here.stand_in.cut_answers(1)
        await here.later()
        here.stand_in.cut_answers(0)
        await here.later()
        assert (await here.kept()).reason == "waived", "nobody goes on with it"
        assert {one["status"] for one in here.fees()} == {"canceled"}, "and nobody can pay it any more"


async def test_a_fee_that_failed_is_given_up_and_what_was_held_is_the_sellers(tmp_path: Path) -> None:
    async with market(tmp_path, connect=True, hold_proceeds=True, retry_hours=[1]) as here:
        await here.agree(here.here.browser(), DECLINED)
        _, told = await here.charge()
        await here.later()
        assert (await here.kept()).state == "failed"
        id, command = told["transaction_id"], Operator(here.stage, tmp_path)
        [listed] = await command.asks("charges", "list", "--state", "failed")
        assert (listed["transaction_id"], listed["seller"], listed["owner"]) == (id, "held", "anna")
        assert await command.asks("charges", "list", "--state", "pending") == []
        would = await command.asks("charges", "waive", id, "--reason", "a favour", "--dry-run")
        assert (would["status"], would["seller"]) == ("failed", "held")
        assert [await here.balance(one) for one in ("held:anna", "held:anna:due")] == [100_000_000, 0]
        here.stand_in.cut_answers(3)
        said = await command.types("charges", "waive", id, "--reason", "a favour", code=3)
        assert "Stripe cannot be reached" in said
        assert [await here.balance(one) for one in ("held:anna", "held:anna:due")] == [100_000_000, 0]
        here.stand_in.cut_answers(0)
        for _ in range(2):
            await here.later()
        kept = await here.kept()
        assert (kept.state, kept.reason, kept.seller) == ("failed", "waived", "due")
        assert [await here.balance(one) for one in ("held:anna", "held:anna:due", "platform")] == [0, 100_000_000, 0]
        assert [one["status"] for one in here.fees()] == ["canceled"]
        assert "nothing to give up: waived" in await command.types("charges", "waive", id, "--reason", "again", code=3)
        assert "no charge txn_1" in await command.types("charges", "waive", "txn_1", "--reason", "again", code=3)
        steps = await here.stage.gateway.records.trail.steps_before(2**62, object=id, count=99)
        acts = [step.act.action.partition(".")[2] for step in steps[::-1]]
        assert acts[-4:] == ["failed", "waive", "waived", "release"]
        audited(here.stage)


async def test_a_fee_that_was_paid_before_it_is_given_up_is_believed(tmp_path: Path) -> None:
    async with market(tmp_path, connect=True, hold_proceeds=True) as here:
        ann = here.here.browser()
        await here.agree(ann, CONFIRMS)
        _, told = await here.charge()
        assert told["status"] == "pending"
        here.stand_in.hold(["payment_intent.succeeded"])
        _, _, answer = await ann.get(told["link"])
        async with ann.session.post(answer.headers["Location"], data={"answer": "yes"}, allow_redirects=False):
            pass
        done = await Operator(here.stage, tmp_path).asks("charges", "waive", told["transaction_id"], "--reason", "late")
        assert (done["status"], done["seller"]) == ("succeeded", "due")
        assert [await here.balance(one) for one in ("held:anna:due", "platform")] == [100_000_000, 20_000_000]
        here.stand_in.release()
        await heard(here.stage)
        assert [await here.balance(one) for one in ("held:anna:due", "platform")] == [100_000_000, 20_000_000]


async def test_a_fee_that_went_back_is_in_nobodys_way(tmp_path: Path) -> None:
    async with market(tmp_path, connect=True) as here:
        await here.agree(here.here.browser())
        _, told = await here.charge()
        here.stand_in.refund(told["payment_intent_id"])
        await heard(here.stage)
        assert (await here.kept()).state == "refunded"
        [row] = await here.stage.gateway.records.ask("SELECT account FROM users WHERE id = $1", here.user)
        done = await Operator(here.stage, tmp_path).asks("erase", "--account", row[0], "--dry-run")
        assert done["charges_waiting"] == []
        personal = Erasure(here.stage.gateway.records, here.stage.gateway.keyring, SystemRandomness(), shared=False)
        assert not await personal.is_charged([row[0]])
