"""Letters leave through a mail server; what it refuses is told without anybody's address."""

import ssl
from pathlib import Path

import pytest

from gateway.adapters.mail import SmtpMails
from gateway.core.letters import Letter
from gateway.core.secrets import Secret
from gateway.ports import NotSent, NotTaken
from tests.mail_server import MailServer, serving
from tests.ports import own_port
from tests.relay.test_tls_and_sockets import Authority

ANN = "ann@example.org"
LETTER = Letter("ntc_1", "Your balance is low", "It is 0.40 usd: “low”.\n", "https://shop.example/-/no-mail?for=x")


def mails(
    port: int, *, host: str = "127.0.0.1", starttls: bool = False, user: str | None = None, password: str = "right"
) -> SmtpMails:
    secret = Secret(password) if user else None
    return SmtpMails(host=host, port=port, user=user, password=secret, sender="shop@example.com", starttls=starttls)


async def test_a_letter_is_plain_text_with_a_way_out_and_the_same_name_at_every_try() -> None:
    async with serving() as server:
        for _ in range(2):
            await mails(server.port).mail(LETTER, ANN)
    one, two = server.letters(ANN)
    assert one["Message-ID"] == two["Message-ID"] == "<ntc_1@example.com>"
    assert (one["To"], one["From"], one["Subject"]) == (ANN, "shop@example.com", "Your balance is low")
    assert one.get_content_type() == "text/plain"
    payload = one.get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert payload.decode().replace("\r\n", "\n") == LETTER.text
    assert one["List-Unsubscribe"] == f"<{LETTER.stop}>"


async def refused(server: MailServer, to: str = ANN) -> NotSent:
    with pytest.raises(NotSent) as found:
        await mails(server.port).mail(LETTER, to)
    assert to not in str(found.value)
    assert "ann" not in repr(found.value.__cause__)
    return found.value


async def test_what_is_refused_is_told_by_its_number_alone() -> None:
    async with serving() as server:
        server.refuses[ANN] = f"550 <{ANN}> no such box"
        error = await refused(server)
        assert isinstance(error, NotTaken)
        assert str(error) == "the mail server refused the address: 550"
        server.refuses.clear()
        server.says = f"451 not now, {ANN}"
        error = await refused(server)
        assert not isinstance(error, NotTaken)
        assert str(error) == "the mail server answered 451"
        for odd in ("ann@example.org\r\nBcc: bob@example.org", "ann@exämple.org", "ännä"):
            assert isinstance(await refused(server, odd), NotTaken), odd
    assert server.got == []


async def test_nobody_there_is_not_sent() -> None:
    with pytest.raises(NotSent) as found:
        await mails(own_port()).mail(LETTER, ANN)
    assert not isinstance(found.value, NotTaken)


async def test_nothing_is_said_before_tls_has_begun() -> None:
    async with serving() as server:
        with pytest.raises(NotSent):
            await mails(server.port, starttls=True).mail(LETTER, ANN)
    assert server.got == []


async def test_a_server_proves_who_it_is_and_we_log_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path, "authority")
    context: ssl.SSLContext = authority.server("mail", "127.0.0.1")
    async with serving(context) as server:
        with pytest.raises(NotSent):
            await mails(server.port, starttls=True, user="shop").mail(LETTER, ANN)
        assert server.logins == [], "no password to a server that nobody vouches for"
        monkeypatch.setenv("SSL_CERT_FILE", authority.file)
        with pytest.raises(NotSent, match="the mail server answered 535"):
            await mails(server.port, starttls=True, user="shop", password="wrong").mail(LETTER, ANN)
        await mails(server.port, starttls=True, user="shop").mail(LETTER, ANN)
    assert server.logins[-1] == (b"shop", b"right")
    assert len(server.letters(ANN)) == 1
