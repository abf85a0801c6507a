"""The head: what it proves is that the end of the chain is still there, and that the chain was not written anew.

The chain alone cannot tell: whoever can write the file can compute it again. The head names the newest hash that the
gateway vouched for, signed by a key that is not in the file. It may lag behind the books; it never leads them.
"""

import hmac
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from gateway.adapters.sqlite.audit.database import UNREADABLE
from gateway.adapters.sqlite.audit.layout import GENESIS
from gateway.adapters.sqlite.audit.report import Findings


class Head:
    """The head file: the newest hash that the gateway vouched for, under a key that is not in the database."""

    def __init__(self, path: Path, keys: Sequence[bytes] | None) -> None:
        self._path = path
        self.keys = keys
        self._text: bytes | OSError = b""

    def read(self) -> None:
        """Keep the head as it is now, before the books are looked at; `check` judges it after."""
        try:
            self._text = self._path.read_bytes() if self.keys is not None else b""
        except OSError as error:
            self._text = error

    def check(self, connection: sqlite3.Connection, findings: Findings, *, last: int) -> str:
        """How the head stands: `verified`, `not checked: …`, or `failed: …`, which is also a finding.

        `last` is the last batch that is there: when the head names a later one, the next is the first that is gone.
        """
        if self.keys is None:
            return "not checked: no key was given, so nobody knows whether the last rows are still there"
        wrong = self._wrong(connection, findings, last)
        if wrong is None:
            return "verified"
        findings.add("head", None, None, wrong)
        return f"failed: {wrong}"

    def _wrong(self, connection: sqlite3.Connection, findings: Findings, last: int) -> str | None:
        if isinstance(self._text, FileNotFoundError):
            return f"{self._path.name} is missing: nothing proves that the last rows are still there"
        if isinstance(self._text, OSError):
            return f"{self._path.name} cannot be read: {self._text.strerror}"
        try:
            head = json.loads(self._text)
            seq, hash, mac = head["seq"], head["hash"], head["mac"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return f"{self._path.name} is not a head that the gateway wrote"
        signed = f"{seq} {hash}".encode("utf-8", "surrogatepass")
        given = str(mac).encode("utf-8", "surrogatepass")
        macs = [hmac.digest(key, signed, "sha256").hex().encode() for key in self.keys or ()]
        if type(seq) is not int or not any(hmac.compare_digest(given, expected) for expected in macs):
            return f"{self._path.name} is not signed by a key of this gateway"
        if seq == 0:
            return None if hash == GENESIS.hex() else f"{self._path.name} names a hash before the first batch"
        try:
            found = connection.execute("SELECT hash FROM batch WHERE seq = ?", (seq,)).fetchone()
        except UNREADABLE as error:
            return f"names batch {seq}, which cannot be read: {error}"
        if found is None:
            findings.bad_batch(min(seq, last + 1))
            return f"names batch {seq}, which is not there: the last rows were dropped, or an old copy was put back"
        if not isinstance(found[0], bytes) or found[0].hex() != hash:
            return f"names batch {seq} by another hash: the chain was written anew"
        return None
