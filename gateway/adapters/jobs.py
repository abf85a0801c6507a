"""Jobs, in the records of either kind. Implements `ports.Jobs`.

Who takes a job gets a turn and a lease, in one statement; whatever is written of a job is written by its turn alone. So
of two who believe that they have it, only the later one changes anything, and the earlier one learns that it has lost
it. A database that is shared passes over a row that somebody else is just taking.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from gateway.core.jobs import STATES, Job, JobState

Ask = Callable[..., Awaitable[Sequence[Any]]]
_COLUMNS = "id, kind, user_id, provider, state, tries, turn, due, since, created, changed, progress, error"
_PUT = """INSERT INTO sync_jobs (id, kind, cause, user_id, provider, state, tries, turn, due, since, created, changed,
progress) VALUES ($1, $2, $3, $4, $5, 'waiting', 0, 0, $6, $6, $6, $6, '{}') ON CONFLICT DO NOTHING RETURNING id"""
_NEXT = "SELECT id FROM sync_jobs WHERE state IN ('waiting', 'running') AND due <= $1 ORDER BY due, id LIMIT 1"
_TAKE = f"""UPDATE sync_jobs SET state = 'running', tries = tries + 1, turn = turn + 1, due = $2, changed = $1
WHERE id = ({_NEXT} {{}}) AND state IN ('waiting', 'running') AND due <= $1
RETURNING {_COLUMNS}"""  # noqa: S608 -- the names of columns, of our own
_NOTE = """UPDATE sync_jobs SET progress = $3, due = $4, changed = $5, since = $5, tries = 1
WHERE id = $1 AND turn = $2 AND state = 'running' RETURNING id"""
_CLOSE = """UPDATE sync_jobs SET state = $3, due = $4, error = $5, changed = $6
WHERE id = $1 AND turn = $2 AND state = 'running' RETURNING id"""
_AGAIN = """UPDATE sync_jobs SET state = 'waiting', due = $2, since = $2, tries = 0, changed = $2
WHERE id = $1 AND state = 'failed' RETURNING id"""


class JobBook:
    """`shared`: others take jobs out of the same database at the same time."""

    def __init__(self, ask: Ask, *, shared: bool) -> None:
        self._ask = ask
        self._take = _TAKE.format("FOR UPDATE SKIP LOCKED" if shared else "")

    async def put_job(self, kind: str, user: str, provider: str, *, id: str, cause: str, now_ms: int) -> bool:
        return bool(await self._ask(_PUT, id, kind, cause, user, provider, now_ms))

    async def take_job(self, *, now_ms: int, lease_ms: int) -> Job | None:
        if not await self._ask(_NEXT, now_ms):
            return None  # without a write, which would wait for others
        for row in await self._ask(self._take, now_ms, now_ms + lease_ms):
            return _job(row)
        return None

    async def note_progress(self, job: Job, progress: Mapping[str, Any], *, now_ms: int, lease_ms: int) -> bool:
        values = (job.id, job.turn, json.dumps(dict(progress)), now_ms + lease_ms, now_ms)
        return bool(await self._ask(_NOTE, *values))

    async def close_job(self, job: Job, state: JobState, *, due_ms: int, error: str | None, now_ms: int) -> bool:
        return bool(await self._ask(_CLOSE, job.id, job.turn, state, due_ms, error, now_ms))

    async def again_job(self, id: str, *, now_ms: int) -> bool:
        return bool(await self._ask(_AGAIN, id, now_ms))

    async def count_jobs(self) -> dict[JobState, int]:
        rows = await self._ask("SELECT state, count(*) FROM sync_jobs GROUP BY state")
        return {**dict.fromkeys(STATES, 0), **{row[0]: row[1] for row in rows}}

    async def find_job(self, id: str) -> Job | None:
        for row in await self._ask(f"SELECT {_COLUMNS} FROM sync_jobs WHERE id = $1", id):  # noqa: S608
            return _job(row)
        return None

    async def list_jobs(self, *, state: JobState | None, user: str | None, count: int) -> list[Job]:
        query = f"""SELECT {_COLUMNS} FROM sync_jobs WHERE ($1 = '' OR state = $1) AND ($2 = '' OR user_id = $2)
ORDER BY created DESC, id DESC LIMIT $3"""  # noqa: S608
        return [_job(row) for row in await self._ask(query, state or "", user or "", count)]


def _job(row: Sequence[Any]) -> Job:
    id, kind, user, provider, state, tries, turn, due, since, created, changed, progress, error = row
    times = (due, since, created, changed)
    return Job(id, kind, user, provider, state, tries, turn, *times, json.loads(progress), error)
