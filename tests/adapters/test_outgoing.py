"""Messages reach where they are meant to go, and documents come from where they are, and nothing from inside."""

import asyncio
import socket
import zlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.adapters.outgoing import DOCUMENT_SECONDS_MAX, HttpDocuments, HttpSender
from gateway.core.hosts import is_public
from gateway.ports import Document, NotFetched, NotSent
from tests.ports import own_port


class Says(AbstractResolver):
    """Every name means these addresses."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)
            for address in self.addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""


class Receiver:
    """Answers as it is told to, and keeps what it was sent."""

    def __init__(self) -> None:
        self.status = 204
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.got.append((dict(request.headers), await request.read()))
        return web.Response(status=self.status, headers={"Location": "/elsewhere"} if self.status == 302 else None)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made, app = Receiver(), web.Application()
    app.router.add_route("*", "/{any:.*}", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    port = own_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    made.url = f"http://127.0.0.1:{port}/told?by=us"
    yield made
    await runner.cleanup()


async def sent(url: str, *, private: bool, resolver: AbstractResolver | None = None) -> None:
    sender = HttpSender(url, private=private, resolver=resolver)
    try:
        await sender.send({"webhook-id": "1"}, b"{}")
    finally:
        await sender.close()


async def test_it_is_sent_as_it_stands(receiver: Receiver) -> None:
    await sent(receiver.url, private=True)
    [(fields, body)] = receiver.got
    assert body == b"{}"
    assert fields["webhook-id"] == "1"
    assert fields["Content-Type"] == "application/json"


@pytest.mark.parametrize("status", [199 + 1, 204, 299])
async def test_any_success_is_one(receiver: Receiver, status: int) -> None:
    receiver.status = status
    await sent(receiver.url, private=True)


@pytest.mark.parametrize("status", [302, 400, 410, 500])
async def test_whatever_is_no_success_is_said_and_redirects_are_not_followed(receiver: Receiver, status: int) -> None:
    receiver.status = status
    with pytest.raises(NotSent, match=f"it answered {status}"):
        await sent(receiver.url, private=True)
    assert len(receiver.got) == 1


async def test_an_address_of_the_inside_is_not_connected_to(receiver: Receiver) -> None:
    with pytest.raises(NotSent, match="private address"):
        await sent(receiver.url, private=False)
    named = receiver.url.replace("127.0.0.1", "shop.example")
    for inside in (["127.0.0.1"], ["93.184.215.14", "127.0.0.1"]):
        with pytest.raises(NotSent, match="private address"):
            await sent(named, private=False, resolver=Says(*inside))
    assert receiver.got == []
    await sent(named, private=True, resolver=Says("127.0.0.1"))
    assert len(receiver.got) == 1


async def test_nobody_there_is_said_without_the_address() -> None:
    with pytest.raises(NotSent) as refused:
        await sent(f"http://127.0.0.1:{own_port()}/secret", private=True)
    assert str(refused.value) == "ClientConnectorError"


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1",
     "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
     "::ffff:169.254.169.254", "2002:7f00:1::", "64:ff9b::a9fe:a9fe", "64:ff9b::a00:5", "64:ff9b:1::a00:5",
     "::127.0.0.1", "::ffff:0:10.0.0.5", "fec0::1", "2001:db8::1", "4000::1"],
)  # fmt: skip
def test_what_is_inside(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:93.184.215.14", "64:ff9b::5db8:d70e"],
)
def test_what_is_outside(address: str) -> None:
    assert is_public(address)


class Publisher:
    """Answers with a document, as it is told to."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = b"{}"
        self.status = 200
        self.asked: list[str] = []
        self.url = ""
        self.hangs: asyncio.Event | None = None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        if self.hangs is not None:
            await self.hangs.wait()
        return web.Response(status=self.status, body=self.body, headers=self.headers)


@pytest.fixture
async def publisher() -> AsyncIterator[Publisher]:
    made, app = Publisher(), web.Application()
    app.router.add_get("/{any:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
    yield made
    if made.hangs is not None:
        made.hangs.set()
    await runner.cleanup()


async def fetched(
    url: str, *, private: bool = True, resolver: AbstractResolver | None = None, seconds: float = 60.0
) -> Document:
    documents = HttpDocuments(private=private, resolver=resolver, seconds=seconds)
    try:
        return await documents.fetch(url)
    finally:
        await documents.close()


@pytest.mark.parametrize(
    ("headers", "kept"),
    [({}, None), ({"Cache-Control": "public, max-age=300"}, 300), ({"Cache-Control": "MAX-AGE=60", "Age": "20"}, 40),
     ({"Cache-Control": "max-age=60", "Age": "90"}, 0), ({"Cache-Control": "no-store, max-age=60"}, 0),
     ({"Cache-Control": "s-maxage=9"}, None), ({"Cache-Control": "max-age=x"}, None)],
)  # fmt: skip
async def test_a_document_says_how_long_it_is_good(
    publisher: Publisher, headers: dict[str, str], kept: float | None
) -> None:
    publisher.headers = headers
    assert await fetched(publisher.url) == Document(b"{}", kept)


async def test_a_document_has_its_bound(publisher: Publisher) -> None:
    publisher.body = b"x" * 65_536
    assert len((await fetched(publisher.url)).content) == 65_536
    publisher.body += b"x"
    with pytest.raises(NotFetched, match="more than 65536"):
        await fetched(publisher.url)


async def test_a_small_document_that_unpacks_into_a_large_one_is_none(publisher: Publisher) -> None:
    publisher.body, publisher.headers = zlib.compress(b"x" * 10_000_000), {"Content-Encoding": "deflate"}
    with pytest.raises(NotFetched, match="packed"):
        await fetched(publisher.url)


@pytest.mark.parametrize("status", [204, 301, 302, 307, 404, 503])
async def test_of_a_document_redirects_are_not_followed(publisher: Publisher, status: int) -> None:
    publisher.status, publisher.headers = status, {"Location": "/elsewhere"}
    with pytest.raises(NotFetched, match=f"it answered {status}"):
        await fetched(publisher.url)
    assert publisher.asked == ["/keys"]


async def test_a_document_that_does_not_come_is_given_up(publisher: Publisher) -> None:
    publisher.hangs = asyncio.Event()
    with pytest.raises(NotFetched, match="TimeoutError"):
        await fetched(publisher.url, seconds=0.2)
    assert DOCUMENT_SECONDS_MAX == 5


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0177.0.0.1", "0x7f000001", "0", "[::ffff:127.0.0.1]"])
async def test_a_host_that_is_a_number_in_disguise_is_not_connected_to(host: str) -> None:
    reached: list[str] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(host)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(NotFetched):
            await fetched(f"https://{host}:{port}/keys", private=False)
    assert reached == []


async def test_a_document_of_the_inside_is_not_fetched(publisher: Publisher) -> None:
    named = publisher.url.replace("127.0.0.1", "keys.example")
    with pytest.raises(NotFetched, match="not https"):
        await fetched(publisher.url, private=False)
    for url in (publisher.url, named):
        with pytest.raises(NotFetched, match="private address"):
            await fetched(url.replace("http:", "https:"), private=False, resolver=Says("127.0.0.1"))
    assert publisher.asked == []
