"""The operator changes routes and prices while callers are being served."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.cli import main
from gateway.settings import Settings
from tests.gateway_process import fund, running, write_config
from tests.raw import OK, RawUpstream, Visit, ask, closed, split


@pytest.fixture
async def upstream() -> AsyncIterator[RawUpstream]:
    upstream = RawUpstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


class Shop:
    """A configuration file, and the gateway that runs by it."""

    def __init__(self, folder: Path, upstream: RawUpstream) -> None:
        self.file = folder / "gateway.yaml"
        self.settings: Settings = write_config(folder, upstream.url)
        self.url = self.settings.public_url

    def change(self, edit: Any) -> None:
        config = json.loads(self.file.read_text())
        edit(config)
        self.file.write_text(json.dumps(config))

    async def reload(self) -> tuple[int, str]:
        """`gateway reload`: its exit code and what it printed."""
        done = await asyncio.to_thread(CliRunner().invoke, main, ["reload", "--config", str(self.file)])
        return done.exit_code, done.output


def get(path: str, token: str = "", connection: str = "close") -> bytes:
    bearer = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n{bearer}Connection: {connection}\r\n\r\n".encode()


def price(config: dict[str, Any], text: str) -> None:
    config["routes"][0]["price"] = text


async def test_prices_in_a_file_of_their_own_are_read_again_and_a_mistake_there_changes_nothing(
    tmp_path: Path, upstream: RawUpstream
) -> None:
    shop, prices = Shop(tmp_path, upstream), tmp_path / "prices.yaml"

    def without_prices(config: dict[str, Any]) -> None:
        config["prices_file"] = str(prices)
        for route in config["routes"]:
            del route["price"]

    names = [route["name"] for route in json.loads(shop.file.read_text())["routes"]]
    prices.write_text("".join(f'{name}: "0.03 usd"\n' for name in names))
    shop.change(without_prices)
    [caller] = await fund(shop.settings, "1.00 usd", count=1)
    async with running(shop.file):
        for text, code, cost in (("0.03 usd", 0, "0.03 usd"), ("0.04 usd", 0, "0.04 usd"), ("0.05 eur", 1, "0.04 usd")):
            prices.write_text("".join(f'{name}: "{text}"\n' for name in names))
            done, words = await shop.reload()
            assert (done != 0) == (code != 0), words
            _, fields, _ = split(await ask(shop.url, get("/paid/x", caller.token)))
            assert dict(fields)["Gateway-Cost"] == cost
        assert f"{prices}:1:" in words


async def test_a_new_price_holds_for_the_next_request_and_not_for_one_under_way(
    tmp_path: Path, upstream: RawUpstream
) -> None:
    shop = Shop(tmp_path, upstream)
    [caller] = await fund(shop.settings, "1.00 usd", count=1)
    go_on = asyncio.Event()

    async def held_up(visit: Visit) -> None:
        await go_on.wait()
        visit.writer.write(OK)

    upstream.script = held_up
    async with running(shop.file):
        under_way = asyncio.create_task(ask(shop.url, get("/paid/x", caller.token)))
        await upstream.visited.wait()
        shop.change(lambda config: price(config, "0.25 usd"))
        assert await shop.reload() == (0, "reloaded; routes: changed paid\n")
        go_on.set()
        assert dict(split(await under_way)[1])["Gateway-Cost"] == "0.002 usd"
        _, fields, _ = split(await ask(shop.url, get("/paid/x", caller.token)))
        assert (dict(fields)["Gateway-Cost"], dict(fields)["Gateway-Balance"]) == ("0.25 usd", "0.748 usd")


async def test_a_bad_file_is_refused_with_its_mistakes_and_the_old_routes_stay(
    tmp_path: Path, upstream: RawUpstream
) -> None:
    shop = Shop(tmp_path, upstream)
    async with running(shop.file) as process:
        shop.change(lambda config: price(config, "a bargain"))
        code, printed = await shop.reload()
        assert code == 2
        assert "price" in printed
        os.kill(process.pid, signal.SIGHUP)
        status, _, body = split(await ask(shop.url, get("/paid/x")))
        assert status == 402
        assert json.loads(body)["price"] == {"amount": "0.002", "currency": "usd"}


async def test_sighup_reloads_too(tmp_path: Path, upstream: RawUpstream) -> None:
    shop = Shop(tmp_path, upstream)
    async with running(shop.file) as process:
        assert split(await ask(shop.url, get("/paid/x")))[0] == 402
        shop.change(lambda config: price(config, "free"))
        os.kill(process.pid, signal.SIGHUP)
        async with asyncio.timeout(10):
            while split(await ask(shop.url, get("/paid/x")))[0] != 200:
                pass


async def test_a_stream_goes_on_through_a_reload(tmp_path: Path, upstream: RawUpstream) -> None:
    shop = Shop(tmp_path, upstream)
    go_on = asyncio.Event()

    async def stream(visit: Visit) -> None:
        visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        visit.writer.write(b"9\r\ndata: 1\n\n\r\n")
        await go_on.wait()
        visit.writer.write(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")

    upstream.script = stream
    async with running(shop.file):
        host, port = shop.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(get("/free/x"))
        await reader.readuntil(b"data: 1")
        shop.change(lambda config: config["routes"].pop(1))
        assert await shop.reload() == (0, "reloaded; routes: removed free\n")
        go_on.set()
        assert (await reader.read()).endswith(b"0\r\n\r\n")
        await closed(writer)
        assert split(await ask(shop.url, get("/free/x")))[0] == 404


async def test_a_server_comes_and_goes_without_a_lost_request(tmp_path: Path, upstream: RawUpstream) -> None:
    other = RawUpstream()
    await other.start()
    shop = Shop(tmp_path, upstream)
    wrong: list[bytes] = []
    over = asyncio.Event()

    async def load() -> None:
        host, port = shop.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        while not over.is_set():
            writer.write(get("/free/x", connection="keep-alive"))
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head or await reader.readexactly(2) != b"ok":
                wrong.append(head)
        await closed(writer)

    async with running(shop.file):
        loads = [asyncio.create_task(load()) for _ in range(8)]
        for round in range(6):
            urls = [upstream.url] if round % 2 else [upstream.url, other.url]
            shop.change(lambda config, urls=urls: config["upstreams"].update(toy={"servers": urls}))
            assert (await shop.reload())[0] == 0
        over.set()
        await asyncio.gather(*loads)
    assert wrong == []
    assert len(other.visits) > 0
    await other.stop()


async def test_what_waits_for_a_restart_is_named(tmp_path: Path, upstream: RawUpstream) -> None:
    shop = Shop(tmp_path, upstream)
    async with running(shop.file):
        shop.change(lambda config: config.update(limits={"request_body_max": "1 MiB"}))
        code, printed = await shop.reload()
        assert code == 0
        assert "wait for a restart: limits" in printed


async def test_nobody_to_reload_is_said(tmp_path: Path, upstream: RawUpstream) -> None:
    code, printed = await Shop(tmp_path, upstream).reload()
    assert code == 3
    assert "no gateway answers on 127.0.0.1:" in printed


async def test_another_file_than_the_one_that_is_read_is_refused_and_a_link_to_it_is_not(
    tmp_path: Path, upstream: RawUpstream
) -> None:
    shop, other, link = Shop(tmp_path, upstream), tmp_path / "other.yaml", tmp_path / "link.yaml"
    link.symlink_to(shop.file)
    other.write_text(shop.file.read_text().replace('"0.002 usd"', '"0.003 usd"'))

    async def typed(command: str, config: str) -> tuple[int, str]:
        done = await asyncio.to_thread(CliRunner().invoke, main, [command, "--config", config])
        return done.exit_code, done.output

    async with running(shop.file):
        for command in ("reload", "restart"):
            code, said = await typed(command, str(other))
            assert (code, said) == (1, f"gateway: it is another file: this gateway reads {shop.file}\n")
        for same in (str(link), os.path.relpath(shop.file)):
            assert (await typed("reload", same))[0] == 0
        shop.change(lambda config: price(config, "0.003 usd"))
        code, said = await shop.reload()
        assert (code, "changed paid" in said) == (0, True)
