"""Jobs are done: taken one by one, tried again where they fail, and gone on with wherever they were cut off.

Nobody has a job but by a turn, and for a lease. Whoever works on it says how far it is, and by that keeps it; who was
too slow, or was taken for dead, learns there that it is somebody else's by now and leaves it. So a job is never done by
two at once, but for what one of them does between two such moments, which its kind must be able to bear twice. What
fails is tried again after twice as long each time, for three days, and then is a dead letter until an operator, or the
person themselves with a new sign-in, has it tried anew.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gateway.core.jobs import GiveUp, Job, JobState, TryLater, next_try_ms
from gateway.core.refusals import NotConnected, RecordsUnavailable, SignInUnavailable
from gateway.ports import Clock, Jobs

LEASE_MS = 60_000
ROUND_SECONDS = 1.0
AT_ONCE = 4
"""So many of a process are at it, so that a long job keeps none waiting."""

Note = Callable[[Mapping[str, Any]], Awaitable[None]]
Kind = Callable[[Job, Note], Awaitable[None]]
"""Does one kind of job: from its progress on, which it notes as it goes."""


class Lost(Exception):
    """Somebody else has the job by now."""


class Work:
    """Does the jobs of one process."""

    def __init__(self, jobs: Jobs, kinds: Mapping[str, Kind], *, clock: Clock, report: Callable[..., None]) -> None:
        self._jobs = jobs
        self._kinds = kinds
        self._clock = clock
        self._report = report

    async def now(self) -> None:
        """All that is due, one after another; several may be at it. Raises RecordsUnavailable."""
        while (job := await self._jobs.take_job(now_ms=self._clock.now_ms(), lease_ms=LEASE_MS)) is not None:
            await self._do(job)

    async def _do(self, job: Job) -> None:
        async def note(progress: Mapping[str, Any]) -> None:
            now_ms = self._clock.now_ms()
            if not await self._jobs.note_progress(job, progress, now_ms=now_ms, lease_ms=LEASE_MS):
                raise Lost

        try:
            kind = self._kinds.get(job.kind)
            if kind is None:
                raise GiveUp("nobody here does jobs of this kind, or for this provider")
            await kind(job, note)
        except (Lost, RecordsUnavailable):
            return  # somebody's by now, or whoever's it is when its time is over
        except GiveUp as over:
            await self._end(job, None, str(over))
        except NotConnected:
            await self._end(job, None, "its user has to allow it again")
        except (TryLater, SignInUnavailable) as failed:
            later = failed.seconds if isinstance(failed, TryLater) else 0.0
            why = str(failed) if isinstance(failed, TryLater) else "its provider cannot be asked"
            now_ms = self._clock.now_ms()
            await self._end(job, next_try_ms(job, now_ms=now_ms, wanted_ms=int(later * 1000)), why)
        except Exception as bug:
            await self._end(job, next_try_ms(job, now_ms=self._clock.now_ms()), type(bug).__name__)
        else:
            now_ms = self._clock.now_ms()
            await self._jobs.close_job(job, "done", due_ms=now_ms, error=None, now_ms=now_ms)

    async def _end(self, job: Job, due_ms: int | None, why: str) -> None:
        now_ms = self._clock.now_ms()
        state: JobState = "failed" if due_ms is None else "waiting"
        await self._jobs.close_job(job, state, due_ms=due_ms or now_ms, error=why, now_ms=now_ms)
        self._report("a job failed", job=job.id, kind=job.kind, why=why, given_up=due_ms is None)
