"""Whether this user may write where a database is. To read one takes it, too: SQLite writes beside it who reads.

SQLite's own words for it ("attempt to write a readonly database", "unable to open database file") send people to their
backups. Nothing is damaged then; somebody else owns the files.
"""

import os
import pwd
from pathlib import Path

from gateway.ports import StoreForbidden

MEND = "run this as the gateway's user, or give this one the right to"
_BESIDE = ("", "-wal", "-shm", ".lock", ".head")


def check_rights(path: Path) -> None:
    """Raises StoreForbidden unless this user may write the database's files, and make some beside it."""
    if (words := missing_right(path)) is not None:
        raise StoreForbidden(f"{words}: {MEND}")


def missing_right(path: Path) -> str | None:
    """Which file or folder of a database this user cannot write, in words; None if nothing is in the way."""
    folder = path.absolute().parent
    while not os.path.lexists(folder):
        folder = folder.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        return _words(folder, "folder")
    for end in _BESIDE:
        file = path.with_name(path.name + end)
        if file.exists() and not os.access(file, os.R_OK | os.W_OK):
            return _words(file, "file")
    return None


def why(path: Path, error: Exception) -> str:
    """Why a database could not be used, in words: a right that is missing, or what was said."""
    words = missing_right(path)
    return f"{path}: {error}" if words is None else f"{words}: {MEND}"


def _words(path: Path, kind: str) -> str:
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = str(os.geteuid())
    return f"the user {user} cannot write the {kind} {path}"
