"""People who signed in through an outside provider: who they are, their sessions, their tokens there, their jobs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.core.callers import Caller
from gateway.core.jobs import Job, JobState
from gateway.core.secrets import Secret
from gateway.core.sign_ins import Provider, State, Tokens


@dataclass(frozen=True, slots=True)
class User:
    """Somebody, and whose account is theirs. `profile` is sealed by the key `key_id`."""

    id: str
    account: str
    key_id: str
    profile: bytes


@dataclass(frozen=True, slots=True)
class Stay:
    """A session that is not over: `grant` is what tokens are known by."""

    grant: str
    provider: str
    created_ms: int
    expires_ms: int
    used_ms: int | None


@dataclass(frozen=True, slots=True)
class KeptTokens:
    """What a provider gave for somebody, sealed. `version` rises with each that takes its place."""

    key_id: str
    sealed: bytes
    expires_ms: int | None
    version: int


@dataclass(frozen=True, slots=True)
class Integration:
    """How one connection to a provider stands."""

    provider: str
    state: State
    checked_ms: int


class People(Protocol):
    """Who signed in. Every call may raise RecordsUnavailable."""

    async def use_once(self, digest: bytes, *, until_ms: int) -> bool:
        """Write down that a way back was taken; False if it was before."""

    async def find_user(self, digests: Sequence[bytes]) -> User | None:
        """Whoever signs in under one of these."""

    async def user(self, id: str) -> User | None: ...

    async def users_of(self, accounts: Sequence[str]) -> list[User]:
        """Those whose account is one of these, oldest first."""

    async def add_user(self, user: User, *, now_ms: int) -> None:
        """Nothing, if there is one of this id."""

    async def change_user(self, user: User, *, now_ms: int) -> None:
        """Another account, another profile. Who has the same has it as before."""

    async def claim_wallet(self, account: str, user: str, *, now_ms: int) -> str:
        """A browser's wallet becomes somebody's; whose it is on record, which is whoever claimed it first."""

    async def logins(self, user: str) -> list[bytes]:
        """Under which digests somebody signs in."""

    async def add_login(self, digest: bytes, user: str, *, provider: str, pepper_id: str, now_ms: int) -> str:
        """Write down who signs in like that; whose it is on record, which is what was written first."""

    async def redigest_login(self, digest: bytes, older: Sequence[bytes], *, pepper_id: str) -> None:
        """What stands under an older digest stands under this one from now on. Harmless to repeat."""

    async def add_stay(self, grant: str, user: str, *, provider: str, now_ms: int, expires_ms: int) -> None: ...

    async def user_of_stay(self, grant: str) -> User | None:
        """Whose session this is, or was."""

    async def stays(self, user: str, *, now_ms: int) -> list[Stay]:
        """Those that are not over, oldest first."""

    async def drop_old(self, *, now_ms: int) -> None:
        """Forget sessions that are over for a day, and ways back that have ended."""


class TokenVault(Protocol):
    """What providers gave for people, sealed. Every call may raise RecordsUnavailable."""

    async def find_tokens(self, user: str, provider: str) -> KeptTokens | None: ...

    async def keep_tokens(self, user: str, provider: str, key_id: str, sealed: bytes, expires_ms: int | None) -> None:
        """In place of what there was."""

    async def hold_tokens(self, user: str, provider: str, version: int, *, now_ms: int, lease_ms: int) -> bool:
        """For so long nobody else renews this version. False if somebody does, or it is another by now."""

    async def let_go_tokens(self, user: str, provider: str, version: int) -> None:
        """Who holds this version has not renewed it: anybody else may."""

    async def renew_tokens(
        self, user: str, provider: str, version: int, key_id: str, sealed: bytes, expires_ms: int | None
    ) -> bool:
        """In place of this version; False, and nothing changes, if it is another by now."""

    async def drop_tokens(self, user: str, provider: str, version: int | None = None) -> bool:
        """Forget them, or this version of them."""

    async def set_state(self, user: str, provider: str, state: State, *, now_ms: int) -> None: ...

    async def integrations(self, user: str) -> list[Integration]: ...


class Jobs(Protocol):
    """Work to be done, each piece once. Every call may raise RecordsUnavailable."""

    async def put_job(self, kind: str, user: str, provider: str, *, id: str, cause: str, now_ms: int) -> bool:
        """Write it down; False if there was one of this `cause`."""

    async def take_job(self, *, now_ms: int, lease_ms: int) -> Job | None:
        """The one that is due for longest; nobody else is given it for so long."""

    async def note_progress(self, job: Job, progress: Mapping[str, Any], *, now_ms: int, lease_ms: int) -> bool:
        """How far it is, and it stays whose turn it is. False if somebody else has it by now: then leave it."""

    async def close_job(self, job: Job, state: JobState, *, due_ms: int, error: str | None, now_ms: int) -> bool:
        """How it ended, this time. False, and nothing changes, if somebody else has it by now."""

    async def again_job(self, id: str, *, now_ms: int) -> bool:
        """Do it from now on; False if it is not a dead letter."""

    async def find_job(self, id: str) -> Job | None: ...

    async def count_jobs(self) -> dict[JobState, int]:
        """How many there are, by state; all states."""

    async def list_jobs(self, *, state: JobState | None, user: str | None, count: int) -> list[Job]:
        """The newest so many, newest first."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What somebody outside answered. Names of fields are in small letters."""

    status: int
    fields: Mapping[str, str]
    body: bytes


class NoReply(Exception):
    """There was none, or none that may be read; the message says why, without the address."""


class Calls(Protocol):
    """Asks servers outside, each time for so long and so much at most, following nothing."""

    async def call(
        self, url: str, *, fields: Mapping[str, str], form: Mapping[str, str] | None = None, bytes_max: int = 65_536
    ) -> Reply:
        """GET, or POST of a form. Raises NoReply."""


class Discovers(Protocol):
    """Completes what is known of a provider."""

    async def known(self, provider: Provider) -> tuple[Provider, bool]:
        """With its addresses, and whether its answers always say `iss`. Raises SignInUnavailable."""


class LendsTokens(Protocol):
    """Calls in somebody's name; implemented by the flow that keeps their tokens."""

    async def access(self, user: str, provider: Provider, *, fresh: bool = False) -> Secret:
        """A token that is good for now; `fresh`: another than before. Raises NotConnected, SignInUnavailable.

        Raises RecordsUnavailable.
        """


class KeepsTokens(Protocol):
    """Puts what a provider gave where it is lent from."""

    async def keep(self, user: str, provider: Provider, given: Tokens) -> None:
        """In place of what there was. Raises RecordsUnavailable."""


class CallsInTheirName(Protocol):
    """Who has signed in behind a caller, and what an upstream is told to act in their name."""

    async def user_of(self, caller: Caller) -> User | None:
        """None where nobody has, or it is not known which of several. Raises RecordsUnavailable."""

    async def field(self, caller: Caller, provider: str) -> tuple[str, Secret]:
        """Raises NotConnected, SignInUnavailable, RecordsUnavailable."""
