"""The wall between the gateway and the outside world: what each thing behind it promises.

Flows know these protocols and nothing of what implements them. A promise under cancellation or repetition is part of
the port, and `tests/adapters` holds every implementation to it.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from gateway.core.aliases import Joined
from gateway.core.answers import Answer
from gateway.core.auto_top_ups import CardNotice, Ceilings, Pause, Refill, Refilled, RefillState, Rule, SavedCard, Wish
from gateway.core.callers import Caller
from gateway.core.headers import Fields
from gateway.core.idempotency import Claim as KeyClaim
from gateway.core.ids import RequestId
from gateway.core.ledger import Balance, Charge, Claim, Committed, Credit, Draft, Drawn, Record, Reversal, Tail, Tariff
from gateway.core.letters import Letter
from gateway.core.limits import Ask, Place, Rate, Stand
from gateway.core.meters import Meter
from gateway.core.money import Money
from gateway.core.orders import Order
from gateway.core.outgoing import Channel, Outgoing, State, Type
from gateway.core.payers import Homecoming, Payer, Standing
from gateway.core.payments import Attempt, Bounds, Event, NoticeOutcome, Outcome, Payment
from gateway.core.plans import Plan, Subscription, SubscriptionNotice, Unpaid
from gateway.core.purses import Purse
from gateway.core.refusals import CountryRefused, PaymentRequired, Refusal
from gateway.core.reversals import Credited, Move, Notice
from gateway.core.rotation import Holder, KeyKind, KeyUse
from gateway.core.routes import Durability, Route
from gateway.core.statements import Batches, Chain, Moved, Piece, PurseRow, Sum
from gateway.core.targets import Target


class Clock(Protocol):
    """The time of day, as an argument to everything that depends on it."""

    def now_ms(self) -> int:
        """Milliseconds since 1970."""


class Randomness(Protocol):
    """Bytes that nobody can guess."""

    def bytes(self, count: int) -> bytes: ...


# --- the road ---------------------------------------------------------------------------------------------------------


class AnswerCut(Exception):
    """The answer had begun and could not be finished. The caller's connection was closed, so that it looks cut."""


class Exchange(Protocol):
    """One request, and the answer that it waits for."""

    id: RequestId
    method: str
    target: str
    fields: Fields
    """Fields of ours that the answer will carry, whether it is the upstream's or a refusal."""
    cost: Money | None
    """What the request did cost, once it is settled; None if nothing was held for it."""

    @property
    def peer(self) -> str:
        """The caller's address, without its port: the connection's, or what a trusted front says."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Case-insensitive; the first of several fields of one name."""

    @property
    def host(self) -> str:
        """The `Host` field as sent; empty if HTTP/1.0 came without."""

    @property
    def cookies(self) -> Mapping[str, str]: ...

    @property
    def status(self) -> int:
        """The status that was answered; 0 before."""

    @property
    def sent(self) -> bool:
        """Whether anything of the request may have reached an upstream."""

    def check(self) -> None:
        """Refuse what could not be passed on exactly, or is larger than a request may be.

        Raises BadRequest, MethodNotAllowed, HeadTooLarge, BodyTooLarge.
        """

    async def body_ahead(self, bytes_max: int) -> bytes | None:
        """The request's body, once all of it is there; it is forwarded as it is all the same.

        None if it is larger, nobody knows how large it is, or its sender waits to be told to send it. Raises
        BodyTooSlow and BadRequest. Only before `forward`.
        """

    async def forward(self, route: Route, target: str, meter: Meter, caller: Caller) -> None:
        """Send the request upstream; return when the head of the answer is there and the meter has seen it.

        Raises UpstreamFailed, UpstreamTimedOut, UpstreamUnavailable, UpstreamBusy, and BadRequest, BodyTooLarge or
        BodyTooSlow for what turns out to be wrong with the request's body. Cancelled or failed, it leaves no upstream
        request alive.
        """

    def carry_on(self) -> None:
        """Its caller may leave: what is under way upstream is not abandoned for that. Once its body is there."""

    async def whole_answer(self, bytes_max: int) -> Answer | None:
        """All of the upstream's answer, as its caller will get it; it is for `answer` to pass it on.

        None, without waiting for more, if it is larger, a stream of events or no answer but a switch of protocols.
        After `forward`; raises what that raises if the answer breaks off.
        """

    async def replay(self, answer: Answer) -> None:
        """Answer with what was kept, in place of `forward` and `answer`. Raises AnswerCut."""

    async def answer(self, meter: Meter, started: "Started") -> None:
        """Pass the upstream's answer on, with back-pressure. Calls `started` once its first byte is written.

        Raises what `forward` raises if the answer broke off before that, and AnswerCut if it did later; the meter has
        been told.
        """

    def pause(self) -> None:
        """Take no more of the upstream's answer for now: what has come is not paid for yet."""

    def go_on(self) -> None:
        """Take more of it."""

    def end_early(self, refusal: Refusal) -> None:
        """Nobody pays for the rest. A stream of events ends with one that says why, any other answer looks cut."""

    async def refuse(self, refusal: Refusal, route: Route | None) -> None:
        """Answer with a refusal of our own, as the route (if there is one) wants it. Only before `answer`."""


class Started(Protocol):
    """Told that the first byte of an answer is on its way."""

    def __call__(self) -> None: ...


# --- money ------------------------------------------------------------------------------------------------------------


class Hold(Protocol):
    """Money set aside for one request."""

    @property
    def balance(self) -> Money:
        """What the account can spend once this request costs what is on record so far."""

    def started(self) -> None:
        """The answer's first byte is written: a crash from now on does not void the record."""


class Keeps(Protocol):
    """Keeps what is sold, if its caller holds a key to ask for it again."""

    async def collect(self, exchange: Exchange) -> None:
        """Between `forward` and the record of the price. Raises what `Exchange.whole_answer` raises."""

    async def keep(self, exchange: Exchange, started: Started) -> Started:
        """Between the record of the price and `answer`, which is to be given what this returns.

        What is kept counts as answered: `started` has been told. Raises RecordsUnavailable, OutcomeUnknown,
        KeyInFlight; then it must not be answered.
        """


class Sale(Protocol):
    """Serves a priced route; implemented by the flow that does."""

    async def __call__(
        self, exchange: Exchange, caller: Caller, route: Route, target: Target, kept: Keeps | None = None
    ) -> None: ...


class SellsOnce(Protocol):
    """Sees to it that what is asked for with one key is sold once."""

    async def sell(self, exchange: Exchange, caller: Caller, route: Route, target: Target, sale: Sale) -> None:
        """Have it sold, or answer with what was kept.

        Cancelled, it goes on to the outcome, and ends then. Raises BadRequest, KeyedBodyRefused, KeyReused,
        KeyInFlight, OutcomeUnknown, AnswerNotKept, RecordsUnavailable, and what `sale` raises.
        """


class KeyClaims(Protocol):
    """The keys that were used, by account.

    Each call is one step, durable when it returns; it may raise RecordsUnavailable.
    """

    async def claim(self, claim: KeyClaim, *, now_ms: int) -> KeyClaim | None:
        """Write it down, unless the key has one that has not expired, or is open and leased: that one."""

    async def take_over(self, claim: KeyClaim, *, of: str, now_ms: int) -> bool:
        """Put it in place of that of request `of`, if that is open and its lease is over."""

    async def renew(self, holder: str, lease_ms: int) -> None:
        """All that are open and this process's."""

    async def end(self, ended: KeyClaim, *, lapsed_ms: int | None = None) -> bool:
        """It is open no more. False, and nothing changes, if it is not open and of this `request`.

        Or its lease is not over by `lapsed_ms`.
        """

    async def free(self, claim: KeyClaim) -> None:
        """Nothing came of it: drop it, if it is open and of this request."""

    async def drop_expired(self, *, now_ms: int, count: int) -> int:
        """Drop so many that have expired, and are not open and leased; how many there were."""


class Entries(Protocol):
    """What adds to accounts and takes from them, once per `ref`: as `Ledger` promises of the two."""

    async def credit(self, credit: Credit) -> bool: ...

    async def reverse(self, reversal: Reversal) -> bool: ...


class Desk(Entries, Protocol):
    """What an operator does to accounts by hand: as `Ledger` promises of each."""

    async def refund(self, request: RequestId, reason: str) -> list[Charge]: ...

    async def balance(self, account: str, currency: str) -> Balance: ...

    async def funded(self, account: str, currency: str) -> bool: ...


class Ledger(Protocol):
    """Holds, records, credits and takes back. No balance ever becomes negative by spending."""

    async def hold(self, account: str, ceiling: Money, *, id: RequestId, token: int, tariff: Tariff) -> Hold:
        """Set `ceiling` aside. Raises PaymentRequired, or LedgerUnavailable when the store cannot commit.

        A caller that is cancelled while it waits leaves nothing on hold.
        """

    async def start(self, hold: Hold, due: Money, durability: Durability) -> None:
        """Record what is due. `strict`: returns when it is durable. Raises LedgerUnavailable; then nothing is charged.

        Cancelled, the record stands until `settle` corrects it.
        """

    async def renew(self, hold: Hold, due: Money, ahead: Money) -> None:
        """A long answer goes on: record what it has come to, and set `ahead` aside for what follows.

        Returns when it is durable: a crash from now on charges `due`. It is at least what was recorded before and at
        most what is held; afterwards `due` and `ahead` together are held, or more if more was. Raises PaymentRequired
        when the account has less than is missing; then `due` is on record, nothing more is held, and the answer should
        end. Raises LedgerUnavailable; then it may or may not be on record, and `settle` still has the last word.
        """

    def settle(self, hold: Hold, cost: Money) -> Money:
        """Capture what the request did cost, at most what was held, and release the rest. Awaits nothing.

        Returns what was captured. Settling twice is settling once. A hold whose `start` failed costs nothing, whatever
        `cost` says.
        """

    async def credit(self, credit: Credit) -> bool:
        """Add money that arrived; returns when it is durable. False if this `ref` was credited before.

        Raises LedgerUnavailable; repeating the call is always safe. Raises ValueError for what no account can hold.
        """

    async def reverse(self, reversal: Reversal) -> bool:
        """Take money back; returns when it is durable. False if there was an entry of this `ref`: nothing changes then.

        The whole amount leaves the balance, which is negative if there was less: holds are refused until credits have
        made up for it. What is set aside for requests under way is not touched. Of an account that nobody has paid
        into it is a debt all the same: a refund may be heard of before its payment.

        Raises LedgerUnavailable; repeating the call is always safe. Raises ValueError for what no account can hold.
        """

    async def join(self, account: str, into: str, currency: str) -> bool:
        """Move what a wallet has into another one, purse by purse, and what it owes, too; returns when it is durable.

        What is held stays until it is settled, and money may still arrive: False if something is left, and it is to be
        done again. No moment sees any of it twice or not at all. Raises LedgerUnavailable; repeating is always safe.
        Raises ValueError for what no account can hold.
        """

    async def refund(self, request: RequestId, reason: str) -> list[Charge]:
        """Give back what a request did cost; returns when it is durable, with what was given back to whom.

        A refund of what was refunded (or cost nothing) gives back nothing. Raises RequestUnderWay, RequestUnknown;
        LedgerUnavailable, after which repeating the call is safe.
        """

    async def balance(self, account: str, currency: str) -> Balance:
        """What an account can spend, less than nothing if it owes; zero for one that nobody ever paid into.

        Raises LedgerUnavailable.
        """

    async def funded(self, account: str, currency: str) -> bool:
        """Whether money ever arrived there. Raises LedgerUnavailable."""

    async def close(self) -> None:
        """Commit what is queued and let go of the store."""


class RequestUnderWay(Exception):
    """What it will have cost is not known yet."""


class RequestUnknown(Exception):
    """The books hold nothing of it, or not its beginning: it was never charged, or its batch was pruned."""


class StoreBusy(Exception):
    """A stranger holds the store locked. Nothing was written; the same draft may be tried again."""


class StoreFailed(Exception):
    """A commit failed and it is not known whether it was written. `reopen`, then try the same draft again."""


class LedgerStore(Protocol):
    """Durable books with one writer. Used by one keeper, one call at a time."""

    async def open(self) -> Tail:
        """Make or open the books. Raises StoreDamaged if they do not hang together, StoreLocked if they are in use."""

    async def reopen(self) -> None:
        """Drop the handle that failed and take a new one. Raises StoreFailed."""

    async def commit(self, draft: Draft) -> Committed:
        """Write the draft whole or not at all, durably; then read what it asks for. Raises StoreBusy, StoreFailed.

        A draft that was already written (its first attempt's outcome was unknown) is recognised, not repeated.
        """

    async def close(self) -> None: ...


class BackupRefused(Exception):
    """There is nothing to copy, nobody to copy it, nowhere to put it, or what was copied is not sound.

    Nothing was left behind.
    """


@dataclass(frozen=True, slots=True)
class CopiedFile:
    """One file of a backup."""

    name: str
    bytes: int
    sha256: str


class KeptFile(Protocol):
    """A small file of this host."""

    @property
    def name(self) -> str:
        """Where it is, in messages."""

    def read(self) -> bytes | None:
        """All of it; None if it is not there. Raises OSError."""

    def write(self, contents: bytes) -> None:
        """Replace it, durably: a reader finds the old contents or the new. Raises OSError."""


class Borrower(Protocol):
    """A keeper that borrows: what its lender may ask of it, at any time."""

    def claim(self) -> Claim:
        """What is spoken for. From this moment on the rest of its slices is void."""

    async def ended(self, request: RequestId) -> bool:
        """Whether a request is not under way here and all of it has been told. Raises LedgerUnavailable."""

    def called_in(self, row: int) -> AbstractAsyncContextManager[bool]:
        """Entered when those who borrow an account from this keeper have parted with what they can; whether all have.

        Until it is left, nothing of what came in is lent on: a `recall` within it speaks for everybody here. A lender
        that knows that nobody borrows from this keeper need not enter it.
        """

    def recall(self, row: int) -> int | None:
        """Part with what is not spoken for of an account, here in this keeper; how many micros that is.

        None, and nothing is given, when more comes free with the draft that is under way, or may with a decision on
        several purses: ask again after the next commit, or `Lender.look_again`.
        """

    def changed(self, holder: str, unit: str) -> None:
        """The holder has another purse now, or owes, or has paid what it owed: before the next hold, ask."""


class Lender(Protocol):
    """Books that others draw on too: an account is borrowed from them slice by slice."""

    def lends_to(self, borrower: Borrower) -> None:
        """Whom to ask. Called once, before anything else."""

    async def draw(self, holder: str, unit: str, micros: int) -> Drawn:
        """Borrow at least so much, or all there is; nothing when `micros` is 0. Raises StoreFailed.

        Cancelled, whatever was lent goes back.
        """

    def give_back(self, returns: Mapping[int, int], *, in_use: bool = False) -> None:
        """Return micros of accounts, by their rows; of those not `in_use` nothing more is to come. Awaits nothing."""

    def look_again(self) -> None:
        """What was recalled and could not be parted with yet may have come free. Awaits nothing."""


class Archive(Protocol):
    """Finds what the books hold of one request."""

    async def charges_of(self, request: RequestId) -> list[Charge]:
        """What it has cost as committed; empty if the books hold nothing of it. Raises StoreFailed."""


class Teller(Protocol):
    """Beside a lender: does for a keeper that borrows what takes all of an account."""

    async def reverse(self, reversal: Reversal) -> bool:
        """As `Ledger.reverse`; what others have is called back first. Raises StoreFailed, ValueError."""


class Refunds(Protocol):
    """Beside a lender: does for a keeper that borrows what needs the books of all."""

    async def refund(self, request: RequestId, reason: str) -> list[Charge]:
        """As `Ledger.refund`, wherever the request was served. Raises StoreFailed, too."""


class Survivors(Protocol):
    """Workers that lived on while the keeper of the books died."""

    async def gather(self, tail: Tail) -> None:
        """Until all have come back, or those that have not are given up."""

    def keep(self, number: int, record: Record) -> bool:
        """Whether one of them answers for this record, so that it must not be voided."""


class Bookkeeping(Protocol):
    """What is derived from the books, and what of them need not be kept: done in short steps, between commits.

    Every step is in the books whole or not at all, and whoever was cut off may begin again. All of them raise
    StoreBusy, StoreFailed, and BooksRefused for books that do not hang together.
    """

    async def fold(self, *, closed_before_ms: int) -> bool:
        """Derive transfers and hourly usage from the next batches. False if all hours over by then are done."""

    async def prune(self, *, before_ms: int) -> bool:
        """Drop batches of hours before that, if they are folded and nothing needs them. False if there are none."""

    async def expired(self, *, now_ms: int) -> Sequence[Reversal]:
        """The entries that end purses whose time is over by then and that have something left; a few at a time."""

    async def sign(self) -> None:
        """Sign with the newest key what an older one has signed: so it may go some day."""

    async def close(self) -> None:
        """Let go of what is used for nothing else."""


class StatementSource(Protocol):
    """The books as a statement reads them, all from one snapshot. Raises BooksRefused."""

    def tariffs(self) -> Iterable[tuple[tuple[int, int], str, str]]:
        """Host and number of each tariff, its owner and its route."""

    def accounts(self, holder: str) -> Sequence[tuple[int, str]]:
        """The rows of a holder, and the unit of each."""

    def account(self, id: int) -> tuple[str, str]:
        """Holder and unit of a row."""

    def purses(self, holder: str) -> Sequence[PurseRow]:
        """What is left of each, as committed; of one that owes, less than nothing."""

    def chains(self) -> Iterable[Chain]:
        """The hosts that have batches."""

    def first_batch(self, keeper: int, after: int, at_ms: int) -> int | None:
        """The first of a host's batches behind one that is not older."""

    def last_batch(self, keeper: int) -> int: ...

    def batches(self, keeper: int, first: int, accounts: Sequence[int]) -> Batches:
        """From that on, in order; at least all that hold records of these accounts, if any are named."""

    def batches_of(self, keeper: int, first: int, request: RequestId) -> Batches:
        """From that on, in order, all that hold records of this request; and maybe others."""

    def rule(self, keeper: int, tariff: int) -> str:
        """The price of a tariff, as it was written."""

    def hours(self, last: Mapping[int, int], accounts: Sequence[int]) -> Iterable[Sum]:
        """What was folded of each host up to a batch, in order: of time if there are several hosts."""

    def money(self, account: int) -> Sequence[Moved]:
        """What was paid in and taken back."""


class BooksSlow(Exception):
    """Reading took longer than it may."""


class StatementBooks(Protocol):
    """Opens the books for one reader, beside whoever keeps them. To be used in a thread: reading keeps it waiting."""

    def open(self, *, seconds: float) -> AbstractContextManager[StatementSource]:
        """One snapshot, for so long: then whatever is read of it raises BooksSlow, and lets go of the books.

        Raises BooksRefused, there and while it is read.
        """


class Scratch(Protocol):
    """Room for the lines of one statement, which may be more than the memory holds."""

    def add(self, piece: Piece) -> None:
        """Merge it with what is there of its request. Of one that is captured, the capture says where it stands."""

    def forget_uncaptured(self, requests: Iterable[tuple[int, int, int]] | None = None) -> None:
        """Forget those without a capture: all, or these (by time, number and account)."""

    def has_uncaptured(self) -> bool: ...

    def pieces(self, *, by_time: bool) -> Iterable[Piece]:
        """All that are left, in the order of their records or of the time at which they were booked."""

    def add_hours(self, sums: Iterable[Sum]) -> None: ...

    def hours(self) -> Iterable[Sum]:
        """What was added up, in order."""

    def close(self) -> None: ...


class BooksRefused(Exception):
    """The books do not hang together, so nothing was derived from them or dropped. The message says where."""


class StoreDamaged(Exception):
    """The books do not hang together; the message says where and what to do."""


class StoreLocked(Exception):
    """Another process keeps these books."""


# --- callers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TokenRow:
    """What is on record of a token."""

    account: str
    revoked: bool
    expires_ms: int | None
    key_id: str | None = None
    """The sealing key that made the token; None until it was used."""


class Credentials(Protocol):
    """Tokens at rest, by keyed digest only."""

    async def find(self, digest: bytes) -> TokenRow | None: ...

    async def find_any(self, digests: Sequence[bytes]) -> Mapping[bytes, TokenRow]:
        """The rows of those that are on record, as they are at one moment."""

    async def redigest(self, digest: bytes, older: Sequence[bytes], *, pepper_id: str, key_id: str) -> None:
        """Of one token: what stands under older digests stands under this one from now on. Harmless to repeat.

        At no moment is there no row of it. If any of them was revoked, what is left is.
        """

    async def add(self, digest: bytes, *, account: str, pepper_id: str, now_ms: int) -> bool:
        """Put a token on record; False if it was there."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """An account was frozen, or unfrozen. Numbers rise, and one that is seen has all lower ones before it."""

    number: int
    account: str
    frozen: bool
    reason: str
    at_ms: int


class FreezeBook(Protocol):
    """Which accounts may not spend. Every call may raise RecordsUnavailable."""

    async def add_freeze(
        self, account: str, *, frozen: bool, reason: str, now_ms: int, cause: str | None = None
    ) -> bool:
        """Write it down; returns when it is durable. False if there was one of this `cause`: nothing changes then."""

    async def freezes_after(self, number: int) -> list[Freeze]:
        """Those with higher numbers, in order."""

    async def freezes_of(self, account: str) -> list[Freeze]:
        """In order; the last one counts."""


class Frozen(Protocol):
    """Which accounts may not spend, as far as this process knows: at most a second behind."""

    def holds(self, account: str) -> bool:
        """Whether an account may not spend. Asks nobody."""


@dataclass(frozen=True, slots=True)
class Alias:
    """An account that is another one now, which is none itself. Numbers are as those of freezes.

    `asked` counts how often the books of both were to be joined.
    """

    number: int
    account: str
    into: str
    why: str
    at_ms: int
    asked: int = 1


class AliasBook(Protocol):
    """Which accounts are another one now. Every call may raise RecordsUnavailable."""

    async def add_alias(self, account: str, into: str, *, why: str, now_ms: int) -> bool:
        """Write it down; returns when it is durable. What was an alias of the account is one of the other, too.

        If `into` is an alias, that account is meant which it is one of. False, and nothing changes, if the account is
        an alias already, or they are the same, or one of them is frozen.
        """

    async def aliases_after(self, number: int) -> list[Alias]:
        """Those with higher numbers, in order."""

    async def find_alias(self, account: str) -> Alias | None: ...

    async def unjoined(self) -> list[Alias]:
        """Those whose books are to be joined, oldest first."""

    async def ask_to_join(self, account: str) -> None:
        """Something may have arrived at an alias: join the books once more."""

    async def ask_to_join_since(self, at_ms: int) -> None:
        """The same of all that were written down after that."""

    async def joined(self, alias: Alias) -> None:
        """Its books are one. Nothing, if that was asked for again in between."""


class Roots(Protocol):
    """Which account an account is now, as far as this process knows: at most a second behind."""

    def root(self, account: str) -> str:
        """The account that this one is an alias of, or itself. Asks nobody."""

    def names(self, account: str) -> Sequence[str]:
        """The account, and those that are aliases of it. Asks nobody."""


class Looks(Roots, Protocol):
    """Which account an account is now, also by the records."""

    async def look(self) -> None:
        """Learn what others had written down before this call. Raises RecordsUnavailable."""


class Joins(Looks, Protocol):
    """Makes accounts other ones; implemented by the flow that does. These, too, may raise RecordsUnavailable."""

    async def add(self, account: str, into: str, why: str) -> Joined:
        """Write down that `account` is `into` from now on; what came of it."""

    async def find(self, account: str) -> Alias | None:
        """What is on record of an alias."""


class PayerBook(Protocol):
    """Who has paid before, and which browsers came back. Every call may raise RecordsUnavailable."""

    async def find_payers(self, digests: Sequence[bytes]) -> Mapping[bytes, str]:
        """The accounts of those that are on record."""

    async def keep_payer(
        self, digest: bytes, *, account: str, pepper_id: str, now_ms: int, sealed: tuple[str, bytes] | None
    ) -> str:
        """Write down whose a payer is; whose it is on record, which is what was written first.

        `sealed` is what mail needs, with the key that sealed it.
        """

    async def redigest_payer(self, digest: bytes, older: Sequence[bytes], *, pepper_id: str) -> None:
        """What stands under older digests stands under this one from now on. Harmless to repeat."""

    async def has_payer(self, account: str) -> bool:
        """Whether anybody is known to pay for it, or for an alias of it."""

    async def addresses_of(self, account: str) -> list[tuple[bytes, str, bytes]]:
        """By its digest, every address that is kept for mail of just this account: the key that sealed it, and it."""

    async def forget_address(self, digest: bytes) -> None:
        """Erase the address; whose the payer is stays known."""

    async def come_home(self, coming: Homecoming) -> Homecoming:
        """Write down which browser came back from a checkout; what is on record, which is the one that was first."""

    async def find_homecoming(self, session: str) -> Homecoming | None: ...

    async def coded(self, digests: Sequence[bytes], *, since_ms: int) -> Homecoming | None:
        """The one that was shown a code that has one of these digests, if it was not used."""

    async def turn(self, session: str, was: Standing, now: Standing, *, now_ms: int) -> bool:
        """It stands otherwise now. False if it did not stand like that. What was sealed is kept while it waits."""

    async def waiting(self, before_ms: int) -> list[Homecoming]:
        """Those that wait since before that, oldest first."""

    async def drop_homecomings(self, before_ms: int) -> None: ...


class KeyRoll(Protocol):
    """Which process has which keys, and what they are needed for. Every call may raise RecordsUnavailable."""

    async def call_in(self, holder: str, kind: KeyKind, ids: Sequence[str], *, now_ms: int) -> None:
        """A process says which keys it has; the first of `ids` is the one that seals."""

    async def leave(self, holder: str) -> None:
        """A process ends."""

    async def retired(self, kind: KeyKind, id: str) -> None:
        """A key has gone: who has no other is turned away. Its id stays known, so that no key gets it again."""

    async def holders(self, kind: KeyKind) -> list[Holder]:
        """What every process said last."""

    async def use(self, kind: KeyKind) -> KeyUse:
        """What is on record of all keys of a kind. Counts every token, so it takes a while."""


class RateLimits(Protocol):
    """Counts requests in windows, and those under way."""

    async def admit(self, asks: Sequence[Ask], places: Sequence[Place]) -> "Admitted":
        """Count one request everywhere, or nowhere if any window or cap refuses it.

        Raises LimitsDown when that cannot be told; then no place is taken. Cancelled, it takes no place either, but
        what windows have counted may stand.
        """

    async def hit(self, rate: Rate, subject: str) -> Stand:
        """Count one request in one window. While that cannot be told, everybody is admitted."""

    async def close(self) -> None:
        """Let go of what is connected."""


class Admitted(NamedTuple):
    """How the windows stand after a request, then the caps, in the order asked."""

    stands: Sequence[Stand]
    leave: Callable[[], None]
    """Gives the places back that were taken, once; awaits nothing."""


class LimitsDown(Exception):
    """Requests cannot be counted just now."""


class Admits(Protocol):
    """Holds a request against the limits of its route; implemented by the flow that does."""

    async def admit(self, exchange: Exchange, caller: Caller, route: Route) -> Callable[[], None]:
        """Count it; what gives back its places when it has ended. Raises RateLimited, LimitsUnavailable.

        Cancelled or refused, it leaves no place taken.
        """


# --- payments ---------------------------------------------------------------------------------------------------------


class Payments(Protocol):
    """A payment provider."""

    @property
    def scope(self) -> str:
        """Tells this provider's account from every other; what was made for one must not be used for another."""

    async def payment_link(self, price: Money, return_url: str, bounds: Bounds | None = None) -> str:
        """The address of a page on which `price` can be paid, again and again. Made once and reused.

        With `bounds` its payer chooses an amount between the two; `price` is what is suggested.

        Raises PaymentServiceUnavailable.
        """

    def verify(self, body: bytes, signature: str | None, *, now_seconds: int) -> Event:
        """The event that a webhook brings. Raises WebhookRefused for whatever the provider did not sign just now."""

    def payment(self, event: Event) -> Payment | None:
        """The payment that an event reports, if it is one. Raises ValueError when it cannot be read."""

    def notice(self, event: Event) -> Notice | None:
        """What an event says of a payment that was made, if it does. Raises ValueError when it cannot be read."""

    async def find_payment(self, session: str) -> Payment | None:
        """A checkout by its id, as the provider knows it now. Raises PaymentServiceUnavailable."""

    async def find_payment_of(self, intent: str) -> Payment | None:
        """The checkout that made a payment. Raises PaymentServiceUnavailable."""

    def events(self, *, begin: int, end: int) -> AsyncIterator[Event]:
        """What happened from `begin` to before `end`, in seconds, newest first of each kind; page by page.

        Raises PaymentServiceUnavailable.
        """

    def checkouts(self, *, begin: int, end: int) -> AsyncIterator[Payment]:
        """Every completed checkout that was begun between the two, newest first. Raises PaymentServiceUnavailable."""


class Payers(Protocol):
    """A payment provider that can say who paid."""

    async def payer_of(self, session: str) -> Payer | None:
        """Who paid a checkout, by what it was paid with; None if that tells nobody.

        Raises PaymentServiceUnavailable.
        """

    async def is_open(self, session: str) -> bool:
        """Whether a checkout is still to be completed. Raises PaymentServiceUnavailable."""


class Cards(Protocol):
    """A payment provider that takes exact amounts, and keeps cards and charges them."""

    async def checkout(self, order: Order) -> str:
        """The address of a page on which just this can be paid, or a card be saved. The same for the same order.

        Raises PaymentServiceUnavailable.
        """

    async def saved_card(self, session: str) -> SavedCard | None:
        """The card that a checkout saved; None if it saved none. Raises PaymentServiceUnavailable."""

    async def refill(self, refill: Refill) -> Refilled:
        """Charge a saved card without its owner. Asked again, it says again what became of it.

        Raises PaymentServiceUnavailable when that is not known; it may have been charged.
        """

    async def find_refill(self, refill: Refill) -> Refilled | None:
        """What became of a refill, long after; None if the provider never heard of it. Raises the same."""

    def card_notice(self, event: Event) -> CardNotice | None:
        """What an event says of saved cards and refills, if it does. Raises ValueError when it cannot be read."""


class Sells(Protocol):
    """A payment provider that sells plans."""

    @property
    def plans(self) -> Mapping[str, Plan]:
        """By the provider's id of the price."""

    def subscription_notice(self, event: Event) -> SubscriptionNotice | None:
        """What an event says of a subscription, if it does. Raises ValueError when it cannot be read."""

    def unpaid(self, event: Event) -> Unpaid | None:
        """What an event says of money that did not come, if it does. Raises ValueError when it cannot be read."""

    async def cancel_subscription(self, id: str) -> None:
        """It ends with the period under way. Raises PaymentServiceUnavailable."""


class Attempts(Protocol):
    """A payment provider that tells of every attempt to pay."""

    def attempt(self, event: Event) -> Attempt | None:
        """The card that was tried, if an event says that one was."""

    async def reference_of(self, intent: str) -> str | None:
        """The sealed reference of what is paid there, whether it was or not. Raises PaymentServiceUnavailable."""


class Countries(Protocol):
    """Knows where addresses are."""

    def country_of(self, address: str) -> str | None:
        """Two letters, such as `NO`; None where that is not known. Awaits nothing."""


class Screens(Protocol):
    """Says who is offered a way to pay, by their address; implemented by the flow that does. Awaits nothing."""

    def refusal(self, peer: str) -> CountryRefused | None:
        """Why not; None if they are."""

    def asks(self, peer: str) -> Sequence[Ask]:
        """What their checkouts are counted against, besides what everybody's are."""


class Freezer(Protocol):
    """Freezes accounts; implemented by the flow that does."""

    async def freeze(self, account: str, reason: str) -> bool:
        """False if nothing was to be done. Raises RecordsUnavailable."""


class HolderPages(Protocol):
    """A payment provider's own pages for who has paid."""

    async def receipt_url(self, payment: str) -> str | None:
        """The receipt of a checkout or a refill, by its id; None if there is none. Raises PaymentServiceUnavailable."""

    async def portal_url(self, customer: str) -> str:
        """A page on which a customer sees receipts and cards, good for minutes. Raises PaymentServiceUnavailable."""


InboxStatus = Literal["waiting", "done", "ignored", "parked"]


@dataclass(frozen=True, slots=True)
class InboxEntry:
    """An event as it stands in the inbox. `readable` is false when the key that sealed it has left the ring."""

    event: Event
    status: InboxStatus
    received_ms: int
    error: str | None
    readable: bool = True


class Inbox(Protocol):
    """Every event that the provider delivered, once."""

    async def claim(self, event: Event, *, now_ms: int) -> bool:
        """Write the event down; returns when it is durable. False if it was there."""

    async def close_event(self, id: str, status: InboxStatus, *, error: str | None = None) -> None:
        """Say what became of it."""

    async def events(self, status: InboxStatus) -> list[Event]:
        """Every event that stands like this, oldest first."""

    async def entries(self, status: InboxStatus) -> list[InboxEntry]:
        """The same, with all that is known of each."""

    async def find_entry(self, id: str) -> InboxEntry | None:
        """One event by its id."""

    async def reseal(self, key_id: str, *, count: int) -> int:
        """Seal so many events or payers of this key with the newest; how many there were. Of none it can open, 0."""

    async def drop_events(self, *, before_ms: int, count: int) -> int:
        """Drop so many events that were received before that and need nothing more; how many there were."""


class Receipts(Protocol):
    """What was credited of which payment, what was heard of it since, and what was taken back. Kept for ever."""

    async def keep_credited(self, credited: Credited) -> Credited:
        """Write down whose a payment is; what is on record of it, which is what was written first."""

    async def find_credited(self, payment: str) -> Credited | None: ...

    async def keep_notice(self, notice: Notice) -> None:
        """Once per event, however often."""

    async def notices(self, payment: str) -> list[Notice]: ...

    async def moves(self, payment: str) -> list[Move]:
        """By their numbers, without a gap."""

    async def plan_move(self, move: Move) -> bool:
        """Write down what is to be done. False if there is another of this number: then read them again."""

    async def move_made(self, payment: str, number: int) -> None:
        """It is in the books."""

    async def correct_move(self, payment: str, number: int, micros: int) -> None:
        """The books have another amount under this number: these records are older than the books."""

    async def unmade(self) -> list[str]:
        """The payments that have a move which is not known to be in the books."""


@dataclass(frozen=True, slots=True)
class CreditLine:
    """A payment as the books have it."""

    ref: str
    account: str
    amount: Money


class CreditLines(Protocol):
    """Reads payments out of the books, as committed; works while somebody keeps them. Raises StoreFailed."""

    async def taken_by(self, ref: str) -> int | None:
        """What the entry of this ref took, in micros; less than nothing if it is a credit. None: there is none."""

    async def credit_of(self, ref: str) -> CreditLine | None: ...

    async def credits_between(self, begin_ms: int, end_ms: int) -> list[CreditLine]:
        """Every credit of a checkout (`stripe:cs_…`), refill (`pi_…`) or invoice (`in_…`) of then, oldest first."""


class Standings(Protocol):
    """Reads accounts out of the books, as committed; works while somebody keeps them. Raises StoreFailed."""

    async def standing(self, holder: str, currency: str) -> Money:
        """What is left of all that was paid in, whoever of the hosts and workers has it set aside."""

    async def totals(self, holder: str, currency: str) -> tuple[Money, Money]:
        """What was paid in altogether, less what was taken back of it; and what is left, at the same moment."""

    async def paid_since(self, holder: str, currency: str, since_ms: int) -> Money:
        """What was credited for payments after that."""

    async def units(self, holder: str) -> list[str]:
        """Every currency, or other unit, that the holder ever had something in."""


class Watermarks(Protocol):
    """How far something was read, so that it goes on there after a stop."""

    async def watermark(self, name: str) -> int | None: ...

    async def keep_watermark(self, name: str, value: int) -> None:
        """It never goes back."""


class Links(Protocol):
    """The payment links that were made, so that each is made once."""

    async def find_link(self, key: str) -> str | None: ...

    async def keep_link(self, key: str, url: str) -> None: ...


class Orders(Protocol):
    """What somebody wants to pay at the provider's checkout, written down before the provider is asked."""

    async def keep_order(self, order: Order) -> Order:
        """Write it down; what is on record under its id, which is what was written first."""

    async def order_made(self, id: str, url: str) -> None:
        """The provider has said where it can be paid."""

    async def drop_orders(self, before_ms: int) -> None:
        """Forget those that were begun before that."""


class AutoTopUps(Protocol):
    """Who wants to be topped up with which card, and every attempt at it."""

    async def find_rule(self, account: str) -> Rule | None:
        """Also one that is not wanted any more."""

    async def rules_since(self, changed_ms: int) -> list[Rule]:
        """All that changed at or after that, also those that are not wanted any more."""

    async def keep_rule(self, account: str, wish: Wish, ceilings: Ceilings, *, now_ms: int) -> None:
        """Make or change it, with the card that it has. It is not paused any more."""

    async def keep_card(
        self, account: str, card: SavedCard, wish: Wish, ceilings: Ceilings, *, at_ms: int, now_ms: int
    ) -> None:
        """A card was saved at `at_ms` for this. Nothing, if the rule changed after that."""

    async def drop_rule(self, account: str, *, now_ms: int) -> bool:
        """Switch it off and forget the card. False if it was off."""

    async def pause(self, method: str, why: Pause, *, now_ms: int) -> None:
        """Use this card no more until somebody acts."""

    async def card_expires(self, method: str, expires: str) -> None:
        """This card is good until then."""

    async def renew(self, method: str, *, at_ms: int, now_ms: int) -> None:
        """The bank has sent a new card at `at_ms`: one that was declined before that may be used again."""

    async def drop_card(self, method: str, *, now_ms: int) -> None:
        """The provider does not keep this card any more."""

    async def drop_customer(self, customer: str, *, now_ms: int) -> None:
        """Nor this customer."""

    async def last_refill(self, account: str) -> int:
        """The number of its newest refill; 0 if there was none."""

    async def begin_refill(self, refill: Refill, ceilings: Ceilings) -> bool:
        """Write it down as asked for, in one step with all that speaks against it; False if anything does.

        That is: the rule is not on or has another card, the account is frozen, one is under way, the number is taken, a
        ceiling is reached.
        """

    async def end_refill(self, key: str, state: RefillState) -> bool:
        """It is over. False if it was over before."""

    async def find_refill(self, key: str) -> Refill | None:
        """One that is under way."""

    async def open_refills(self, before_ms: int) -> list[Refill]:
        """Those under way that were begun before that, oldest first."""

    async def refilled_since(self, account: str, since_ms: int) -> int:
        """How many micros were charged after that, with what is under way."""


class Subscriptions(Protocol):
    """How subscriptions stand, and which of their invoices wait to be paid. Each call may raise RecordsUnavailable."""

    async def keep_subscription(self, found: Subscription) -> None:
        """Write down how it stands, if what is on record is not more recent. An account that is known stays."""

    async def find_subscription(self, id: str) -> Subscription | None: ...

    async def subscriptions_of(self, account: str) -> list[Subscription]:
        """Also those that are over, by their ids."""

    async def keep_unpaid(self, invoice: str, subscription: str, url: str | None) -> bool:
        """An invoice waits to be paid. False, and nothing changes, if it is known to be over."""

    async def unpaid_over(self, invoice: str, subscription: str) -> None:
        """It does not any more, and will not again."""

    async def unpaid_of(self, subscription: str) -> list[str]:
        """Where those that wait can be paid, if that is known."""


class Tells(Protocol):
    """Takes down what somebody is to be told."""

    async def put(self, type: Type, account: str, content: Mapping[str, Any], *, cause: str, now_ms: int) -> bool:
        """Write it down; returns when it is durable. False if there was one of this `cause`: nothing changes then.

        Raises RecordsUnavailable.
        """


class Outbox(Tells, Protocol):
    """What is to be told, each once. Freezes, pauses and failed refills get here by themselves.

    Every call may raise RecordsUnavailable.
    """

    async def put_expiring(self, until: str, *, now_ms: int) -> None:
        """Write down which cards that are used end in that month (`2034-12`) or before; once per card."""

    async def seen_low(self, account: str) -> tuple[int, int] | None:
        """What was left, and what had been paid in altogether, when it was last below the line; in micros."""

    async def keep_low(self, account: str, *, remains: int, credited: int) -> None: ...

    async def find(self, id: str) -> Outgoing | None: ...

    async def put_letter(self, id: str, receiver: str, *, now_ms: int) -> None:
        """Write it down as a letter to this receiver, too; once."""

    async def take(self, *, now_ms: int, lease_ms: int, channel: Channel = "webhook") -> Outgoing | None:
        """The one that is due for longest, and nobody else is given it for so long. Counts a try."""

    async def delivered(self, id: str) -> None: ...

    async def put_off(self, id: str, *, due_ms: int | None, error: str) -> None:
        """It failed; try again at that time, or never. Nothing, if it was delivered."""

    async def again(self, id: str, *, now_ms: int) -> bool:
        """Deliver it from now on; False if it waits, or there is none."""

    async def entries(self, state: State | None, *, count: int) -> list[Outgoing]:
        """The newest so many, newest first."""

    async def drop(self, *, before_ms: int, count: int) -> bool:
        """Forget so many that are older; False if there were none."""


class NotSent(Exception):
    """It was not taken; the message says why, without the address."""


class NotTaken(NotSent):
    """The server is there, and does not take this one."""


class WritesLetters(Protocol):
    """Brings messages to the holder of a wallet; implemented by the flow that does."""

    async def carry(self, message: Outgoing) -> None:
        """Returns when it was taken, within seconds. Raises NotSent, RecordsUnavailable."""

    async def receivers(self, account: str) -> list[str]:
        """Whom a message about it is written to, by their digests. Raises RecordsUnavailable."""


class Mails(Protocol):
    """Sends letters."""

    async def mail(self, letter: Letter, to: str) -> None:
        """Returns when the mail server took it, within seconds. Raises NotSent, without the address in its words."""


class Sends(Protocol):
    """Carries a message to where the settings say."""

    async def send(self, head: Mapping[str, str], body: bytes) -> None:
        """Returns when it was taken, within seconds. Raises NotSent."""

    async def close(self) -> None: ...


class Offers(Protocol):
    """Tells who cannot pay how they can."""

    async def offer(self, refusal: PaymentRequired, caller: Caller) -> Refusal:
        """The refusal with a way to pay, or PaymentServiceUnavailable when there is none just now."""


class Hears(Protocol):
    """Acts on what an event says besides payments, refunds and disputes; implemented by the flows that do."""

    async def heard(self, event: Event) -> bool:
        """False if it says nothing that concerns this flow. Asked again, it is no different.

        Raises RecordsUnavailable, PaymentServiceUnavailable, ValueError.
        """


class Replenishes(Offers, Hears, Protocol):
    """Tops accounts up by themselves; implemented by the flow that does, known to those that hear of it."""

    def spent(self, account: str, hold: Hold) -> None:
        """A request was paid for. Awaits nothing, and looks no further for an account without a rule."""

    async def goes_back(self, notice: Notice) -> None:
        """Told before what a payer takes back leaves the balance. Raises RecordsUnavailable."""


class Till(Protocol):
    """Where callers pay; implemented by the flow that sells credit, known to those that need it."""

    async def offer(self, refusal: PaymentRequired, caller: Caller) -> Refusal:
        """The refusal with a way to pay, or PaymentServiceUnavailable when there is none just now."""

    async def fulfil(self, payment: Payment) -> Outcome:
        """Credit a payment, at most once; what became of it. Raises LedgerUnavailable."""

    async def fulfil_intent(self, intent: str) -> Outcome | None:
        """Ask the provider about a payment and fulfil it; None if it knows none. Raises PaymentServiceUnavailable."""


class TakesBack(Protocol):
    """Takes back what was credited; implemented by the flow that does, known to those that hear of it."""

    async def heard(self, notice: Notice) -> NoticeOutcome:
        """Act on what is known of a payment by now; the notice is kept. Raises LedgerUnavailable."""

    async def less(self, reversal: Reversal, purse: Purse) -> bool:
        """Take something from a holder, of this purse as far as it is there; False if that was done before.

        Raises LedgerUnavailable.
        """

    async def settle(self, credited: Credited) -> list[str]:
        """Bring the books up to all that was heard of a payment; the events that told it. Raises LedgerUnavailable."""

    async def resume(self) -> None:
        """Make what a stop left planned. Raises LedgerUnavailable."""


class Identifies(Protocol):
    """Finds out who is calling."""

    async def identify(self, exchange: Exchange, route: Route) -> Caller:
        """Raises UnknownToken, AccountFrozen."""

    async def moved(self, caller: Caller) -> Caller | None:
        """The same caller with the account that theirs has become since; None if it is what it was."""


class Served(Protocol):
    """Told of every request when it has ended."""

    def __call__(self, exchange: Exchange, route: Route | None, caller: Caller) -> None: ...
