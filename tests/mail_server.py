"""A mail server on this machine that keeps what it is sent, and refuses what a test says."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import Message
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session


class MailServer:
    """Its handlers are aiosmtpd's."""

    def __init__(self) -> None:
        self.port = 0
        self.got: list[tuple[str, Message]] = []
        self.refuses: dict[str, str] = {}
        """What is answered to which receiver."""
        self.says = "250 OK"
        self.logins: list[Any] = []

    def letters(self, to: str) -> list[Message]:
        return [letter for receiver, letter in self.got if receiver == to]

    async def handle_RCPT(  # noqa: N802 -- what aiosmtpd calls it
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refuses:
            return self.refuses[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 -- the same
        if self.says.startswith("250"):
            assert isinstance(envelope.content, bytes)
            self.got += [(one, message_from_bytes(envelope.content)) for one in envelope.rcpt_tos]
        return self.says

    def login(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"right", handled=False)


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[MailServer]:
    """It is there until the end of the block; with `tls` it wants STARTTLS and a login."""
    made = MailServer()
    more: dict[str, Any] = {}
    if tls is not None:
        more = {"tls_context": tls, "require_starttls": True, "authenticator": made.login, "auth_required": True}
    protocol: Callable[[], SMTP] = lambda: SMTP(made, hostname="mail.test", **more)  # noqa: E731
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()
