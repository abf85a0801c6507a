"""A bundle of evidence: what is in it, from when, by whom, and that nothing of it was changed since.

A manifest names each file by its SHA-256 and is signed (HMAC-SHA-256 by a subkey of the sealing keys). It says whose
hands it was in: who made it, where, and when. Its own hash goes onto the trail when it is made, so that a bundle cannot
be made afterwards and dated back, not even by who has the keys: the trail's chain would have to be made anew, too, and
its head is kept elsewhere.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.core.keyring import Keyring

PURPOSE = "evidence"
MANIFEST = "manifest.json"
MADE = "incident.bundle"
"""The action under which the manifest's hash is on the trail."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is signed, and by which key."""

    content: str
    key_id: str
    mac: str

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.content.encode()).hexdigest()

    @property
    def told(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.content)
        return told

    def text(self) -> str:
        """The file of this name."""
        return json.dumps({"content": self.content, "key_id": self.key_id, "mac": self.mac})

    @classmethod
    def read(cls, text: str) -> "Manifest":
        """Raises ValueError."""
        try:
            told = json.loads(text)
            return cls(str(told["content"]), str(told["key_id"]), str(told["mac"]))
        except (KeyError, TypeError) as error:
            raise ValueError("it has no manifest of ours") from error


def manifest(files: Mapping[str, bytes], custody: Mapping[str, str], keys: Keyring) -> Manifest:
    """Signed by the newest key."""
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    content = json.dumps({"files": hashes, "custody": [dict(custody)]}, sort_keys=True)
    key = keys.newest
    return Manifest(content, key.id, _mac(key.subkey(PURPOSE), content))


def findings(made: Manifest, files: Mapping[str, bytes], keys: Keyring, *, noted: Iterable[str]) -> list[str]:
    """What is wrong with a bundle; nothing if it is as it was made. `noted`: the hashes that are on the trail."""
    wrong = []
    key = next((one for one in keys.keys if one.id == made.key_id), None)
    if key is None:
        wrong.append(f"the key {made.key_id} that signed it is not here any more; the trail alone vouches for it")
    elif not hmac.compare_digest(_mac(key.subkey(PURPOSE), made.content), made.mac):
        wrong.append("the manifest was changed, or was not signed by us")
    expected = made.told["files"]
    for name in sorted(expected.keys() | files.keys()):
        if name not in files:
            wrong.append(f"{name} is missing")
        elif name not in expected:
            wrong.append(f"{name} was added")
        elif hashlib.sha256(files[name]).hexdigest() != expected[name]:
            wrong.append(f"{name} was changed")
    if made.hash not in set(noted):
        wrong.append("nothing on the trail says that it was made")
    return wrong


def _mac(key: bytes, content: str) -> str:
    return hmac.digest(key, content.encode(), "sha256").hex()
