"""What is too large is refused, and what comes in pieces means what it means at once."""

import pytest

from gateway.cli.stage import Stage
from gateway.core.targets import TARGET_BYTES_MAX
from tests.raw import RawUpstream, Visit
from tests.relay.refusing import (
    BODY_MAX,
    CHUNKED,
    FIELDS_MAX,
    HEAD_MAX,
    all_pass,
    connected,
    flaws,
    head,
    none_passed,
    post,
)

# --- bounds -----------------------------------------------------------------------------------------------------------


def padded(size: int) -> bytes:
    """A head of exactly this size."""
    bare = head("X: ", target="/free/x")
    return bare.replace(b"X: ", b"X: " + b"y" * (size - len(bare)))


async def test_just_inside_every_bound_passes(stage: Stage, upstream: RawUpstream) -> None:
    await all_pass(
        stage,
        upstream,
        {
            "target": head(target="/free/" + "x" * (TARGET_BYTES_MAX - 6)),
            "head": padded(HEAD_MAX),
            "fields": head(*["X: y"] * (FIELDS_MAX - 1), target="/free/x"),
            "body": post(f"Content-Length: {BODY_MAX}", body=b"x" * BODY_MAX),
            "chunks": post(CHUNKED, body=(b"400\r\n" + b"x" * 1024 + b"\r\n") * 4 + b"0\r\n\r\n"),
        },
    )


OVER: dict[str, tuple[bytes, int, str]] = {
    "target": (head(target="/free/" + "x" * (TARGET_BYTES_MAX - 5)), 414, "target_too_long"),
    "absolute target": (head(target="http://a.example/free/" + "x" * TARGET_BYTES_MAX), 414, "target_too_long"),
    "our own target": (head(target="/-/" + "x" * TARGET_BYTES_MAX), 414, "target_too_long"),
    "head": (padded(HEAD_MAX + 1), 431, "head_too_large"),
    "many fields": (head(*["X: y"] * FIELDS_MAX), 431, "head_too_large"),
    "many empty fields": (head(*["X:"] * 2000), 431, "head_too_large"),
    "our own with many fields": (head(*["X: y"] * FIELDS_MAX, target="/-/wallet"), 431, "head_too_large"),
    "length": (post(f"Content-Length: {BODY_MAX + 1}", body=b"x" * (BODY_MAX + 1)), 413, "body_too_large"),
    "length of a lie": (post("Content-Length: " + "9" * 18, body=b""), 413, "body_too_large"),
    "chunks": (post(CHUNKED, body=b"1001\r\n" + b"x" * 4097 + b"\r\n0\r\n\r\n"), 413, "body_too_large"),
    "many chunks": (post(CHUNKED, body=(b"1\r\nx\r\n" * 4097) + b"0\r\n\r\n"), 413, "body_too_large"),
    "a chunk of a lie": (post(CHUNKED, body=b"f" * 15 + b"\r\n" + b"x" * 5000), 413, "body_too_large"),
}


@pytest.mark.parametrize("pieces", [1_000_000, 1000, 97])
@pytest.mark.parametrize("what", OVER)
async def test_just_over_a_bound_is_refused_however_it_is_sent(
    stage: Stage, upstream: RawUpstream, what: str, pieces: int
) -> None:
    request, status, code = OVER[what]
    whole = []

    async def script(visit: Visit) -> None:
        whole.append(visit)

    upstream.script = script
    async with connected(stage.url) as wire:
        await wire.send_slowly(request, pieces)
        assert not flaws(await wire.answer(), status, code)
    assert whole == []
    if "chunk" not in what:
        assert upstream.connections == 0


async def test_a_head_that_never_ends_is_refused_before_it_is_kept(stage: Stage, upstream: RawUpstream) -> None:
    endless = {
        "a target": (b"GET /" + b"x" * 60_000, 414),
        "a field": (b"GET /free/x HTTP/1.1\r\nX: " + b"y" * 60_000, 431),
        "fields": (b"GET /free/x HTTP/1.1\r\n" + b"X: y\r\n" * 10_000, 431),
        "a method": (b"G" * 60_000, 414),
    }
    for request, status in endless.values():
        await none_passed(stage, upstream, {"": request}, status=status)


PLAIN = {
    "a get": head("X: y", target="/free/a?b=c"),
    "a length": post("Content-Length: 12", target="/free/x", body=b"hello\r\n\r\nyou"),
    "chunks": post(CHUNKED, target="/free/x", body=b'5;a="b"\r\nhello\r\n1\r\n!\r\n0\r\nT: u\r\n\r\n'),
    "an absolute target": head(target="http://a.example/free/x"),
    "ours": head(target="/-/style.css"),
    "a length for us": post("Content-Length: 5", target="/-/nothing"),
    "chunks for us": post(CHUNKED, target="/-/nothing", body=b"5\r\nhello\r\n0\r\n\r\n"),
}
BAD = {
    "a bad version": head(version="HTTP/1.2"), "two Hosts": head("Host: b"), "a bad target": head(target="/free/<x"),
    "a bad chunk": post(CHUNKED, body=b"5\r\nhello\r\nx\r\n"),
    "a bad length": post("Content-Length: 05"), "two lengths": post("Content-Length: 5", "Content-Length: 5"),
    "bare LF": head("X: y").replace(b"\r\n", b"\n"), "bare CR": head("X: a\rb"), "a fold": head("X: a\r\n b"),
    "empty lines": b"\r\n\r\n" + head("X: y"),
    "a control byte": head("X: \x01"), "a bad method": head(method="get"), "no Host": head(host=""),
    "not HTTP": b"\x16\x03",
}  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 3])
async def test_in_pieces_a_request_means_what_it_means_at_once(stage: Stage, upstream: RawUpstream, size: int) -> None:
    async def seen(
        request: bytes, size: int, count: int = 1
    ) -> tuple[list[tuple[int, bytes]], list[tuple[bytes, bytes]]]:
        before = len(upstream.visits)
        async with connected(stage.url) as wire:
            await wire.send_slowly(request, size)
            answers = [await wire.answer() for _ in range(count)]
        visits = [(visit.request_line, visit.body) for visit in upstream.visits[before:]]
        return [(answer.status, answer.code) for answer in answers], visits

    for request in PLAIN.values():
        assert await seen(request * 3, size, 3) == await seen(request * 3, 1_000_000, 3)
    for name, request in BAD.items():
        slowly, at_once = await seen(request, size), await seen(request, 1_000_000)
        assert slowly[0][0][0] == at_once[0][0][0] == 400, name
