"""Messages reach where they are meant to go, and nowhere inside."""

import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.adapters.outgoing import HttpSender, is_public
from gateway.ports import NotSent
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
     "::ffff:169.254.169.254", "2002:7f00:1::"],
)  # fmt: skip
def test_what_is_inside(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:93.184.215.14"])
def test_what_is_outside(address: str) -> None:
    assert is_public(address)
