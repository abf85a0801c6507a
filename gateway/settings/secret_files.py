"""Secrets that the gateway makes for itself, as files in `secrets/` beside the store.

Nobody should have to invent a pepper to try a gateway out, and nobody should lose one: sealed references and token
digests are worthless without the key that made them. So each file is made once and never written again. It is written
under another name, synced, and then linked to its own: the link fails if the name is taken, so of several processes
that start together one wins and all read the same, whole text. A crash leaves at most a file under a name that
nothing reads. A file may hold several secrets, newest first: texts in lines, or key pairs in PEM blocks.

`rewrite` changes the secrets of one: under a lock, as a whole new file under another name that is synced and then takes
the old one's place. A reader finds the old text or the new one, a crash leaves one of the two, and its owner stays.
"""

import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.core.jwt_keys import blocks, new_pem
from gateway.settings import forms
from gateway.settings.environment import SECRET_FILE_BYTES_MAX
from gateway.settings.mistakes import Report
from gateway.settings.nodes import Path as SettingPath
from gateway.settings.nodes import Place

FOLDER = "secrets"
_RANDOM_BYTES = 32
_OTHERS_MAY_READ = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class SecretFile:
    """One file: its name, the setting that replaces it, and whether it may hold older secrets below the newest."""

    name: str
    setting: SettingPath
    many: bool
    pem: bool = False

    @property
    def opens_what_is_kept(self) -> bool:
        """Whether something in the store can only be read with it. What key pairs have signed is kept by others."""
        return self.many and not self.pem

    def parts(self, text: str) -> list[str]:
        """The secrets in it. Raises ValueError for what cannot be one."""
        return blocks(text) if self.pem else [line.strip() for line in text.splitlines() if line.strip()]

    def check(self, parts: Sequence[str]) -> None:
        """Raises ValueError for what is not good enough."""
        if self.pem:
            forms.key_pairs("\n".join(parts))
        else:
            for part in parts:
                forms.secret(part)

    def new(self) -> str:
        """One that nobody can guess."""
        return new_pem() if self.pem else secrets.token_urlsafe(_RANDOM_BYTES)


FILES = (
    SecretFile("sealing_key", ("secrets", "sealing_keys"), many=True),
    SecretFile("pepper", ("secrets", "peppers"), many=True),
    SecretFile("jwt.pem", ("secrets", "jwt_keys"), many=True, pem=True),
    SecretFile("operator_token", ("secrets", "operator_token"), many=False),
)


def read(folder: Path, file: SecretFile, report: Report) -> Sequence[str] | None:
    """What a file holds; None if it does not exist. Whatever is wrong with it goes to the report."""
    path = folder / file.name
    place = Place(str(path))
    try:
        _check_folder(folder, report)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as wrong:
        report.add_at(place, (), f"it cannot be read: {wrong.strerror}")
        return ()
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        report.add_at(place, (), "it is not a file; move it away and a new secret is made")
        return ()
    with os.fdopen(descriptor, "rb") as opened:
        content = opened.read(SECRET_FILE_BYTES_MAX + 1)
    if mode & _OTHERS_MAY_READ:
        report.add_at(place, (), f"others than its owner may read it; mend it with: chmod 600 {path}")
    return _parts(content, file, place, report)


def make(folder: Path, file: SecretFile, report: Report) -> Sequence[str]:
    """Makes a file that does not exist, unless another process is quicker, and reads what is there then."""
    path = folder / file.name
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        _make_once(path, file.new())
    except OSError as wrong:
        report.add_at(Place(str(path)), (), f"it cannot be made: {wrong.strerror}")
        return ()
    return read(folder, file, report) or ()


def rewrite(folder_path: Path, file: SecretFile, change: Callable[[list[str]], list[str]]) -> None:
    """Give a file the secrets that `change` makes of those it has. Raises ValueError, OSError."""
    path = folder_path / file.name
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # one that rewrites at a time
        if path.is_symlink():
            raise ValueError(f"{path} is a link: change the file that it leads to where that is made")
        was = path.stat()
        lines = change(file.parts(path.read_text()))
        text = "".join(f"{line}\n" for line in lines)
        if not lines or len(text) > SECRET_FILE_BYTES_MAX:
            raise ValueError(f"{path} would be empty or too large; retire older keys first")
        draft = _drafted(path, text)
        try:
            if (was.st_uid, was.st_gid) != (os.geteuid(), os.getegid()):
                os.chown(draft, was.st_uid, was.st_gid)
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        os.fsync(folder)
    finally:
        os.close(folder)


def _make_once(path: Path, text: str) -> None:
    draft = _drafted(path, f"{text}\n")
    try:
        try:
            os.link(draft, path)
        except FileExistsError:
            return
        _sync_folder(path.parent)
    finally:
        draft.unlink()


def _drafted(path: Path, text: str) -> Path:
    """The text in a file beside `path`, on disk, for its owner only."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(text.encode())
        opened.flush()
        os.fsync(descriptor)
    return draft


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_folder(folder: Path, report: Report) -> None:
    if folder.stat().st_mode & _OTHERS_MAY_WRITE:
        words = f"others than its owner may put files into it; mend it with: chmod 700 {folder}"
        report.add_at(Place(str(folder)), (), words)


def _parts(content: bytes, file: SecretFile, place: Place, report: Report) -> Sequence[str]:
    try:
        parts = file.parts(content.decode())
        if not parts:
            raise ValueError("it is empty; put the secret back, or move the file away and a new one is made")
        if len(content) > SECRET_FILE_BYTES_MAX or (len(parts) > 1 and not file.many):
            raise ValueError("it holds more than one secret")
        report.secrets.update(line for part in parts for line in part.splitlines() if not line.startswith("-----"))
        file.check(parts)
    except UnicodeDecodeError:
        report.add_at(place, (), "it does not hold text")
    except ValueError as wrong:
        report.add_at(place, (), str(wrong))
    else:
        return parts
    return ()
