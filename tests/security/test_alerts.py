"""Somebody forges webhooks: an operator is told once by each way though four workers saw it, and when it is over."""

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiohttp import ClientSession, web
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.adapters.metrics import Counts
from gateway.app.alerting import Alerting
from gateway.app.audited import WATERMARK, Audits
from gateway.cli import main
from gateway.core import outgoing
from gateway.core.alerts import Sign
from gateway.core.readiness import Check
from gateway.core.secrets import Secret
from gateway.demo.upstreams import ToyUpstream, weather
from gateway.settings import Settings
from gateway.settings.values import TlsSettings
from tests.callers import funded
from tests.conftest import StageMaker
from tests.fakes import FakeClock
from tests.gateway_process import running, write_config
from tests.mail_server import serving
from tests.ports import own_port

SECRET = "a-secret-of-the-operators-0123456789abcdef"
FORGED = b'{"id": "evt_1", "object": "event", "type": "checkout.session.completed"}'


class Receiver:
    """An operator's own server."""

    def __init__(self) -> None:
        self.port = own_port()
        self.got: list[dict[str, Any]] = []
        self.heads: list[dict[str, str]] = []
        self.arrived = asyncio.Condition()
        self.status = 204

    async def take(self, request: web.Request) -> web.Response:
        async with self.arrived:
            body = await request.read()
            head = {name.lower(): value for name, value in request.headers.items()}
            expected = outgoing.head([Secret(SECRET)], head["webhook-id"], int(head["webhook-timestamp"]), body)
            assert expected["webhook-signature"] == head["webhook-signature"]
            self.got.append(json.loads(body))
            self.heads.append(head)
            self.arrived.notify_all()
        return web.Response(status=self.status)

    async def until(self, type: str) -> dict[str, Any]:
        async with asyncio.timeout(90), self.arrived:
            await self.arrived.wait_for(lambda: any(one["type"] == type for one in self.got))
        return next(one for one in self.got if one["type"] == type)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made, app = Receiver(), web.Application()
    app.router.add_post("/told", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", made.port).start()
    yield made
    await runner.cleanup()


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
async def test_an_audit_beside_the_gateway_says_what_is_wrong_with_the_books_and_when_it_is_mended(
    make_stage: StageMaker, request: pytest.FixtureRequest, store: str
) -> None:
    dsn = await request.getfixturevalue("postgres").schema() if store == "postgres" else ""
    where = {"store": dsn, "host_name": "one"} if dsn else {}
    stage = await make_stage(alerts={"unwatched": ["books_imbalance"]}, **where)  # it has no audits of its own
    await funded(stage, "5.00 usd")
    said: list[str] = []
    clock, records = FakeClock(stage.gateway.clock.now_ms()), stage.gateway.records
    audits = Audits(
        stage.settings, records, every_seconds=60, clock=clock, report=lambda *words, **_: said.extend(words)
    )

    async def looked() -> list[Sign]:
        clock.pass_seconds(61)
        await audits.look(clock.now_ms())
        if audits.running is not None:
            await audits.running
        return await audits.look(clock.now_ms())

    async def change(micros: int) -> None:
        if dsn:
            there = await asyncpg.connect(dsn)
            assert await there.execute("UPDATE account SET credited = credited + $1", micros) != "UPDATE 0"
            await there.close()
            return
        with sqlite3.connect(stage.settings.store_path) as books:
            assert books.execute("UPDATE account SET credited = credited + ?", (micros,)).rowcount
        books.close()

    assert await looked() == []
    assert audits.running is None, "nothing came since"
    mark = await records.watermark(WATERMARK)
    assert mark is not None
    assert await looked() == []
    assert (await records.watermark(WATERMARK) or 0) > mark
    right = await records.watermark(WATERMARK)
    await change(1)
    [found] = await looked()
    assert (found.name, found.facts["findings"] > 0) == ("books_imbalance", True)
    assert await records.watermark(WATERMARK) == right, "only what was found right is behind us"
    await change(-1)
    assert await looked() == []
    gone = (
        {"store_url": Secret(dsn + "_gone")} if dsn else {"store_path": stage.settings.store_path.with_name("gone.db")}
    )
    audits._settings = replace(stage.settings, **gone)
    assert await looked() == []
    assert said == ["audit"]
    await audits.close()


def certificate(folder: Path, days: float, now_ms: int) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "shop.test")])
    ends = datetime.fromtimestamp(now_ms / 1000, UTC) + timedelta(days=days)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, ends - timedelta(days=90), ends).sign(key, SHA256())
    file = folder / f"{days}.pem"
    file.write_bytes(made.public_bytes(Encoding.PEM))
    return file


async def test_what_is_wrong_with_a_host_is_seen_by_itself(make_stage: StageMaker, tmp_path: Path) -> None:
    stage = await make_stage()
    now_ms, settings = stage.gateway.clock.now_ms(), stage.settings
    counts, well = Counts(), {"ledger": Check(True, ""), "issuers": Check(True, "")}

    async def seen(settings: Settings, checks: dict[str, Check]) -> list[tuple[str, str]]:
        alerting = Alerting(
            settings, stage.gateway.records, workers=lambda: (counts, 1), checks=lambda: checks,
            witness=stage.gateway.witness, clock=stage.gateway.clock, report=stage.gateway.report,
        )  # fmt: skip
        return [(sign.name, sign.subject.removeprefix(settings.host_name)) for sign in await alerting.here()]

    limits = replace(settings.alerts.thresholds, disk_bytes=0)
    calm = replace(settings, alerts=replace(settings.alerts, thresholds=limits))
    counts.gauges["gateway_reconciled_timestamp_seconds", "0"] = now_ms // 1000 - 86_300
    assert await seen(calm, well) == []
    bad = {"ledger": Check(False, ""), "issuers": Check(False, "")}
    assert await seen(calm, bad) == [("ledger_stuck", ""), ("keys_stale", " issuers")]
    counts.gauges["gateway_reconciled_timestamp_seconds", "0"] = now_ms // 1000 - 86_500
    assert await seen(calm, well) == [("reconciler_behind", "")]
    counts.gauges.clear()
    full = replace(calm, alerts=replace(settings.alerts, thresholds=replace(limits, disk_bytes=2**62)))
    assert await seen(full, well) == [("disk_low", "")]
    for days, found in ((13.9, [("keys_stale", " certificate")]), (14.1, []), (-1, [("keys_stale", " certificate")])):
        file = certificate(tmp_path, days, now_ms)
        assert await seen(replace(calm, tls=TlsSettings(file, file)), well) == found


async def types(file: Path, *words: str, code: int = 0) -> Any:
    done = await asyncio.to_thread(CliRunner().invoke, main, ["alerts", *words, "--config", str(file), "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


async def test_forged_webhooks_are_told_once_by_each_way_and_end_by_themselves(
    tmp_path: Path, receiver: Receiver
) -> None:
    async with serving() as mail:
        toy = ToyUpstream("toy", weather)
        await toy.start()
        settings = write_config(tmp_path, toy.url, workers=4)
        file = tmp_path / "gateway.yaml"
        config = json.loads(file.read_text())
        nowhere = f"http://127.0.0.1:{own_port()}"
        config["stripe"] = {"secret_key": "sk_test_" + "1a" * 20, "webhook_secrets": ["whsec_" + "5a" * 24]}
        config["stripe"] |= {"api_url": nowhere}
        config["mail"] = {"host": "127.0.0.1", "port": mail.port, "sender": "shop@shop.example", "starttls": False}
        config["alerts"] = {
            "url": f"http://127.0.0.1:{receiver.port}/told", "secrets": [SECRET], "private_addresses": True,
            "mail_to": ["night@shop.example"], "every": "200ms", "ends_after": "1s", "unwatched": ["disk_low"],
            "webhook_signatures": "12/2 second", "remind_after": "24h",
        }  # fmt: skip
        file.write_text(json.dumps(config))
        admin = "http://{}:{}".format(*settings.admin)
        async with running(file), ClientSession() as session:
            tried = await types(file, "test")
            assert tried["ways"] == [{"way": way, "delivered": True, "why": ""} for way in ("webhook", "mail")]
            assert (await receiver.until("alert.test"))["data"] == {}
            head = {"Stripe-Signature": f"t={int(time.time())},v1={'0' * 64}", "Content-Type": "application/json"}
            for _ in range(60):  # each on a connection of its own, so that all workers get some
                async with (
                    ClientSession() as forger,
                    forger.post(f"{settings.public_url}/-/webhooks/stripe", data=FORGED, headers=head) as answer,
                ):
                    assert answer.status == 400
            opened = await receiver.until("alert.opened")
            assert (opened["data"]["name"], opened["data"]["severity"]) == ("webhook_signatures", "page")
            assert opened["data"]["facts"]["number"] >= 12
            assert settings.secrets.operator_token is not None
            token = {"Authorization": f"Bearer {settings.secrets.operator_token.reveal()}"}
            async with session.get(f"{admin}/alerts?all=1", headers=token) as answer:
                [told] = (await answer.json())["alerts"]
                assert (told["id"], told["alert"]) == (opened["data"]["alert"], "webhook_signatures")
            ended = await receiver.until("alert.ended")
            assert ended["data"]["alert"] == opened["data"]["alert"]
            async with asyncio.timeout(60):
                while len(mail.letters("night@shop.example")) < 3:
                    await asyncio.sleep(0.05)
            subjects = [letter["Subject"] for letter in mail.letters("night@shop.example")]
            assert sorted(subjects) == [
                "[gateway] A test of alerts",
                "[gateway] ended: webhook_signatures",
                "[gateway] opened: webhook_signatures",
            ]  # fmt: skip
            assert [one["type"] for one in receiver.got] == ["alert.test", "alert.opened", "alert.ended"], "each once"
            assert (await types(file, "list"))["alerts"] == []
            [over] = (await types(file, "list", "--all"))["alerts"]
            assert over["ended"] is not None
            async with session.get(f"{admin}/metrics") as answer:
                assert 'gateway_alerts_open{alert="webhook_signatures"} 0.0' in await answer.text()
            await types(file, "mute", "webhook_signatures", "--for", "2h")
            assert set((await types(file, "list"))["muted"]) == {"webhook_signatures"}
            for path, body, status in (
                ("mute", {"name": "webhook_signatures", "hours": 0}, 200), ("mute", {"name": "no", "hours": 1}, 400),
                ("mute", {"name": "disk_low", "hours": True}, 400), ("alr_0/ack", {}, 404), ("test", {}, 200),
            ):  # fmt: skip
                async with session.post(f"{admin}/alerts/{path}", json=body, headers=token) as answer:
                    assert answer.status == status, await answer.text()
            assert (await types(file, "list"))["muted"] == {}
            receiver.status = 500
            async with session.post(f"{admin}/alerts/test", headers=token) as answer:
                assert answer.status == 502
                assert [one["delivered"] for one in (await answer.json())["ways"]] == [False, True]
            assert [one["delivered"] for one in (await types(file, "test", code=1))["ways"]] == [False, True]
        await toy.stop()
