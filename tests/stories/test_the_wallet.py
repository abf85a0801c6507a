"""A holder looks at what was used and paid: their own and nobody else's, on pages and as CSV."""

import csv
import io

import pytest
from aiohttp import ClientSession

from gateway.app.gateway import Gateway
from gateway.cli.stage import Stage
from gateway.core.ledger import Credit
from gateway.core.money import Money
from gateway.core.purses import PLAIN, Purse
from gateway.core.refusals import PaymentServiceUnavailable
from gateway.flows import statement
from tests.callers import BROWSER, Funded, funded
from tests.conftest import StageMaker

STATEMENT = "/-/wallet/statement.csv"


async def settled(stage: Stage) -> None:
    """Until everything that happened was acted on."""
    await stage.stand_in.settled()
    assert stage.gateway.paying.webhooks is not None
    await stage.gateway.paying.webhooks.settled()


async def use(session: ClientSession, stage: Stage, caller: Funded, times: int) -> None:
    for _ in range(times):
        async with session.get(f"{stage.url}/weather/oslo", headers=caller.headers) as answer:
            assert answer.status == 200


async def rows(session: ClientSession, stage: Stage, caller: Funded, query: str = "") -> list[dict[str, str]]:
    async with session.get(f"{stage.url}{STATEMENT}{query}", headers=caller.headers) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/csv"
        assert answer.headers["Content-Disposition"].startswith('attachment; filename="statement-20')
        return list(csv.DictReader(io.StringIO(await answer.text())))


async def test_a_statement_has_its_holders_lines_and_no_others(stage: Stage) -> None:
    ann, bob = await funded(stage, "5.00 usd", count=2)
    async with ClientSession() as session:
        await use(session, stage, ann, 2)
        await use(session, stage, bob, 1)
        await stage.gateway.ledger.durable()
        for query in ("?by=request", f"?by=request&account={bob.account}"):
            found = await rows(session, stage, ann, query)
            assert [(row["type"], row["cost"], row["credited"]) for row in found] == [
                ("credit", "0.00", "5.00"),
                ("request", "0.002", "0.00"),
                ("request", "0.002", "0.00"),
            ]
            assert {row["account"] for row in found} == {ann.account}
        hours = [row for row in await rows(session, stage, ann) if row["type"] == "hour"]
        assert sum(int(row["requests"]) for row in hours) == 2
        assert await rows(session, stage, ann, "?from=2001-01-01&to=2001-02-01") == []


async def test_what_was_granted_is_shown_beside_the_money(stage: Stage) -> None:
    ann, bob = await funded(stage, "5.00 usd", count=2)
    for ref, granted, purse in (("plan", "100 unit:export", PLAIN), ("gift", "1.00 usd", Purse(-10))):
        await stage.gateway.ledger.credit(Credit(ref, ann.account, Money.parse_grant(granted), "grant", "", purse))
    async with ClientSession() as session:
        for caller, shown in ((ann, True), (bob, False)):
            async with session.get(f"{stage.url}/-/wallet", headers={**caller.headers, **BROWSER}) as answer:
                page = await answer.text()
            assert ("<dt>Granted</dt>\n    <dd>100 export</dd>" in page) is shown
            assert ("<dd>1.00 USD</dd>" in page) is shown
            assert ("<dd>5.00 USD</dd>" in page) is shown, "the money's purses are named if there are several"
            assert "unit:" not in page


@pytest.mark.parametrize("query", ["?by=day", "?from=yesterday", "?to=2026-13-01"])
async def test_what_cannot_be_read_is_said_by_name(stage: Stage, query: str) -> None:
    [ann] = await funded(stage, "5.00 usd")
    async with (
        ClientSession() as session,
        session.get(f"{stage.url}{STATEMENT}{query}", headers=ann.headers) as answer,
    ):
        assert answer.status == 400
        assert query[1:].partition("=")[0] in (await answer.json())["detail"]


async def test_a_period_that_ends_before_it_begins_is_refused(stage: Stage) -> None:
    [caller] = await funded(stage, "1.00 usd")
    async with ClientSession(headers=caller.headers) as session:
        for days, status in (("from=2026-02-01&to=2026-01-01", 400), ("from=2026-01-01&to=2026-02-01", 200)):
            async with session.get(f"{stage.url}{STATEMENT}?{days}") as answer:
                assert answer.status == status, await answer.text()


async def test_strangers_get_no_statement_and_a_person_gets_a_page_that_says_so(stage: Stage) -> None:
    async with ClientSession() as session:
        for path in (STATEMENT, "/-/wallet/receipt?payment=cs_test_1"):
            async with session.get(stage.url + path) as answer:
                assert (answer.status, (await answer.json())["code"]) == (401, "unknown_token")
            async with session.get(stage.url + path, headers=BROWSER) as answer:
                assert answer.content_type == "text/html"
                assert "The access token is not valid" in await answer.text()


async def test_a_statement_that_is_too_long_is_refused_whole_and_so_are_too_many(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    [ann] = await funded(stage, "5.00 usd")
    monkeypatch.setattr(statement, "LINES_MAX", 0)
    async with ClientSession() as session:
        statuses = []
        for _ in range(15):
            async with session.get(stage.url + STATEMENT, headers=ann.headers) as answer:
                statuses.append(answer.status)
        assert statuses[:10] == [400] * 10
        assert statuses[-1] == 429


async def test_a_receipt_is_its_payers_alone(stage: Stage) -> None:
    ann, bob = await funded(stage, "5.00 usd", count=2)
    caller = await stage.gateway.identity.callers.known(ann.token)
    assert caller is not None
    link = await stage.gateway.paying.top_up.payment_url(caller)
    assert link is not None
    paid = stage.stand_in.pay(link.partition("?")[0], client_reference_id=link.partition("=")[2])
    await settled(stage)
    path = f"{stage.url}/-/wallet/receipt?payment={paid['id']}"
    async with ClientSession() as session:
        async with session.get(path, headers=ann.headers, allow_redirects=False) as answer:
            assert answer.status == 303
            receipt = answer.headers["Location"]
        async with session.get(receipt) as answer:
            assert "Receipt: $5.00" in await answer.text()
        async with session.get(path, headers=bob.headers, allow_redirects=False) as answer:
            assert answer.status == 404
        for odd in ("", "cs_test_nobody", "../v1/customers", "manual:1"):
            url = f"{stage.url}/-/wallet/receipt"
            async with session.get(url, params={"payment": odd}, headers=ann.headers) as answer:
                assert answer.status == 404
        async with session.get(f"{stage.url}/-/wallet", headers=ann.headers) as answer:
            text = await answer.text()
            assert f"/-/wallet/receipt?payment={paid['id']}" in text
            assert text.count("/-/wallet/receipt?") == 1, "what was put there by hand has no receipt"


async def test_a_wallet_whose_past_cannot_be_read_shows_its_balance(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    [ann] = await funded(stage, "5.00 usd")
    monkeypatch.setattr(statement, "_WAITING_MAX", 0)
    async with ClientSession() as session, session.get(f"{stage.url}/-/wallet", headers=ann.headers) as answer:
        text = await answer.text()
        assert answer.status == 200
        assert "5.00 USD" in text
        assert "cannot be shown just now" in text


async def test_a_frozen_accounts_wallet_says_so(stage: Stage) -> None:
    [ann] = await funded(stage, "5.00 usd")
    async with ClientSession() as session:
        async with session.get(f"{stage.url}/-/wallet", headers=ann.headers) as answer:
            assert "frozen" not in await answer.text()
        await stage.gateway.identity.freezes.freeze(ann.account, "a test")
        async with session.get(f"{stage.url}/-/wallet", headers=ann.headers) as answer:
            assert "This account is frozen" in await answer.text()


async def test_the_page_after_a_payment_looks_again_for_some_minutes_and_then_no_more(
    make_stage: StageMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise PaymentServiceUnavailable()

    stage = await make_stage(limits={"payment_looks": "100/second"})
    monkeypatch.setattr(stage.gateway.paying.top_up, "fulfil_session", away)
    path, waits = '/-/paid?session_id=cs_"><x>', []
    async with ClientSession() as session:
        for _ in range(100):
            async with session.get(stage.url + path) as answer:
                text = await answer.text()
            assert "<x>" not in text
            _, found, rest = text.partition('http-equiv="refresh" content="')
            if not found:
                break
            seconds, _, path = rest.partition('"')[0].replace("&amp;", "&").partition(";url=")
            waits.append(int(seconds))
    assert waits == [2] * 10 + [15] * 20
    assert "Look again" in text
    async with ClientSession() as session, session.get(f"{stage.url}/-/paid?look=-9&session_id=x") as answer:
        assert "look=1" in await answer.text()


async def test_without_the_setting_nobody_is_led_to_the_portal(make_stage: StageMaker) -> None:
    """Who saved the card may be somebody else than who has the token."""
    stage = await make_stage(stripe={"auto_top_up": {}})
    [ann] = await funded(stage, "5.00 usd", count=1)
    async with ClientSession() as session:
        body = {"amount": "20.00", "auto_top_up": {"threshold": "2.00", "amount": "20.00"}}
        async with session.post(f"{stage.url}/-/api/v1/top-ups", json=body, headers=ann.headers) as answer:
            stage.stand_in.pay((await answer.json())["payment_url"])
        await settled(stage)
        async with session.get(f"{stage.url}/-/wallet", headers=ann.headers) as answer:
            text = await answer.text()
        assert "/-/wallet/portal" not in text
        mark = text.partition('name="mark" value="')[2].partition('"')[0]
        async with session.post(f"{stage.url}/-/wallet/portal", data={"mark": mark}, headers=ann.headers) as answer:
            assert answer.status == 400


async def test_the_portal_is_for_a_holder_with_a_card_who_sends_our_own_form(make_stage: StageMaker) -> None:
    stage = await make_stage(stripe={"auto_top_up": {}, "customer_portal": True})
    ann, bob = await funded(stage, "5.00 usd", count=2)
    gateway: Gateway = stage.gateway
    async with ClientSession() as session:
        body = {"amount": "20.00", "auto_top_up": {"threshold": "2.00", "amount": "20.00"}}
        async with session.post(f"{stage.url}/-/api/v1/top-ups", json=body, headers=ann.headers) as answer:
            stage.stand_in.pay((await answer.json())["payment_url"])
        await settled(stage)
        wallet = f"{stage.url}/-/wallet"
        marks = {}
        for one in (ann, bob):
            async with session.get(wallet, headers=one.headers) as answer:
                text = await answer.text()
            assert ('action="/-/wallet/portal"' in text) == (one is ann)
            marks[one] = text.partition('name="mark" value="')[2].partition('"')[0]
        tries = [(ann, marks[ann], 200), (ann, marks[bob], 400), (ann, "", 400), (bob, marks[bob], 400)]
        for one, mark, status in tries:
            async with session.post(f"{wallet}/portal", data={"mark": mark}, headers=one.headers) as answer:
                assert answer.status == status
                if status == 200:
                    address = (await answer.text()).partition('class="button" href="')[2].partition('"')[0]
        assert address.startswith(f"{stage.stand_in.url}/portal/bps_")
        async with session.get(address) as answer:
            text = await answer.text()
            assert "visa 4242" in text
            assert f'href="{wallet}"' in text
    assert gateway.paying.replenish is not None
