"""The gateway's own answers as bytes."""

from http import HTTPStatus

from gateway.core.answers import Answer
from gateway.relay.heads import encoded as field_lines

_REASONS = {status.value: status.phrase for status in HTTPStatus}


def encoded(answer: Answer, *, date: bytes, closes: bool, bodiless: bool, version: int) -> bytes:
    """Head and body. `bodiless`: it answers a HEAD, so that its body is only measured.

    One that was kept may say its length and date itself: that of a HEAD or a 304 has no body of that length.
    """
    said = {name.lower() for name, _ in answer.fields}
    unmeasured = "content-length" in said or answer.status in (204, 304) or (bodiless and not answer.body)
    measured = b"" if unmeasured else b"Content-Length: %d\r\n" % len(answer.body)
    connection = b"Connection: close\r\n" if closes else b"Connection: keep-alive\r\n" if version == 10 else b""
    return b"".join(
        (
            f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, '')}\r\n".encode("latin-1"),
            field_lines(answer.fields),
            measured,
            b"" if "date" in said else date,
            connection,
            b"\r\n",
            b"" if bodiless else answer.body,
        )
    )
