"""Where everything is kept: which store, file or database stands behind each port, by the settings.

An extra is imported where the settings ask for it, and said to be missing by name.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from gateway.adapters.sqlite.archive import SqliteArchive
from gateway.adapters.sqlite.bookkeeping import SqliteBookkeeping
from gateway.adapters.sqlite.credits import SqliteCreditLines
from gateway.adapters.sqlite.ledger import SqliteLedgerStore
from gateway.adapters.sqlite.owning import SqliteOwnersMoney
from gateway.adapters.sqlite.records import SqliteRecords
from gateway.adapters.sqlite.statement import SqliteStatementBooks
from gateway.adapters.system import SystemFile
from gateway.core.jwt_keys import JwtKey
from gateway.core.keyring import Keyring
from gateway.core.rotation import KeyKind
from gateway.core.secrets import Secret
from gateway.core.tokens import pepper_id
from gateway.flows.identify import Callers
from gateway.flows.keep import Keeper, Pace
from gateway.flows.maintain import Housekept, Maintain
from gateway.flows.witness import Witness
from gateway.ports import Clock, OwnersMoney, Randomness, RateLimits, StatementBooks, StoreFailed
from gateway.settings import Settings

if TYPE_CHECKING:  # an extra: imported where a store is a database
    from gateway.adapters.postgres.credits import PostgresCreditLines
    from gateway.adapters.postgres.desk import Turn
    from gateway.adapters.postgres.ledger import PostgresLedgerStore
    from gateway.adapters.postgres.records import PostgresRecords
    from gateway.adapters.postgres.sessions import Address

    Records: TypeAlias = SqliteRecords | PostgresRecords

HEAD_KEY_PURPOSE = "ledger head"
_HEAD = ".trail.head"


def keeper(
    settings: Settings,
    keyring: Keyring,
    clock: Clock,
    report: Callable[..., None],
    *,
    crew: str = "",
    heir: bool = False,
) -> Keeper:
    """Who keeps the books, in this process: one of a `crew`, whose workers may have outlived the one before it."""
    if settings.store_url is not None:
        return shared_keeper(settings, keyring, clock, report, crew=crew, heir=heir)
    store = ledger_store(settings.store_path, keyring)
    tell = lambda problem: report("ledger", problem=problem)  # noqa: E731
    bookkeeping = SqliteBookkeeping(store, settings.store_path, keyring.subkeys(HEAD_KEY_PURPOSE))
    days = settings.retention.batches_days
    housekeeping = Maintain(bookkeeping, clock, batches_days=days, ledger=lambda: made, report=tell)
    pace = Pace.patient(settings.ledger_seconds)
    archive = SqliteArchive(settings.store_path)
    lines = credit_lines(settings)
    made = Keeper(Housekept(store, housekeeping), clock, archive=archive, cap_lines=lines, pace=pace, report=tell)
    return made


def shared_keeper(
    settings: Settings, keyring: Keyring, clock: Clock, report: Callable[..., None], *, crew: str, heir: bool
) -> Keeper:
    """Who keeps this host's part of the books that many share."""
    keys = keyring.subkeys(HEAD_KEY_PURPOSE)
    store = shared_store(settings, clock, name=settings.host_name, report=report, crew=crew, heir=heir, head_keys=keys)
    from gateway.adapters.postgres.bookkeeping import PostgresBookkeeping

    bookkeeping = PostgresBookkeeping(database(settings), keys, name=settings.host_name, host=lambda: store.host)
    tell = lambda problem: report("ledger", problem=problem)  # noqa: E731
    days = settings.retention.batches_days
    housekeeping = Maintain(bookkeeping, clock, batches_days=days, ledger=lambda: made, report=tell)
    pace, kept = Pace.patient(settings.ledger_seconds), Housekept(store, housekeeping)
    lines = credit_lines(settings)
    made = Keeper(kept, clock, lender=store, teller=store, refunds=store, cap_lines=lines, pace=pace, report=tell)
    return made


def ledger_store(path: Path, keyring: Keyring) -> SqliteLedgerStore:
    """The books at `path`; their head is signed by the ring's newest key and may be signed by an older one."""
    keys = keyring.subkeys(HEAD_KEY_PURPOSE)
    store = SqliteLedgerStore(path, head_key=keys[0])
    store.sign_with(keys)
    return store


def shared_limits(url: Secret, near: RateLimits, *, seconds_max: float, clock: Clock) -> RateLimits:
    """Limits that hosts count together. Raises StoreFailed without the extra that they need."""
    try:
        from gateway.adapters.redis import RedisRateLimits
    except ImportError:
        raise StoreFailed("limits.storage at redis://… needs more packages: pip install 'farebox[redis]'") from None
    return RedisRateLimits(url.reveal(), near=near, seconds_max=seconds_max, clock=clock)


def database(settings: Settings) -> "Address":
    """Where the store is, if it is a database. Raises StoreFailed without the extra that it needs."""
    try:
        from gateway.adapters.postgres.sessions import Address
    except ImportError:
        raise StoreFailed("a store at postgresql://… needs more packages: pip install 'farebox[postgres]'") from None
    assert settings.store_url is not None
    return Address(settings.store_url, password=settings.store_password)


def shared_store(
    settings: Settings,
    clock: Clock,
    *,
    name: str,
    report: Callable[..., None],
    crew: str = "",
    heir: bool = False,
    head_keys: Sequence[bytes] = (),
    turn: "Turn | None" = None,
) -> "PostgresLedgerStore":
    """The books that many hosts share; `name` is whose leases and batches ours are. With keys, its head is kept.

    With a `turn`, who has that name is waited for.
    """
    address = database(settings)
    from gateway.adapters.postgres.head import HostHead
    from gateway.adapters.postgres.ledger import PostgresLedgerStore

    tell = lambda problem: report("ledger", problem=problem)  # noqa: E731
    head = HostHead(SystemFile(head_path(settings)), head_keys, name, tell) if head_keys else None
    return PostgresLedgerStore(address, name=name, clock=clock, report=tell, crew=crew, heir=heir, head=head, turn=turn)


def head_path(settings: Settings) -> Path:
    """Where this host keeps the head of its chain, if the books themselves are in a database."""
    return settings.secrets_path.with_name(f"{settings.host_name}.head")


def records(settings: Settings, keyring: Keyring, randomness: Randomness) -> "Records":
    """What is known besides the money: beside its file, or in the same database."""
    if settings.store_url is None:
        path, head = records_path(settings.store_path), trail_head_path(settings)
        return SqliteRecords(path, keyring=keyring, randomness=randomness, vouched_by=head)
    address = database(settings)
    from gateway.adapters.postgres.records import CONNECTIONS_MAX, PostgresRecords

    share = max(1, CONNECTIONS_MAX // settings.workers)
    shares: dict[KeyKind, list[str]] = {
        "pepper": [pepper_id(pepper) for pepper in settings.secrets.peppers],
        "jwt": [JwtKey(pair).id for pair in settings.secrets.jwt_keys],
    }
    return PostgresRecords(address, keyring=keyring, randomness=randomness, shares=shares, connections_max=share)


def witness(
    settings: Settings, keyring: Keyring, records: "Records", clock: Clock, report: Callable[..., None]
) -> Witness:
    """Who writes down what is done, beside these records."""
    if settings.store_url is None:
        with suppress(FileNotFoundError):  # another process was faster, or it is named so already
            trail_head_path(settings).rename(_trail_head_of_file(settings))
    head = SystemFile(trail_head_path(settings))
    return Witness(book=records.trail, keyring=keyring, head=head, host=settings.host_name, clock=clock, report=report)


def trail_head_path(settings: Settings) -> Path:
    """Where this host keeps the head of the trail: beside its secrets, out of reach of who writes the records.

    Of records in a file it is named after that, whatever the gateway is called and wherever it listens; not always was.
    """
    of_host, of_file = settings.secrets_path.with_name(f"{settings.host_name}{_HEAD}"), _trail_head_of_file(settings)
    if settings.store_url is not None or (of_host.exists() and not of_file.exists()):
        return of_host
    return of_file


def _trail_head_of_file(settings: Settings) -> Path:
    return settings.secrets_path.with_name(f"{settings.store_path.stem}{_HEAD}")


def records_path(store_path: Path) -> Path:
    """The records' file stands beside the money's: `gateway.db`, `gateway.records.db`."""
    return store_path.with_name(f"{store_path.stem}.records{store_path.suffix}")


def credit_lines(settings: Settings) -> "SqliteCreditLines | PostgresCreditLines":
    """Who reads payments and accounts out of the books, whoever keeps them."""
    if settings.store_url is None:
        return SqliteCreditLines(settings.store_path)
    address = database(settings)
    from gateway.adapters.postgres.credits import PostgresCreditLines

    return PostgresCreditLines(address)


def owners_money(settings: Settings) -> OwnersMoney:
    """Who reads owners out of the books, whoever keeps them."""
    if settings.store_url is None:
        return SqliteOwnersMoney(settings.store_path)
    address = database(settings)
    from gateway.adapters.postgres.owning import PostgresOwnersMoney

    return PostgresOwnersMoney(address)


def statement_books(settings: Settings) -> StatementBooks:
    """Who opens the books for statements, whoever keeps them."""
    if settings.store_url is None:
        return SqliteStatementBooks(settings.store_path)
    address = database(settings)
    from gateway.adapters.postgres.statement import PostgresStatementBooks

    return PostgresStatementBooks(address)


def hears_of_others(records: "Records", callers: Callers) -> None:
    """What another host puts on record is not remembered otherwise here."""
    if not isinstance(records, SqliteRecords):
        records.recorded, records.forgotten = callers.forget, callers.forget_all
