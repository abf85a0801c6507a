"""Somebody pays with Link, is written to when something happens to the wallet, and says when it is enough."""

import asyncio
import re
from email.message import Message

import pytest
from aiohttp import ClientSession

from gateway.cli.stage import Stage
from tests.conftest import StageMaker
from tests.mail_server import MailServer, serving
from tests.ports import own_port
from tests.stories.test_i_have_paid_before import bought, browser

SECRET = "a-secret-of-the-shops-0123456789abcdef"
ANN = "ann@example.org"


async def letters(server: MailServer, count: int) -> list[Message]:
    async with asyncio.timeout(20):
        while len(server.letters(ANN)) < count:
            await asyncio.sleep(0.02)
    return server.letters(ANN)


async def stage_with(make_stage: StageMaker, server: MailServer) -> Stage:
    nobody = {
        "url": f"http://127.0.0.1:{own_port()}/told",
        "private_addresses": True,
        "secrets": [SECRET],
    }
    mail = {"host": "127.0.0.1", "port": server.port, "sender": "shop@example.com", "starttls": False}
    return await make_stage(notices=nobody, mail=mail)


async def test_a_holder_is_written_to_until_they_want_no_more(
    make_stage: StageMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.flows.notify.ROUND_SECONDS", 0.02)
    async with serving() as server, browser() as session:
        stage = await stage_with(make_stage, server)
        await bought(stage, session, method="link", email=ANN)
        async with session.get(stage.url + "/-/wallet") as page:
            [account] = set(re.findall("acct_[0-9a-f]{32}", await page.text()))
        await stage.gateway.identity.freezes.freeze(account, "a quarrel")
        [letter] = await letters(server, 1)
        assert (letter["From"], letter["To"], letter["Subject"]) == ("shop@example.com", ANN, "Your account is frozen")
        assert letter["Auto-Submitted"] == "auto-generated"
        payload = letter.get_payload(decode=True)
        assert isinstance(payload, bytes)
        text = payload.decode()
        assert "a quarrel" not in text
        found = re.search(r"No more of these e-mails: (\S+)", text)
        assert found is not None
        assert letter["List-Unsubscribe"] == f"<{found[1]}>"
        assert letter["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        async with ClientSession() as anybody:
            async with anybody.get(found[1][:-3]) as answer:
                assert answer.status == 400
            async with anybody.get(found[1]) as page:
                assert (page.status, "No more e-mails?" in await page.text()) == (200, True)
            assert len(await stage.gateway.records.payers.addresses_of(account)) == 1, "it was only looked at"
            action = re.search('action="([^"]+)"', await page.text())
            assert action is not None
            async with anybody.post(stage.url + action[1]) as page:
                assert "Your address is erased" in await page.text()
        assert await stage.gateway.records.payers.addresses_of(account) == []
        await stage.gateway.identity.freezes.unfreeze(account, "sorted out")
        await stage.gateway.identity.freezes.freeze(account, "again")
        async with asyncio.timeout(20):
            while (await stage.gateway.records.outbox.entries(None, count=1))[0].tries == 0:
                await asyncio.sleep(0.02)
        assert len(server.got) == 1
