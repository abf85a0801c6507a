"""What the README tells a newcomer to type is typed here, and what it says will be seen is seen."""

import asyncio
import json
import re
import subprocess
import sys
import textwrap
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import yaml

from gateway.core.ledger import Credit
from gateway.core.money import Money
from gateway.demo.upstreams import ToyUpstream, echo
from gateway.settings import from_mapping
from tests import programs
from tests.agents import Agent, called, mcp_server
from tests.callers import funded, pay
from tests.conftest import StageMaker
from tests.outside import CLIENT, SECRET, outside
from tests.ports import own_port
from tests.providers import provider
from tests.stories.test_signing_in import Shop

README = (Path(__file__).parents[2] / "README.md").read_text()


def section(heading: str, until: str) -> str:
    return README.partition(f"\n{heading}\n")[2].partition(f"\n{until}\n")[0]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)


def script(commands: str) -> str:
    """Bash that stops at the first command that fails or does not show what stands behind its `#>`."""
    lines = ["set -eu -o pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]
    for line in commands.splitlines():
        command, _, expected = line.partition("#>")
        if expected:
            lines.append(f"shown=$({command})")
            lines.append(f'grep -qF -- {_quoted(expected.strip())} <<< "$shown" || {{ echo "$shown"; exit 9; }}')
        else:
            lines.append(line)
    return "\n".join(lines)


def path() -> str:
    """Where commands are found: `gateway` forked (`tests/programs.py`), but in the guide, which starts it as it is."""
    return f"{programs.folder()}:{Path(sys.executable).parent}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def test_the_five_minute_guide_works_as_it_stands(tmp_path: Path) -> None:
    commands = "".join(
        blocks(section("## Your own API in five minutes", "### Real payments in Stripe's test mode"), "sh")
    )
    commands = commands.replace(
        'export PATH="$PWD/.venv/bin:$PATH"', f'export PATH="{Path(sys.executable).parent}:$PATH"'
    )
    for port in ("8402", "8403", "9001"):
        commands = commands.replace(port, str(own_port()))
    ran = subprocess.run(
        ["bash", "-c", script(commands)], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    log = tmp_path / "shop/gateway.log"
    assert ran.returncode == 0, ran.stdout + ran.stderr + (log.read_text() if log.exists() else "")


def test_a_backup_is_made_and_put_back_as_it_stands(tmp_path: Path) -> None:
    (config,) = re.findall(r"<<'YAML'\n(.*?)^YAML", README, re.MULTILINE | re.DOTALL)
    for port in ("8402", "8403"):
        config = config.replace(port, str(own_port()))
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/gateway.yaml").write_text(config)
    first = 'gateway credit acct_0000000000000000000000000000000a "5.00 usd" --reason x --config shop/gateway.yaml\n'
    last = "gateway balance acct_0000000000000000000000000000000a --config shop/gateway.yaml #> 5.00 usd\n"
    commands = "".join(blocks(section("### Backups", "### When files are damaged"), "sh"))
    ran = subprocess.run(
        ["bash", "-c", script(f'export PATH="{path()}:$PATH"\n{first}{commands}{last}')],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (tmp_path / "shop/data/gateway.db").exists()
    assert (tmp_path / "shop/data.before/gateway.db").exists()


def test_several_processes_are_started_as_it_stands(tmp_path: Path) -> None:
    (config,) = re.findall(r"<<'YAML'\n(.*?)^YAML", README, re.MULTILINE | re.DOTALL)
    commands = "".join(blocks(section("### Several processes", "### Many hosts"), "sh"))
    for port in ("8402", "8403"):
        free = str(own_port())
        config, commands = config.replace(port, free), commands.replace(port, free)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/gateway.yaml").write_text(config)
    ran = subprocess.run(
        ["bash", "-c", script(f'export PATH="{path()}:$PATH"\n{commands}')],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr


async def test_payments_that_went_astray_are_dealt_with_as_it_stands(make_stage: StageMaker, tmp_path: Path) -> None:
    stage = await make_stage()
    link = await stage.gateway.paying.top_up.payment_url(stage.gateway.identity.callers.fresh())
    assert link is not None
    session = stage.stand_in.pay(link.partition("?")[0])["id"]
    await stage.stand_in.settled()
    config = stage._config(int(stage.url.rpartition(":")[2]), stage.settings.admin[1])
    (tmp_path / "shop").mkdir()
    config["store"] = f"sqlite:{stage.settings.store_path}"
    (tmp_path / "shop/gateway.yaml").write_text(json.dumps(config))
    first = f'export PATH="{path()}:$PATH"\nSESSION={session} ACCOUNT=acct_0000000000000000000000000000000a\n'
    heading = "### Refunds, disputes, and payments that went astray"
    commands = "".join(blocks(section(heading, "### Several processes"), "sh"))
    assert commands
    ran = await asyncio.create_subprocess_exec(
        "bash", "-c", script(first + commands), cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    shown, _ = await asyncio.wait_for(ran.communicate(), 60)
    assert ran.returncode == 0, shown.decode()


async def test_the_ways_to_pay_are_as_they_stand(make_stage: StageMaker, tmp_path: Path) -> None:
    stage = await make_stage(stripe={"auto_top_up": {}})
    config = stage._config(int(stage.url.rpartition(":")[2]), stage.settings.admin[1])
    (tmp_path / "shop").mkdir()
    config["store"] = f"sqlite:{stage.settings.store_path}"
    (tmp_path / "shop/gateway.yaml").write_text(json.dumps(config))
    text = section("### Ways to pay", "### Subscriptions").replace("http://127.0.0.1:8402", stage.url)
    order, after = blocks(text, "sh")
    paid = (
        """LINK=$(python3 -c 'import json; print(json.load(open("shop/order.json"))["payment_url"])')\n"""
        f"""curl -sf -H 'Content-Type: application/json' -d '{{"link": "'$LINK'"}}' {stage.stand_in.url}"""
        "/_standin/pay\n"
        'until curl -s -H "Authorization: Bearer $TOKEN" '
        f"""{stage.url}/-/api/v1/auto-top-up | grep -q '"on"'; do sleep 0.05; done\n"""
    )
    first = f'export PATH="{path()}:$PATH"\n'
    commands = (first + order + paid + after).replace("\\\n", "")
    ran = await asyncio.create_subprocess_exec(
        "bash", "-c", script(commands), cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    shown, _ = await asyncio.wait_for(ran.communicate(), 60)
    assert ran.returncode == 0, shown.decode()


async def test_a_subscription_begins_as_it_stands(make_stage: StageMaker, tmp_path: Path) -> None:
    text = section("### Subscriptions", "## What callers see")
    [block] = blocks(text, "yaml")
    stage = await make_stage(plans=yaml.safe_load(textwrap.dedent(block))["plans"])
    stage.stand_in.recurring_price("price_1abc", 1000)
    (tmp_path / "shop").mkdir()
    order, after = blocks(text.replace("http://127.0.0.1:8402", stage.url), "sh")
    paid = (
        """LINK=$(python3 -c 'import json; print(json.load(open("shop/plan.json"))["payment_url"])')\n"""
        f"""curl -sf -H 'Content-Type: application/json' -d '{{"link": "'$LINK'"}}' {stage.stand_in.url}"""
        "/_standin/pay\n"
        'until curl -s -H "Authorization: Bearer $TOKEN" '
        f"""{stage.url}/-/api/v1/subscriptions | grep -q '"active"'; do sleep 0.05; done\n"""
    )
    ran = await asyncio.create_subprocess_exec(
        "bash", "-c", script((order + paid + after).replace("\\\n", "")), cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    shown, _ = await asyncio.wait_for(ran.communicate(), 60)
    assert ran.returncode == 0, shown.decode()


async def test_prices_are_asked_for_as_it_stands(make_stage: StageMaker, tmp_path: Path) -> None:
    forecast = {"name": "forecast", "match": "/forecast/", "upstream": "weather", "price": "0.002 usd"}
    stage = await make_stage(routes=[forecast])
    [ann] = await funded(stage, "5.00 usd")
    config = stage._config(int(stage.url.rpartition(":")[2]), stage.settings.admin[1])
    (tmp_path / "shop").mkdir()
    config["store"] = f"sqlite:{stage.settings.store_path}"
    (tmp_path / "shop/gateway.yaml").write_text(json.dumps(config))
    text = section("### Before spending, and afterwards", "### A public price list")
    commands = "".join(blocks(text.replace("http://127.0.0.1:8402", stage.url), "sh"))
    ran = await asyncio.create_subprocess_exec(
        "bash", "-c", script(f'export PATH="{path()}:$PATH" TOKEN={ann.token}\n{commands}'), cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    shown, _ = await asyncio.wait_for(ran.communicate(), 60)
    assert ran.returncode == 0, shown.decode()


async def test_being_told_is_as_it_stands(make_stage: StageMaker, tmp_path: Path) -> None:
    text, port = section("### Being told", "### Freezing an account"), own_port()
    secret = "a-secret-of-the-shops-0123456789abcdef"
    notices = {"url": f"http://127.0.0.1:{port}/told", "secrets": [secret], "private_addresses": True}
    stage = await make_stage(notices=notices)
    config = stage._config(int(stage.url.rpartition(":")[2]), stage.settings.admin[1])
    (tmp_path / "shop").mkdir()
    config["store"] = f"sqlite:{stage.settings.store_path}"
    (tmp_path / "shop/gateway.yaml").write_text(json.dumps(config))
    [receiver] = blocks(text, "py")
    (tmp_path / "receiver.py").write_text(receiver.replace("9002", str(port)))
    start = (
        f'export PATH="{path()}:$PATH" NOTICES_SECRET={secret}\n'
        "ACCOUNT=acct_0000000000000000000000000000000a\n"
        f"{sys.executable} receiver.py > shop/told.log 2> shop/receiver.log &\n"
        f"curl -s --retry 50 --retry-connrefused --retry-delay 1 -d x http://127.0.0.1:{port}/ || true\n"
    )
    ran = await asyncio.create_subprocess_exec(
        "bash", "-c", script(start + "".join(blocks(text, "sh"))), cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    shown, _ = await asyncio.wait_for(ran.communicate(), 60)
    assert ran.returncode == 0, shown.decode()


def test_statements_and_pruning_are_as_they_stand(tmp_path: Path) -> None:
    (config,) = re.findall(r"<<'YAML'\n(.*?)^YAML", README, re.MULTILINE | re.DOTALL)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/gateway.yaml").write_text(config)
    first = (
        f'export PATH="{path()}:$PATH" ACCOUNT=acct_0000000000000000000000000000000a\n'
        'gateway credit $ACCOUNT "5.00 usd" --reason x --config shop/gateway.yaml\n'
    )
    commands = "".join(blocks(section("### Statements, and how long requests are kept", "### Backups"), "sh"))
    ran = subprocess.run(
        ["bash", "-c", script(first + commands)],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("block", blocks(README, "yaml"))
def test_every_piece_of_configuration_is_right(tmp_path: Path, block: str) -> None:
    base = yaml.safe_load(re.findall(r"<<'YAML'\n(.*?)^YAML", README, re.MULTILINE | re.DOTALL)[0])
    environ = {"STRIPE_SECRET_KEY": "rk_test_" + "1a" * 20, "STRIPE_WEBHOOK_SECRET": "whsec_" + "2b" * 20}
    environ |= {"NOTICES_SECRET": "0f1e2d3c4b5a69788796a5b4c3d2e1f0a1b2c3d4", "MAIL_PASSWORD": "a-password"}
    environ |= {"ALERTS_SECRET": "1a2b3c4d5e6f70819293a4b5c6d7e8f901122334"}
    environ |= {"DB_SECRET": "b3c1e0d94f8a7726551c0b9d8e7f6a5b4c3d2e1f"}
    environ |= {"AMAZON_CLIENT_ID": "amzn1.application-oa2-client.1", "AMAZON_CLIENT_SECRET": "5a" * 20}
    (tmp_path / "geo").mkdir()
    (tmp_path / "geo/country.mmdb").touch()
    added = yaml.safe_load(textwrap.dedent(block))
    environ |= {"REFUND_ENGINE_SECRET": "fbs_" + "6d5c4b3a" * 4}
    environ |= {"STRIPE_PUBLISHABLE_KEY": "pk_test_" + "3c" * 20}
    if "services" in added:
        base["charging"] = {}
    if {"charging", "services"} & added.keys():
        amazon = {"name": "amazon", "preset": "amazon", "client_id": "${AMAZON_CLIENT_ID}"}
        base["sign_in"] = {"providers": [{**amazon, "client_secret": "${AMAZON_CLIENT_SECRET}"}]}
    if {"payouts", "connect", "services"} & added.keys():
        base["stripe"] = {"secret_key": "${STRIPE_SECRET_KEY}", "webhook_secrets": ["${STRIPE_WEBHOOK_SECRET}"]}
    settings = from_mapping({**base, **added}, base=tmp_path, environ=environ, make_secrets=False)
    assert settings.mode == "test"


@pytest.mark.parametrize("block", blocks(README, "python"))
def test_the_python_of_the_readme_runs(tmp_path: Path, block: str) -> None:
    config = tmp_path / "config/gateway.yaml"
    config.parent.mkdir()
    shipped = (Path(__file__).parents[2] / "config/gateway.yaml").read_text()
    config.write_text(shipped)
    ran = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr


async def test_tokens_are_made_as_it_stands(make_stage: StageMaker, tmp_path: Path) -> None:
    """On a stage that has a forecast, too; the commands find its records by its own file."""
    stage = await make_stage()
    [caller] = await funded(stage, "5.00 usd")
    (tmp_path / "shop").mkdir()
    settings = stage.settings
    config = {
        "mode": "test", "listen": settings.public_url.partition("//")[2], "public_url": settings.public_url,
        "store": f"sqlite:{settings.store_path}", "upstreams": {"toy": {"url": "http://127.0.0.1:9"}},
        "routes": [{"name": "forecast", "match": "/forecast/", "upstream": "toy", "price": "0.25 usd"}],
    }  # fmt: skip
    (tmp_path / "shop/gateway.yaml").write_text(json.dumps({"version": 1, **config}))
    commands = "".join(blocks(section("### Several tokens", "### Clerk in front"), "sh"))
    commands = commands.replace("http://127.0.0.1:8402", settings.public_url)
    first = f'export PATH="{path()}:$PATH" TOKEN={caller.token} ACCOUNT={caller.account}\n'
    ran = await asyncio.to_thread(
        subprocess.run, ["bash", "-c", script(first + commands)],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_keys_and_frozen_accounts_are_as_they_stand(tmp_path: Path) -> None:
    (config,) = re.findall(r"<<'YAML'\n(.*?)^YAML", README, re.MULTILINE | re.DOTALL)
    first = f'export PATH="{path()}:$PATH" ACCOUNT=acct_0000000000000000000000000000000a\n'
    parts = (
        ("### Keys, and when one leaks", "### Being told"),
        ("### Freezing an account", "## What is promised, and what is not"),
    )
    commands = "".join(command for part in parts for command in blocks(section(*part), "sh"))
    for port in ("8402", "8403"):
        free = str(own_port())
        config, commands = config.replace(port, free), commands.replace(port, free)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/gateway.yaml").write_text(config)
    ran = subprocess.run(
        ["bash", "-c", script(first + commands)],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_prices_in_a_file_of_their_own_are_as_they_stand(tmp_path: Path) -> None:
    (config,) = re.findall(r"<<'YAML'\n(.*?)^YAML", README, re.MULTILINE | re.DOTALL)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/gateway.yaml").write_text(config)
    text = section("### Prices in a file of their own", "### An MCP server made paid")
    first = f'export PATH="{path()}:$PATH"\n'
    ran = subprocess.run(
        ["bash", "-c", script(first + "".join(blocks(text, "sh")))],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_promotion_credit_is_given_as_it_stands(tmp_path: Path) -> None:
    (config,) = re.findall(r"<<'YAML'\n(.*?)^YAML", README, re.MULTILINE | re.DOTALL)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/gateway.yaml").write_text(config)
    first = f'export PATH="{path()}:$PATH" ACCOUNT=acct_0000000000000000000000000000000a\n'
    until = "### Refunds, disputes, and payments that went astray"
    commands = "".join(blocks(section("### Promotion credit", until), "sh"))
    ran = subprocess.run(
        ["bash", "-c", script(first + commands)],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr


async def test_clerk_in_front_is_as_it_stands(make_stage: StageMaker, tmp_path: Path) -> None:
    """With a provider of Clerk's shape on loopback, which rotates its keys in between."""
    text = section("### Clerk in front", "### Sign in with Amazon")
    said = yaml.safe_load(textwrap.dedent(blocks(text, "yaml")[0]))
    before, after = blocks(text, "sh")
    async with provider("clerk") as clerk:
        [issuer] = said["identity"]["issuers"]
        issuer["issuer"] = clerk.issuer
        stage = await make_stage(**{**said, "identity": {**said["identity"], "private_addresses": True}})
        (tmp_path / "shop").mkdir()
        for commands in (before, after):
            token = clerk.token("user_2abc", azp=issuer["azp"][0])
            first = f"CLERK_TOKEN={token}\n"
            ran = await asyncio.create_subprocess_exec(
                "bash", "-c", script(first + commands.replace("http://127.0.0.1:8402", stage.url)), cwd=tmp_path,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            shown, _ = await asyncio.wait_for(ran.communicate(), 60)
            assert ran.returncode == 0, shown.decode()
            if commands is before:
                await pay(stage, json.loads((tmp_path / "shop/pay.json").read_text())["payment_url"])
                clerk.rotate("ins_2", 3)
        assert clerk.asked == 2


async def test_people_sign_in_with_amazon_as_it_stands(make_stage: StageMaker, tmp_path: Path) -> None:
    """With a provider of Amazon's shape on loopback."""
    text = section("### Sign in with Amazon", "### Pages of other sites")
    first, second = (yaml.safe_load(block) for block in blocks(text, "yaml"))
    [there], [there_too] = (one["sign_in"]["providers"] for one in (first, second))
    own = {"client_id": CLIENT, "client_secret": SECRET}
    reads = from_mapping({"sign_in": {"providers": [{**there_too, **own}]}}, base=tmp_path, make_secrets=False)
    assert reads.sign_in.providers["amazon"].sync is not None
    async with outside("amazon") as amazon, AsyncExitStack() as opened:
        mirror = ToyUpstream("reports", echo)
        await mirror.start()
        opened.push_async_callback(mirror.stop)
        first["sign_in"] = {"providers": [{**there, **amazon.settings()}], "private_addresses": True}
        first["upstreams"]["reports"]["url"] = mirror.url
        stage = await make_stage(**first)
        browser = Shop(stage, amazon, opened).browser()
        _, page, _ = await browser.get("/-/wallet")
        assert "Sign in with Amazon" in page
        status, told = await browser.api("/reports/x")
        assert (status, told["code"], told["charged"]) == (403, "not_connected", False)
        await browser.sign_in()
        _, page, _ = await browser.get("/-/wallet/sessions")
        assert "Amazon: connected" in " ".join(page.split())
        assert (await browser.api("/reports/x"))[0] == 402
        money = Credit("manual:1", str(await browser.account()), Money.parse("1.00 usd"), "manual", "for a test")
        await stage.gateway.ledger.credit(money)
        status, told = await browser.api("/reports/x")
        assert (status, dict(told["fields"])["x-amz-access-token"] in amazon.access) == (200, True)
        (tmp_path / "shop").mkdir()
        (tmp_path / "shop/gateway.yaml").write_text(json.dumps({"store": f"sqlite:{stage.settings.store_path}"}))
        ran = await asyncio.create_subprocess_exec(
            "bash", "-c", script(f'export PATH="{path()}:$PATH"\n' + "".join(blocks(text, "sh"))), cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await ran.communicate()
        assert ran.returncode == 0, output.decode()


async def test_an_mcp_server_is_made_paid_as_it_stands(make_stage: StageMaker) -> None:
    text = section("### An MCP server made paid", "### Inside your own aiohttp application")
    settings = yaml.safe_load(blocks(text, "yaml")[0])
    async with mcp_server() as server:
        settings["upstreams"]["tools"]["url"] = server.url
        stage = await make_stage(**settings)
        [person] = await funded(stage, "5.00 usd")
        async with Agent(stage, person) as agent:
            answer, _ = await agent.call(None, {"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
            assert (answer.status, "Gateway-Cost" in answer.headers) == (200, False)
            assert (await agent.call(None, called("search")))[0].status == 401
            await agent.register()
            assert 'value="5.00"' in await (await agent.page(agent.asks())).text()
            token = (await agent.tokens())["access_token"]
            for tool, cost in (("search", "0.01 usd"), ("lookup", "0.001 usd"), ("ping", None)):
                answer, said = await agent.call(token, called(tool))
                assert said["result"]["content"][0]["text"] == f"{tool} done"
                assert answer.headers.get("Gateway-Cost") == cost
