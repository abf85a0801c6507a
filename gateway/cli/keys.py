"""The commands about our own keys: `keys list`, `keys rotate`, `keys retire`.

A rotation never lets anybody use a key that somebody else does not have. On one host the command does all of it: the
new key second, a reload, a look at what every process says that it has, the new key first, another reload. On many, the
file goes to the others in between, so there it has two parts: `--prepare`, and on each host `--activate`. Cut off
anywhere, what it leaves is right, and `--activate` goes on.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import click

from gateway.adapters.owning import OwnerRecords
from gateway.adapters.people import PeopleBook
from gateway.adapters.sqlite.bookkeeping import open_books
from gateway.adapters.sqlite.ledger import Head, lock_books
from gateway.adapters.sqlite.prune import Prune
from gateway.adapters.system import SystemClock, SystemRandomness
from gateway.app.stores import HEAD_KEY_PURPOSE, database, head_path
from gateway.cli.admin import answers, ask
from gateway.cli.records import Records, fail, opened, read_with_records, run, write_down
from gateway.core.chain_head import ChainHead
from gateway.core.jwt_keys import JwtKey
from gateway.core.keyring import Key, Keyring
from gateway.core.rotation import KINDS, KeyKind, day, lacking, needed_for
from gateway.core.secrets import Secret
from gateway.core.tokens import pepper_id
from gateway.ports import StoreLocked
from gateway.settings import Settings
from gateway.settings.secret_files import FILES, SecretFile, rewrite

_RESEALED_AT_ONCE = 100
_FILES: dict[KeyKind, SecretFile] = {
    kind: next(file for file in FILES if file.name in (kind, f"{kind}.pem")) for kind in KINDS
}
OPERATORS = next(file for file in FILES if file.name == "operator_token")
_OF_STRANGERS = (
    "Tokens that are not on record (of accounts that were only ever credited by hand) stop working if it made them."
)
_LOST: dict[KeyKind, str] = {
    "sealing_key": _OF_STRANGERS,
    "pepper": _OF_STRANGERS,
    "jwt": "A licence that it signed and that has ended can no longer be renewed by showing it.",
}
"""What nobody wrote down, and is over with a key that nothing needs."""
BY_HAND = {
    "sealing_key": "put the new key second in `secrets.sealing_keys` on every host and reload, then first, and reload",
    "pepper": "put the new one second in `secrets.peppers` on every host and reload, then first, and reload",
    "jwt": "put the new key pair second in `secrets.jwt_keys` on every host and reload, then first, and reload",
    "webhook_secret": "roll the endpoint's secret at Stripe (keep the old one for a day), put the new one first in"
    " `stripe.webhook_secrets`, reload; after that day remove the old one, reload",
    "stripe_key": "make another key of the same account at Stripe, put it into `stripe.secret_key`, reload every host,"
    " then expire the old one at Stripe",
}
OTHERS = tuple(kind for kind in BY_HAND if kind not in get_args(KeyKind))


@dataclass(frozen=True, slots=True)
class KeyLine:
    """One key as an operator sees it: by its id, never by itself."""

    kind: KeyKind
    id: str
    seals: bool
    sealed_until: str | None
    tokens: int
    """On record, that need it. Of `None` in the id's place it is not known which they need."""
    events: int
    answers: int
    """Kept for who asks again with the same `Idempotency-Key`."""
    clients: int
    """Programs that people allow something, whose secret is made of it."""
    missing_at: list[str]
    needed: list[str]


# --- list -------------------------------------------------------------------------------------------------------------


def list_keys(config: Path, *, as_json: bool) -> None:
    """`gateway keys list`."""
    settings = read_with_records(config)

    async def look() -> list[KeyLine]:
        async with opened(settings) as here:
            return [line for kind in KINDS for line in await _lines(settings, here, kind)]

    lines = run(look())
    if as_json:
        unknown = {kind: [] if _is_file(settings, kind) else BY_HAND[kind] for kind in KINDS}
        by_hand = {kind: words for kind, words in (unknown | {kind: BY_HAND[kind] for kind in OTHERS}).items() if words}
        told = [{name: getattr(line, name) for name in line.__slots__} for line in lines]
        click.echo(json.dumps({"keys": told, "by_hand": by_hand}))
        return
    for line in lines:
        use = "newest" if line.seals else f"sealed until {line.sealed_until}" if line.sealed_until else "not used yet"
        seals = f"{line.tokens} tokens, {line.events} events, {line.answers} kept answers, {line.clients} programs"
        click.echo(f"{line.kind}  {line.id}  {use}; {seals}")
        for name in line.missing_at:
            click.echo(f"  missing at {name}")
        for reason in () if line.seals else line.needed:
            click.echo(f"  stays: {reason}")
        if not line.seals and not line.needed:
            click.echo(f"  may go: gateway keys retire {line.kind} {line.id}")


async def _lines(settings: Settings, here: Records, kind: KeyKind) -> list[KeyLine]:
    use, now_ms = await here.key_roll.use(kind), SystemClock().now_ms()
    ids = _ids(settings, kind)
    return [
        KeyLine(
            kind,
            id,
            id == ids[0],
            day(use.sealed[id]) if id in use.sealed else None,
            use.tokens.get(id, 0),
            use.events.get(id, 0),
            use.answers.get(id, 0),
            use.clients.get(id, 0),
            lacking(use, id, now_ms=now_ms),
            needed_for(use, id, ids, kind=kind, signs=await _signed_by(settings, kind, id), now_ms=now_ms),
        )
        for id in ids
    ]


# --- rotate -----------------------------------------------------------------------------------------------------------


def rotate_key(config: Path, kind: str, *, prepare: bool, activate: str | None, dry_run: bool, as_json: bool) -> None:
    """`gateway keys rotate`."""
    settings = read_with_records(config)
    ours = _of_a_file(settings, kind)
    whole = not prepare and activate is None
    if whole and settings.store_url is not None:
        fail("many hosts may share this store: use --prepare, copy the file to them, then --activate on each", code=2)
    if activate is not None and activate not in _ids(settings, ours):
        fail(f"{activate}: there is no {kind} of this id in {_path(settings, ours)}", code=2)
    if dry_run:
        _say({"kind": kind, "done": False, "newest": _ids(settings, ours)[0]}, as_json, "nothing was done")
        return

    async def rotate() -> dict[str, Any]:
        async with opened(settings) as here:
            step = "prepare" if prepare else f"activate {activate}" if activate else "all"
            await write_down(settings, here, "key.rotate", ours, step=step)
            id = activate or await _prepare(settings, ours, here)
            if prepare:
                return {"kind": kind, "id": id, "activated": False, "reloaded": await _reload(settings)}
            return await _activated(settings, here, ours, id)

    done = run(rotate())
    words = f"{kind} {done['id']} is the newest"
    if not done["activated"]:
        words = (
            f"{kind} {done['id']} is prepared. Copy {_path(settings, ours)} to every other host and `gateway reload`"
            f" there; then on each: gateway keys rotate {kind} --activate {done['id']}"
        )
    _say(done, as_json, words if done["reloaded"] else f"{words} (no gateway runs here that could be told)")


async def _activated(settings: Settings, here: Records, kind: KeyKind, id: str) -> dict[str, Any]:
    if _keeps(settings):
        await _reload(settings)
        await _known_everywhere(here, kind, id)
    _first(settings, kind, id)
    return {"kind": kind, "id": id, "activated": True, "reloaded": await _reload(settings)}


async def rotate_all(settings: Settings, here: Records, *, dry_run: bool, **facts: str) -> list[dict[str, Any]]:
    """Every key that is a file of ours, one after another, and the operators' token. Raises ValueError, OSError.

    On a store that many hosts share it says nothing of the keys: there each rotation has two parts. All of it is on the
    trail before the first key is another: a gateway that has the new one signs the trail's end with it at once, and
    this process cannot read that.
    """
    done: list[dict[str, Any]] = []
    kinds = [kind for kind in KINDS if _is_file(settings, kind)] if settings.store_url is None else []
    operators = _holds_operators(settings)
    for name in () if dry_run else (*kinds, *([OPERATORS.name] if operators else ())):
        await write_down(settings, here, "key.rotate", name, step="all", **facts)
    for kind in kinds:
        if not dry_run:
            done.append(await _activated(settings, here, kind, await _prepare(settings, kind, here)))
        else:
            done.append({"kind": kind, "id": _ids(settings, kind)[0], "activated": False})
    if operators:
        if not dry_run:
            rewrite(settings.secrets_path, OPERATORS, lambda lines: [OPERATORS.new()])
        done.append({"kind": OPERATORS.name, "activated": not dry_run})
        if not dry_run:
            done[-1]["reloaded"] = await _reload(settings)  # shown the one before: it is good until this is done
    return done


def _holds_operators(settings: Settings) -> bool:
    """Whether the operators' token in use is that of our file."""
    token = settings.secrets.operator_token
    try:
        text = (settings.secrets_path / OPERATORS.name).read_text()
    except OSError:
        return False
    return token is not None and OPERATORS.parts(text) == [token.reveal()]


async def _prepare(settings: Settings, kind: KeyKind, here: Records) -> str:
    """Put a new key second: everybody who reads the file from now on can open with it. Its id was never used."""
    known = set((await here.key_roll.use(kind)).sealed)
    file = _FILES[kind]
    secret = file.new()
    while _id(kind, secret) in known.union(_ids(settings, kind)):
        secret = file.new()
    rewrite(settings.secrets_path, file, lambda lines: [lines[0], secret, *lines[1:]])
    return _id(kind, secret)


def _first(settings: Settings, kind: KeyKind, id: str) -> None:
    def change(lines: list[str]) -> list[str]:
        chosen = [line for line in lines if _id(kind, line) == id]
        if len(chosen) != 1:
            raise ValueError(f"{id}: it is not in {_path(settings, kind)} any more")
        return [*chosen, *(line for line in lines if line != chosen[0])]

    rewrite(settings.secrets_path, _FILES[kind], change)


async def _known_everywhere(here: Records, kind: KeyKind, id: str) -> None:
    without = lacking(await here.key_roll.use(kind), id, now_ms=SystemClock().now_ms())
    if without:
        raise ValueError(
            f"{', '.join(without)} cannot open with {id} yet, so it does not seal: copy the file there and reload (one"
            f" that was killed is forgotten in three minutes); then: gateway keys rotate {kind} --activate {id}"
        )


# --- retire -----------------------------------------------------------------------------------------------------------


def retire_key(config: Path, kind: str, id: str, *, yes: bool, as_json: bool) -> None:
    """`gateway keys retire`: exit code 1 if it is needed."""
    settings = read_with_records(config)
    ours = _of_a_file(settings, kind)
    if id not in _ids(settings, ours):
        fail(f"{id}: there is no {kind} of this id in {_path(settings, ours)}", code=2)

    async def retire() -> dict[str, Any]:
        async with opened(settings) as here:
            [line] = [line for line in await _lines(settings, here, ours) if line.id == id]
            if line.needed or not yes:
                return {"kind": kind, "id": id, "retired": False, "needed": line.needed}
            await write_down(settings, here, "key.retire", f"{ours} {id}")
            while ours == "sealing_key" and await here.reseal(id, count=_RESEALED_AT_ONCE):
                pass
            people, ring = PeopleBook(here.ask), Keyring(settings.secrets.sealing_keys)
            while ours == "sealing_key" and await people.reseal(id, ring, SystemRandomness(), count=_RESEALED_AT_ONCE):
                pass
            wishes = OwnerRecords(here.ask)
            while ours == "sealing_key" and await wishes.reseal(id, ring, SystemRandomness(), count=_RESEALED_AT_ONCE):
                pass
            rewrite(settings.secrets_path, _FILES[ours], lambda lines: [one for one in lines if _id(ours, one) != id])
            await here.key_roll.retired(ours, id)
            return {"kind": kind, "id": id, "retired": True, "needed": [], "reloaded": await _reload(settings)}

    done = run(retire())
    if done["needed"]:
        words = "\n".join(f"{kind} {id} stays: {reason}" for reason in done["needed"])
    elif done["retired"]:
        words = f"{kind} {id} is retired"
    else:
        words = f"{kind} {id} may go. {_LOST[ours]} Repeat it with --yes"
    _say(done, as_json, words)
    sys.exit(1 if done["needed"] else 0)


async def _signed_by(settings: Settings, kind: KeyKind, id: str) -> list[str]:
    """What of the books nobody could prove any more without this key."""
    if kind != "sealing_key":
        return []
    rest = [key.subkey(HEAD_KEY_PURPOSE) for key in Keyring(settings.secrets.sealing_keys).keys if key.id != id]
    if settings.store_url is not None:
        from gateway.adapters.postgres.bookkeeping import PostgresBookkeeping

        books = PostgresBookkeeping(database(settings), rest, name=f"{settings.host_name} (command)")
        try:
            anchors = await books.signed_by(rest)
        finally:
            await books.close()
        return [
            *([] if _is_signed(head_path(settings), rest) else ["this host's head: its gateway signs it anew"]),
            *([] if anchors else ["an anchor of pruned batches: housekeeping signs it anew"]),
        ]
    with closing(open_books(settings.store_path, write=False)) as sql:
        head = Head(settings.store_path, b"").is_signed(rest)
        anchor = Prune(settings.store_path, rest).is_signed(sql, rest)
    return [
        *([] if head else ["the head of the books: a gateway signs it anew within a minute after a rotation"]),
        *([] if anchor else ["the anchor of pruned batches: a gateway signs it anew within a minute"]),
    ]


def _is_signed(head: Path, keys: Sequence[bytes]) -> bool:
    """Whether one of these keys has signed the head of a chain in a database, if there is one."""
    try:
        ChainHead.read(head.read_bytes(), keys)
    except FileNotFoundError:
        return True
    except (ValueError, OSError):
        return False
    return True


# --- what they share --------------------------------------------------------------------------------------------------


def _ids(settings: Settings, kind: KeyKind) -> list[str]:
    """Newest first."""
    ours = settings.secrets
    lists = {"sealing_key": ours.sealing_keys, "pepper": ours.peppers, "jwt": ours.jwt_keys}
    return [_id(kind, secret.reveal()) for secret in lists[kind]]


def _id(kind: KeyKind, text: str) -> str:
    makers: dict[KeyKind, Callable[[Secret], str]] = {
        "sealing_key": lambda secret: Key(secret).id,
        "pepper": pepper_id,
        "jwt": lambda secret: JwtKey(secret).id,
    }
    return makers[kind](Secret(text))


def _path(settings: Settings, kind: KeyKind) -> Path:
    return settings.secrets_path / _FILES[kind].name


def _is_file(settings: Settings, kind: KeyKind) -> bool:
    """Whether the keys in use are those of our file, and not of a setting or a variable."""
    try:
        return [_id(kind, part) for part in _FILES[kind].parts(_path(settings, kind).read_text())] == _ids(
            settings, kind
        )
    except (OSError, ValueError):
        return False


def _of_a_file(settings: Settings, kind: str) -> KeyKind:
    ours = next((one for one in KINDS if one == kind), None)
    if ours is not None and not _ids(settings, ours):
        fail(f"{kind}: there is none yet; it is made when the gateway starts", code=2)
    if ours is None or not _is_file(settings, ours):
        fail(f"{kind}: it is given by the settings, so this is done by hand: {BY_HAND[kind]}", code=2)
    return ours


def _keeps(settings: Settings) -> bool:
    """Whether a gateway may be running on this store."""
    if settings.store_url is not None:
        return True
    try:
        lock = lock_books(settings.store_path)
    except StoreLocked:
        return True
    os.close(lock)
    return False


async def _reload(settings: Settings) -> bool:
    """Let the gateway of this host take up what its files say; False if none runs. Raises ValueError."""
    if not _keeps(settings) or (settings.store_url is not None and not await answers(settings)):
        return False
    status, outcome = await ask(settings, "/reload", {})
    if status != 200:
        raise ValueError("; ".join(outcome.get("mistakes") or [str(outcome.get("detail") or outcome.get("code"))]))
    return True


def _say(done: dict[str, Any], as_json: bool, words: str) -> None:
    click.echo(json.dumps(done) if as_json else words)
