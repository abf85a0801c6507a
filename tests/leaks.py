"""Every log that the suite writes, and every secret that was used while it was written: at the end none is in another.

Each gateway of the tests, in this process or one of its own, logs into a file of the session's folder, beside which the
secrets of its settings are noted. When all tests are over (of all processes that ran them) every log is searched for
the secrets that were noted with it, and for whatever has the shape of a token, a key, a signed token, a credential, an
address or a card. The shapes are written down here anew: what the gateway hides by is not what it is judged by.
"""

import dataclasses
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gateway.adapters.logs import LogFile
from gateway.cli.stage import Stage
from gateway.core.redaction import clean
from gateway.core.secrets import Secret

FOLDER = "FAREBOX_TESTS_LOGS"
_SECRET_CHARACTERS_MIN = 12
_AT_ONCE_BYTES = 1 << 24
# What they begin with is plain text where it can be: that is found ten times as fast.
SHAPES = {
    "a token": r"fb_(?:test|live)_[0-9a-f]{4}[\w-]{20}",
    "a key of Stripe's": r"k_(?:test|live)_(?<=\b[srp]k_.{5})\w{6}",
    "a webhook secret": r"whsec_\w{6}",
    "a signed token": r"eyJ[\w-]{8,}\.[\w-]{8,}\.",
    "a credential": r"(?i)\bbearer [\w.~+/=-]{8}",
    "a private key": r"PRIVATE KEY-----",
    "an address": r"@(?<=[\w.+-]@)[\w-]+\.(?:com|net|org|example|test|invalid)\b",
    "a card": r"\b(?:4242|4000|5555)(?:[ -]?[0-9]{4}){3}\b",
}


def begin() -> None:
    """In the process that all others of the session come of."""
    if FOLDER not in os.environ:
        os.environ[FOLDER] = tempfile.mkdtemp(prefix="gateway-logs-")


def end() -> list[str]:
    """What was found, when all is over; the logs are gone unless something was."""
    folder = Path(os.environ.pop(FOLDER))
    found = search(folder)
    if not found:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def log_of(settings: Any = None) -> Path:
    """Where a gateway with these settings is to log, its secrets noted."""
    path = Path(os.environ[FOLDER]) / f"{uuid.uuid4().hex}.log"
    if settings is not None:
        note(path, settings)
    return path


def note(path: Path, settings: Any) -> None:
    """These are the secrets of what logs there."""
    texts = sorted({text for text in secrets_in(settings) if len(text) >= _SECRET_CHARACTERS_MIN})
    path.with_suffix(".secrets").write_text(json.dumps(texts))


def secrets_in(value: Any) -> Iterator[str]:
    """Every secret anywhere in a value; of one with several lines, each that is long enough to be telling."""
    if isinstance(value, Secret):
        yield from value.reveal().splitlines()
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from secrets_in(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from secrets_in(one)
    elif isinstance(value, list | tuple | set | frozenset):
        for one in value:
            yield from secrets_in(one)


async def started(kind: type[Stage], folder: Path, overrides: Mapping[str, Any]) -> Stage:
    """A stage of this kind, which logs where it is searched."""
    path = log_of()
    logged = {**overrides, "log": {"file": str(path), **overrides.get("log", {})}}
    stage = kind(folder, overrides=logged, report=Reports(path))
    try:
        await stage.start()
    except BaseException:
        await stage.stop()
        raise
    note(path, stage.settings)
    return stage


class Reports:
    """Events of a gateway in this process, as `adapters/logs` writes them but for the library."""

    def __init__(self, path: Path) -> None:
        self._file = LogFile(path)

    def __call__(self, event: str, *, level: str = "warning", **fields: object) -> None:
        try:
            self._file.write(json.dumps(clean({"event": event, "level": level, **fields})) + "\n")
        finally:
            self._file.close()


def search(folder: Path) -> list[str]:
    """Each secret that a log holds: which kind, and the first line with it."""
    found = []
    shapes = {kind: re.compile(shape) for kind, shape in SHAPES.items()}
    for log in sorted(folder.glob("*.log*")):
        noted = log.with_name(log.name.partition(".")[0] + ".secrets")
        secrets = json.loads(noted.read_text()) if noted.exists() else []
        told = set[str]()
        for text in _pieces(log):
            hits = [("a secret of the settings", text.index(secret)) for secret in secrets if secret in text]
            hits += [(kind, hit.start()) for kind, shape in shapes.items() if (hit := shape.search(text))]
            for kind, at in hits:
                line = text[text.rfind("\n", 0, at) + 1 :].partition("\n")[0]
                if kind not in told:
                    told.add(kind)
                    found.append(f"{log}: {kind}: {line[:300]}")
    return found


def _pieces(log: Path) -> Iterator[str]:
    """The lines of a log, many at a time: it may be larger than the memory."""
    with log.open(encoding="utf-8", errors="replace") as lines:
        while text := "".join(lines.readlines(_AT_ONCE_BYTES)):
            yield text
