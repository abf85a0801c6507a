"""Sends letters through the operator's own mail server (SMTP; the extra `mail`).

A connection per letter: they are few. What a server says in words may hold the address, so only its number is told on.
"""

from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate

import aiosmtplib

from gateway.core.letters import Letter
from gateway.core.secrets import Secret
from gateway.ports import NotSent, NotTaken

_SECONDS_MAX = 10.0
_POLICY = SMTP.clone(max_line_length=998)  # what SMTP allows: a link that is folded, or encoded, is no link
TLS_PORT = 465


class SmtpMails:
    """Implements `ports.Mails`."""

    def __init__(
        self, *, host: str, port: int, user: str | None, password: Secret | None, sender: str, starttls: bool
    ) -> None:
        self._host = host
        self._port = port
        self._user = user
        self._password = password
        self._sender = sender
        self._starttls = starttls

    async def mail(self, letter: Letter, to: str) -> None:
        try:
            await aiosmtplib.send(
                self._written(letter, to).as_bytes(),  # the library would fold it its own way
                sender=self._sender,
                recipients=[to],
                hostname=self._host,
                port=self._port,
                username=self._user,
                password=self._password.reveal() if self._password else None,
                use_tls=self._port == TLS_PORT,
                start_tls=self._starttls and self._port != TLS_PORT,
                timeout=_SECONDS_MAX,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = sorted({one.code for one in error.recipients})
            raise NotTaken(f"the mail server refused the address: {codes[0] if codes else 'no reason'}") from None
        except aiosmtplib.SMTPResponseException as error:
            raise NotSent(f"the mail server answered {error.code}") from None
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            raise NotSent(type(error).__name__) from None
        except ValueError:
            raise NotTaken("its address cannot be written to") from None

    def _written(self, letter: Letter, to: str) -> EmailMessage:
        made = EmailMessage(policy=_POLICY)
        made["From"] = self._sender
        made["To"] = to
        made["Subject"] = letter.subject
        made["Date"] = formatdate()
        made["Message-ID"] = f"<{letter.id}@{self._sender.rpartition('@')[2].rstrip('>')}>"  # the same at every try
        made["Auto-Submitted"] = "auto-generated"
        if letter.stop is not None:
            made["List-Unsubscribe"] = f"<{letter.stop}>"
            made["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        made.set_content(letter.text)
        return made
