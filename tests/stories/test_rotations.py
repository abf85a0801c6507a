"""Keys are replaced while callers are served and pay: nobody is refused, and no payment is lost."""

import asyncio
import json
import os
import secrets
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from click.testing import CliRunner

from gateway.adapters.sqlite.audit import audit
from gateway.adapters.stripe.parameters import parameters
from gateway.cli import main
from gateway.cli.books import head_keys
from gateway.core.keyring import Keyring
from gateway.core.owning import WISH_PURPOSE
from gateway.core.rotation import LINK_DAYS
from gateway.demo.standin import Endpoint, StandIn
from gateway.settings import Settings, load
from tests.callers import Funded, reference_in
from tests.gateway_process import fund, running, write_config
from tests.raw import RawUpstream

ROTATIONS = 1000 if os.environ.get("GATEWAY_TORTURE") else 8
PAID_LATER = 3
"""How many rotations after a link was made it is paid."""


class Shop:
    """A gateway of two workers with a Stripe of its own, its callers, and its operator."""

    def __init__(self, folder: Path, upstream: RawUpstream) -> None:
        self.file = folder / "gateway.yaml"
        write_config(folder, upstream.url, workers=2)
        key, secret = f"sk_test_{secrets.token_hex(24)}", f"whsec_{secrets.token_hex(24)}"
        self.stand_in = StandIn(api_key=key, parameters=parameters)
        self._stripe = {"secret_key": key, "webhook_secrets": [secret], "top_up": "5.00 usd"}
        self.statuses: Counter[int] = Counter()
        self.newcomers: Counter[tuple[int, bool]] = Counter()

    async def start(self) -> None:
        await self.stand_in.start()
        config = json.loads(self.file.read_text())
        config["stripe"] = {**self._stripe, "api_url": self.stand_in.url}
        self.file.write_text(json.dumps(config))
        self.url = self.settings.public_url
        webhooks = f"{self.url}/-/webhooks/stripe"
        self.stand_in.add_endpoint(Endpoint(webhooks, self._stripe["webhook_secrets"][0]))

    @property
    def settings(self) -> Settings:
        return load(self.file, {}, make_secrets=False)

    async def types(self, *words: str, code: int = 0) -> Any:
        arguments = [*words, "--config", str(self.file), "--json"]
        done = await asyncio.to_thread(CliRunner().invoke, main, arguments)
        assert done.exit_code == code, done.output
        return json.loads(done.stdout)

    async def ask(self, session: ClientSession, token: str | None) -> tuple[int, Any]:
        """On a connection of its own, so at whichever worker."""
        fields = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with session.get(f"{self.url}/paid/x", headers={**fields, "Connection": "close"}) as answer:
            problem = answer.content_type == "application/problem+json"
            return answer.status, await answer.json() if problem else dict(answer.headers)

    @asynccontextmanager
    async def asking(self, callers: list[Funded]) -> AsyncIterator[None]:
        """Callers ask without pause, on connections that stay and on new ones."""
        over, url = asyncio.Event(), f"{self.url}/paid/x"

        async def go_on(number: int) -> None:
            async with ClientSession() as session:
                while not over.is_set():
                    close = {"Connection": "close"} if number % 2 else {}
                    caller = callers[number % len(callers)]
                    async with session.get(url, headers={**caller.headers, **close}) as answer:
                        self.statuses[answer.status] += 1

        async def begin() -> None:
            """Newcomers, each with a token that was made a moment ago, perhaps by another worker."""
            async with ClientSession() as session:
                while not over.is_set():
                    _, refused = await self.ask(session, None)
                    again, told = await self.ask(session, refused["access_token"])
                    self.newcomers[again, told.get("account") == refused["account"]] += 1

        tasks = [asyncio.create_task(go_on(number)) for number in range(6)]
        tasks += [asyncio.create_task(begin()) for _ in range(2)]
        try:
            yield
        finally:
            over.set()
            await asyncio.gather(*tasks)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    upstream = RawUpstream()
    await upstream.start()
    made = Shop(tmp_path, upstream)
    await made.start()
    yield made
    await made.stand_in.stop()
    await upstream.stop()


def audited(settings: Settings) -> None:
    report = audit(settings.store_path, head_key=head_keys(settings))
    assert report.clean, [str(finding) for finding in report.findings]
    assert report.head == "verified"


async def test_many_rotations_refuse_nobody_and_lose_no_payment(shop: Shop) -> None:
    callers = await fund(shop.settings, "1000.00 usd", count=4)
    links: list[tuple[str, str]] = []
    unpaid: list[tuple[str, str]] = []
    async with running(shop.file) as process:
        async with ClientSession() as session, shop.asking(callers):
            for number in range(ROTATIONS):
                status, refused = await shop.ask(session, None)
                assert status == 402
                unpaid.append((refused["access_token"], refused["payment_url"]))
                done = await shop.types("keys", "rotate", "pepper" if number % 2 else "sealing_key")
                assert (done["activated"], done["reloaded"]) == (True, True)
                if len(unpaid) > PAID_LATER:
                    links.append(unpaid.pop(0))
                    shop.stand_in.pay(links[-1][1], client_reference_id=reference_in(links[-1][1]))
            for token, url in unpaid:
                links.append((token, url))
                shop.stand_in.pay(url, client_reference_id=reference_in(url))
            await shop.stand_in.settled()
            for token, _ in links:

                async def served(token: str = token) -> bool:
                    status, told = await shop.ask(session, token)
                    assert status in (200, 402), told
                    return status == 200 and told["Gateway-Balance"] == "4.998 usd"

                await until_true(served)
            keys = (await shop.types("keys", "list"))["keys"]
            assert [key["missing_at"] for key in keys] == [[]] * (ROTATIONS + 3)
            names = Counter((key["kind"], key["id"]) for key in keys)
            assert max(names.values()) == 1, "of a thousand names of four digits some would be the same by chance"
            newest = [key for key in keys if key["seals"]]
            assert [key["kind"] for key in newest] == ["sealing_key", "pepper", "jwt"]
            assert newest[1]["tokens"] == ROTATIONS, "each moved to the newest pepper when it was used"
        await process.stop()
    assert set(shop.statuses) == {200}
    assert shop.statuses[200] > ROTATIONS
    assert set(shop.newcomers) == {(402, True)}
    for name in ("sealing_key", "pepper", "jwt.pem"):
        assert (shop.settings.secrets_path / name).stat().st_mode & 0o777 == 0o600
    audited(shop.settings)


async def until_true(question: Any) -> None:
    async with asyncio.timeout(20):
        while not await question():
            await asyncio.sleep(0.02)


async def test_a_key_is_retired_when_nothing_needs_it_and_the_books_still_prove_themselves(shop: Shop) -> None:
    [caller] = await fund(shop.settings, "1.00 usd", count=1)
    async with running(shop.file), ClientSession() as session:
        _, refused = await shop.ask(session, None)
        shop.stand_in.pay(refused["payment_url"], client_reference_id=reference_in(refused["payment_url"]))
        await shop.stand_in.settled()
        old = (await shop.types("keys", "list"))["keys"][0]["id"]
        needed = await shop.types("keys", "retire", "sealing_key", old, "--yes", code=1)
        assert "newest" in needed["needed"][0]
        await shop.types("keys", "rotate", "sealing_key")

        async def why() -> str:
            return "; ".join((await shop.types("keys", "retire", "sealing_key", old, "--yes", code=1))["needed"])

        assert "payment links that it sealed may still be paid until" in await why()
        forget_links(shop.settings, old)
        assert "1 tokens on record" in await why()

        async def known() -> bool:
            return (await shop.ask(session, refused["access_token"]))[0] == 200

        await until_true(known)
        assert "1 tokens on record need it" in await why()
        with closing(sqlite3.connect(records(shop.settings))) as sql, sql:
            sql.execute("DELETE FROM token")
            put_wish(sql, shop.settings, old)

        async def head_is_signed_anew() -> bool:
            [key] = [key for key in (await shop.types("keys", "list"))["keys"] if key["id"] == old]
            return not key["needed"]

        await until_true(head_is_signed_anew)
        assert (await shop.types("keys", "retire", "sealing_key", old))["retired"] is False, "it was not confirmed"
        assert (await shop.ask(session, caller.token))[0] == 200
        done = await shop.types("keys", "retire", "sealing_key", old, "--yes")
        assert (done["retired"], done["reloaded"]) == (True, True)
        assert {(await shop.ask(session, caller.token))[0] for _ in range(20)} == {401}
        with closing(sqlite3.connect(records(shop.settings))) as sql:
            assert sql.execute("SELECT count(*) FROM stripe_accounts WHERE key_id <> ?", (old,)).fetchone() == (1,)
        assert [key["id"] for key in (await shop.types("keys", "list"))["keys"] if key["events"]] != [old]
    audited(shop.settings)


def records(settings: Settings) -> Path:
    return settings.store_path.with_name("gateway.records.db")


def put_wish(sql: sqlite3.Connection, settings: Settings, id: str) -> None:
    """What is asked for an owner's account, sealed with this key."""
    [secret] = [one for one in settings.secrets.sealing_keys if Keyring([one]).newest.id == id]
    sealed = Keyring([secret]).seal(WISH_PURPOSE, b"{}", nonce=bytes(12), about="anna")
    sql.execute(
        "INSERT INTO stripe_accounts (owner, live, api, name, attempt, status, due, transfers, payouts, country,"
        " created, changed, checked, key_id, wish) VALUES ('anna', 0, 'v2', 'n', 1, 'pending', '[]', 0, 0, '', 1, 1, 1,"
        " ?, ?)",
        sealed,
    )


def forget_links(settings: Settings, id: str) -> None:
    """As if so many days had gone by."""
    with closing(sqlite3.connect(records(settings))) as sql, sql:
        sql.execute("UPDATE key_use SET sealed = sealed - ? WHERE id = ?", ((LINK_DAYS + 1) * 86_400_000, id))


async def test_a_key_that_one_process_does_not_have_is_not_used_yet(shop: Shop) -> None:
    async with running(shop.file), ClientSession() as session:
        with closing(sqlite3.connect(records(shop.settings))) as sql, sql:
            sql.execute(
                "INSERT INTO key_holder SELECT DISTINCT 'elsewhere 0', kind, ids, seen FROM key_holder GROUP BY kind"
            )
        before = [key["id"] for key in (await shop.types("keys", "list"))["keys"] if key["seals"]]
        arguments = ["keys", "rotate", "sealing_key", "--config", str(shop.file)]
        done = await asyncio.to_thread(CliRunner().invoke, main, arguments)
        assert done.exit_code == 3
        assert "elsewhere 0 cannot open with" in done.output
        keys = (await shop.types("keys", "list"))["keys"]
        assert [key["id"] for key in keys if key["seals"]] == before
        prepared = keys[1]
        assert (prepared["kind"], prepared["missing_at"]) == ("sealing_key", ["elsewhere 0"])
        with closing(sqlite3.connect(records(shop.settings))) as sql, sql:
            sql.execute("DELETE FROM key_holder WHERE holder = 'elsewhere 0'")
        await shop.types("keys", "rotate", "sealing_key", "--activate", prepared["id"])
        _, refused = await shop.ask(session, None)
        assert refused["access_token"][8:12] == prepared["id"]


async def test_a_reload_takes_up_webhook_secrets_and_the_stripe_key(shop: Shop) -> None:
    async with running(shop.file), ClientSession() as session:
        _, refused = await shop.ask(session, None)
        config = json.loads(shop.file.read_text())
        fresh, right = f"whsec_{secrets.token_hex(24)}", config["stripe"]["secret_key"]

        async def reload(**stripe: object) -> Any:
            config["stripe"].update(stripe)
            shop.file.write_text(json.dumps(config))
            told = await shop.types("reload")
            assert told["needs_restart"] == []
            return told["keys"]

        async def looks_for_a_payment() -> int:
            async with session.get(f"{shop.settings.public_url}/-/paid?session_id=cs_test_nothing") as page:
                return page.status

        assert await looks_for_a_payment() == 404
        expired = f"rk_test_{secrets.token_hex(24)}"
        assert await reload(webhook_secrets=[fresh], secret_key=expired) == [
            "stripe.webhook_secrets",
            "stripe.secret_key",
        ]
        assert await looks_for_a_payment() == 200, "it waits for a Stripe that refuses the key"
        assert await reload(secret_key=right) == ["stripe.secret_key"]
        assert await looks_for_a_payment() == 404
        shop.stand_in._webhooks.endpoints[:] = [Endpoint(f"{shop.settings.public_url}/-/webhooks/stripe", fresh)]
        shop.stand_in.pay(refused["payment_url"], client_reference_id=reference_in(refused["payment_url"]))
        await shop.stand_in.settled()

        async def known() -> bool:
            return (await shop.ask(session, refused["access_token"]))[0] == 200

        await until_true(known)


async def test_a_key_file_that_is_gone_is_a_mistake_and_the_gateway_goes_on_with_its_keys(shop: Shop) -> None:
    [caller] = await fund(shop.settings, "1.00 usd", count=1)
    async with running(shop.file), ClientSession() as session:
        file = shop.settings.secrets_path / "sealing_key"
        file.rename(file.with_name("away"))
        told = await shop.types("reload", code=1)
        assert "sealing_key: it is missing; put it back" in told["mistakes"][0]
        assert (await shop.ask(session, caller.token))[0] == 200
        file.with_name("away").rename(file)
        await shop.types("reload")
