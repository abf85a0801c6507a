"""The head of a host's chain: its newest hash, signed by a key that is not in the database that holds the chain.

A chain alone cannot tell that its end is missing: an older copy of the books hangs together as well as the newest. Who
kept the head elsewhere can. It may lag behind the chain, and never leads it.
"""

import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass

_HASH_BYTES = 32


@dataclass(frozen=True, slots=True)
class ChainHead:
    """Whose chain, and the number and hash of a batch in it; 0 before the first."""

    host: str
    seq: int
    hash: bytes

    @classmethod
    def read(cls, text: bytes, keys: Sequence[bytes]) -> "ChainHead":
        """What `signed` made. Raises ValueError, in words, if it is anything else or no key of these signed it."""
        try:
            told = json.loads(text)
            head = cls(str(told["host"]), int(told["seq"]), bytes.fromhex(told["hash"]))
            mac = str(told["mac"]).encode()
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ValueError("is not a head that the gateway wrote") from None
        if len(head.hash) != _HASH_BYTES or not any(hmac.compare_digest(mac, head._mac(key).encode()) for key in keys):
            raise ValueError("is not signed by a key of this gateway")
        return head

    def signed(self, key: bytes) -> bytes:
        """One line of JSON."""
        told = {"host": self.host, "seq": self.seq, "hash": self.hash.hex(), "mac": self._mac(key)}
        return json.dumps(told).encode() + b"\n"

    def _mac(self, key: bytes) -> str:
        return hmac.digest(key, f"{self.seq} {self.hash.hex()} of {self.host}".encode(), "sha256").hex()
