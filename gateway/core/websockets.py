"""WebSocket frames (RFC 6455), as far as a tunnel has to know them: where one ends, and the one that says goodbye.

Nothing is read of what a frame holds. Between two frames, also within a message of several, a control frame of ours can
stand; in the middle of one it would be taken for a part of it.
"""

from gateway.core.refusals import Refusal

GOING_AWAY, POLICY_VIOLATION, TRY_AGAIN_LATER = 1001, 1008, 1013
_CLOSE = 0x88
_MASKED = 0x80
_KEY = bytes(4)
"""A key is there so that nobody else chooses the bytes on the wire; these are ours alone, and any key will do."""


class Frames:
    """Follows what one side says."""

    __slots__ = ("_closed", "_head", "_left")

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = 0
        self._closed = False

    @property
    def can_close(self) -> bool:
        """Whether a close frame may follow: it is between two frames, and has not said goodbye."""
        return not self._head and not self._left and not self._closed

    def feed(self, data: bytes) -> None:
        at, size = 0, len(data)
        while at < size:
            if self._left:
                step = min(self._left, size - at)
                self._left -= step
                at += step
                continue
            self._head.append(data[at])
            at += 1
            if len(self._head) == _head_bytes(self._head):
                self._begin()

    def _begin(self) -> None:
        head = self._head
        self._closed = self._closed or head[0] == _CLOSE
        short = head[1] & 0x7F
        self._left = (
            int.from_bytes(head[2:10]) if short == 127 else int.from_bytes(head[2:4]) if short == 126 else short
        )
        if head[1] & _MASKED:
            self._left += len(_KEY)
        head.clear()


def _head_bytes(head: bytearray) -> int:
    """How long the head of a frame is that begins like this; its key counts to what follows."""
    return 2 + {126: 2, 127: 8}.get(head[1] & 0x7F, 0) if len(head) > 1 else 2


def goodbye(code: int, reason: str, *, masked: bool) -> bytes:
    """A close frame; `masked` as those to a server are."""
    said = code.to_bytes(2) + reason.encode()[:123].decode(errors="ignore").encode()
    return bytes((_CLOSE, len(said) | (_MASKED if masked else 0))) + (_KEY if masked else b"") + said


def code_of(refusal: Refusal) -> int:
    """What a caller is told whose connection ends for this."""
    return TRY_AGAIN_LATER if refusal.status == 503 else POLICY_VIOLATION
