"""https on both sides, unix sockets and IPv6: the same road on another ground."""

import asyncio
import contextlib
import datetime
import socket
import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.cli.stage import Stage
from tests.callers import funded
from tests.conftest import StageMaker
from tests.raw import OK, RawUpstream, closed
from tests.relay.scenes import (
    SWITCHED,
    Wire,
    callers_connected,
    connected,
    request,
    serving,
    toy_upstream,
    under_way,
    until,
    upstream_connections,
)

LARGE = 8 << 20


@dataclass(frozen=True, slots=True)
class Authority:
    """A throwaway certificate authority in a folder."""

    folder: Path
    name: str

    def __post_init__(self) -> None:
        _write(self.folder, self.name, self.name, (), issuer=None)

    @property
    def file(self) -> str:
        return str(self.folder / f"{self.name}.pem")

    def certify(self, name: str, *hosts: str) -> tuple[str, str]:
        """The files of a certificate for these hosts, and of its key."""
        return _write(self.folder, name, name, hosts, issuer=self.name)

    def server(self, name: str, *hosts: str) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*self.certify(name, *hosts))
        return context

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.file)


_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
)  # fmt: skip


def _write(folder: Path, file: str, name: str, hosts: tuple[str, ...], *, issuer: str | None) -> tuple[str, str]:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer_key, issued_by = key, subject
    if issuer is not None:
        issuer_key = serialization.load_pem_private_key((folder / f"{issuer}.key").read_bytes(), None)  # type: ignore[assignment]
        issued_by = x509.load_pem_x509_certificate((folder / f"{issuer}.pem").read_bytes()).subject
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issued_by).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )  # fmt: skip
    if issuer is None:  # Python 3.13 and newer believe no authority that does not say so
        builder = builder.add_extension(_SIGNS_CERTIFICATES, critical=True)
    if hosts:
        names = [x509.IPAddress(ip_address(h)) if h[0].isdigit() or ":" in h else x509.DNSName(h) for h in hosts]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(issuer_key, hashes.SHA256())
    made = folder / f"{file}.pem", folder / f"{file}.key"
    made[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(made[0]), str(made[1])


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


async def stage_before(make_stage: StageMaker, url: str, settings: dict[str, Any], **upstream: Any) -> Stage:
    prices = {"free": "free", "paid": "0.002 usd"}
    return await make_stage(
        upstreams={"raw": {"url": url, **upstream}},
        stripe=None,
        routes=[
            {"name": name, "match": f"/{name}/", "upstream": "raw", "price": price} for name, price in prices.items()
        ],
        **settings,
    )


# --- callers over TLS -------------------------------------------------------------------------------------------------


async def secure_stage(make_stage: StageMaker, authority: Authority, url: str, **settings: Any) -> tuple[Stage, str]:
    certificate, key = authority.certify("gateway", "localhost")
    tls = {"certificate": certificate, "key": key}
    stage = await stage_before(make_stage, url, {"tls": tls, "public_url": "https://localhost", **settings})
    assert stage.running is not None
    return stage, stage.running.address


def trusting(authority: Authority) -> dict[str, Any]:
    return {"ssl": authority.client(), "server_hostname": "localhost"}


async def test_our_own_pages_and_others_take_turns_on_one_secure_connection(
    make_stage: StageMaker, authority: Authority, upstream: RawUpstream
) -> None:
    stage, url = await secure_stage(make_stage, authority, upstream.url)
    [caller] = await funded(stage, "1.00 usd")
    async with connected(url, **trusting(authority)) as wire:
        for number in range(100):
            upstream.script = _saying(b"%03d" % number)
            wire.send(request("/-/wallet", caller))
            assert b"<html" in (await wire.answer()).body
            wire.send(request("/paid/x", caller))
            assert (await wire.answer()).body == b"%03d" % number
    assert upstream.connections == 1
    assert upstream.visits[0].values(b"X-Forwarded-Proto") == [b"https"]


def _saying(body: bytes) -> Any:
    async def script(visit: Any) -> None:
        visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    return script


async def test_large_bodies_pass_both_ways_and_a_slow_reader_is_waited_for(
    make_stage: StageMaker, authority: Authority
) -> None:
    async def echo(visit: Any) -> None:
        visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(visit.body))
        visit.writer.write(visit.body)

    async with toy_upstream(echo) as upstream:
        stage, url = await secure_stage(make_stage, authority, upstream.url, timeouts={"send": "500ms"})
        body = bytes(range(256)) * (LARGE // 256)
        async with connected(url, **trusting(authority)) as wire:
            wire.send(request("/free/x", None, f"Content-Length: {LARGE}", method="POST") + body)
            await wire.reader.readuntil(b"\r\n\r\n")
            got = b""
            for _ in range(20):
                got += await wire.reader.read(65_536)
                await asyncio.sleep(0.05)
            got += await wire.reader.readexactly(LARGE - len(got))
            assert got == body
    await until(lambda: callers_connected(stage) == 0)


async def test_a_refusal_arrives_though_the_body_is_still_coming(
    make_stage: StageMaker, authority: Authority, upstream: RawUpstream
) -> None:
    _, url = await secure_stage(make_stage, authority, upstream.url, limits={"request_body_max": "1 MiB"})
    for _ in range(5):
        async with connected(url, **trusting(authority)) as wire:
            wire.send(request("/free/x", None, f"Content-Length: {LARGE}", method="POST"))
            for _ in range(20):
                wire.send(b"x" * 65_536)
                await asyncio.sleep(0)
            assert (await wire.answer()).status == 413


async def test_a_caller_that_never_shakes_hands_is_dropped(
    make_stage: StageMaker, authority: Authority, upstream: RawUpstream
) -> None:
    _, url = await secure_stage(make_stage, authority, upstream.url, timeouts={"head": "300ms"})
    async with connected(url) as wire:
        assert await wire.rest(2) == b""


# --- upstreams over TLS -----------------------------------------------------------------------------------------------


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.readuntil(b"\r\n\r\n"):
        writer.write(OK)
        await writer.drain()


@pytest.mark.parametrize(
    ("hosts", "trusted", "server_name", "status"),
    [
        (("127.0.0.1",), True, None, 200), (("127.0.0.1",), False, None, 502), (("127.0.0.2",), True, None, 502),
        (("api.example",), True, "api.example", 200), (("api.example",), True, None, 502),
        (("api.example",), True, "other.example", 502),
    ],
)  # fmt: skip
async def test_an_upstream_proves_who_it_is(
    make_stage: StageMaker, authority: Authority, tmp_path: Path,
    hosts: tuple[str, ...], trusted: bool, server_name: str | None, status: int,
) -> None:  # fmt: skip
    context, names = authority.server("upstream", *hosts), []
    context.sni_callback = lambda _, name, __: names.append(name)
    file = authority.file if trusted else Authority(tmp_path, "stranger").file
    tls = {"ca": file} if server_name is None else {"ca": file, "server_name": server_name}
    async with serving(_answer, ssl=context) as url:
        stage = await stage_before(make_stage, url.replace("http:", "https:"), {}, tls=tls)
        [caller] = await funded(stage, "1.00 usd")
        async with connected(stage.url) as wire:
            for _ in range(2):
                wire.send(request("/paid/x", caller))
                answer = await wire.answer()
                assert answer.status == status
                assert answer.code == (b"" if status == 200 else b"upstream_failed")
    assert set(names) == {server_name}
    assert len(names) == (1 if status == 200 else 2)


async def test_a_tunnel_over_tls_ends_in_good_order(make_stage: StageMaker, authority: Authority) -> None:
    async def switch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHED)
        writer.write(await reader.readexactly(5))
        await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async with serving(switch, ssl=authority.server("upstream", "127.0.0.1")) as url:
        stage = await stage_before(
            make_stage, url.replace("http:", "https:"), {}, tls={"ca": authority.file},
            ejection={"failures": 1, "time": "30s"},
        )  # fmt: skip
        [caller] = await funded(stage, "1.00 usd")
        for _ in range(2):  # the server that ended it is none that failed
            async with connected(stage.url) as wire:
                wire.send(request("/paid/x", caller, "Upgrade: toy", "Connection: Upgrade"))
                assert (await wire.answer()).status == 101
                wire.send(b"hello")
                assert await wire.rest() == b"hello"
        await until(lambda: under_way(stage) == 0 and upstream_connections(stage) == 0)
        found = await stage.gateway.ledger.balance(caller.account, "usd")
        assert found.available.micros == 1_000_000 - 2 * 2_000


@pytest.mark.parametrize("framing", ["", "Content-Length: 4\r\n"], ids=["until close", "length"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("says_goodbye", [True, False])
async def test_an_answer_that_ends_with_its_connection_is_whole_only_if_the_server_says_so(
    make_stage: StageMaker, authority: Authority, says_goodbye: bool, version: ssl.TLSVersion, framing: str
) -> None:
    whole, end = says_goodbye or bool(framing), asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\n{framing}\r\nsome".encode())
        await end.wait()
        if says_goodbye:
            writer.close()
            await writer.wait_closed()
        # else it is aborted, as if somebody on the way had ended it

    async def ended(wire: Wire) -> bytes:
        assert b"200 OK" in await wire.reader.readuntil(b"some")
        end.set()
        return await wire.rest()

    context = authority.server("upstream", "127.0.0.1")
    context.maximum_version = version
    async with serving(answer, ssl=context) as url:
        stage = await stage_before(make_stage, url.replace("http:", "https:"), {}, tls={"ca": authority.file})
        [caller] = await funded(stage, "1.00 usd")
        async with connected(stage.url) as wire:
            wire.send(request("/paid/x", caller, "Connection: close"))
            assert await ended(wire) == (b"" if framing else b"\r\n0\r\n\r\n" if whole else b"\r\n")
        end.clear()
        async with connected(stage.url) as wire:  # to which the end of the answer is that of the connection
            wire.send(request("/paid/x", caller).replace(b"HTTP/1.1", b"HTTP/1.0"))
            with contextlib.nullcontext() if whole else pytest.raises(ConnectionResetError):
                assert await ended(wire) == b""
        await until(lambda: under_way(stage) == 0)
        found = await stage.gateway.ledger.balance(caller.account, "usd")
        assert found.available.micros == 1_000_000 - (2 * 2_000 if whole else 0)


# --- unix sockets, IPv6 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trusted", [True, False])
async def test_unix_sockets_on_both_sides(make_stage: StageMaker, tmp_path: Path, trusted: bool) -> None:
    heads = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            heads.append(head)
            writer.write(OK)

    inside, outside = tmp_path / "inside", tmp_path / "outside"
    async with serving(answer, path=inside):
        await stage_before(
            make_stage,
            f"unix:{inside}",
            {
                "listen": f"unix:{outside}", "public_url": "https://api.example",
                "trusted_proxies": ["unix"] if trusted else [],
            },
        )  # fmt: skip
        reader, writer = await asyncio.open_unix_connection(outside)
        wire = Wire(reader, writer)
        for number in (1, 2):
            wire.send(request("/free/x", None, f"X-Forwarded-For: 9.9.9.{number}", "X-Forwarded-Proto: http"))
            assert (await wire.answer()).body == b"ok"
        await closed(writer)
    for number, head in enumerate(heads, 1):
        assert (b"X-Forwarded-For: 9.9.9.%d\r\n" % number in head) is trusted
        assert (b"X-Forwarded-Proto: http\r\n" in head) is trusted
    assert len(heads) == 2


async def test_ipv6_on_both_sides(make_stage: StageMaker) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
            port = probe.getsockname()[1]
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    async with serving(_answer, host="::1") as url:
        upstream = url.replace("127.0.0.1", "[::1]")
        settings = {"listen": f"[::1]:{port}", "public_url": f"http://[::1]:{port}"}
        stage = await stage_before(make_stage, upstream, settings)
        async with connected(stage.url) as wire:
            wire.send(request("/free/x"))
            assert (await wire.answer()).body == b"ok"
