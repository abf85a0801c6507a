"""Work that is done after somebody signed in, and goes on wherever it was cut off."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from gateway.core.patience import doubled_ms

JobState = Literal["waiting", "running", "done", "failed"]
STATES: tuple[JobState, ...] = get_args(JobState)
GIVEN_UP_MS = 3 * 86_400_000
"""For how long a job is tried before it is a dead letter."""
_FIRST_MS, _LONGEST_MS = 5_000, 3_600_000


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work, and how far it has come. `turn` rises each time it is taken."""

    id: str
    kind: str
    user: str
    provider: str
    state: JobState
    tries: int
    turn: int
    due_ms: int
    since_ms: int
    created_ms: int
    changed_ms: int
    progress: Mapping[str, Any]
    error: str | None


class GiveUp(Exception):
    """It will not work however often it is tried. The message says why, without anything secret or personal."""


class TryLater(Exception):
    """It did not work now; in so many seconds it may."""

    def __init__(self, why: str, seconds: float = 0.0) -> None:
        super().__init__(why)
        self.seconds = seconds


def next_try_ms(job: Job, *, now_ms: int, wanted_ms: int = 0) -> int | None:
    """When one that failed is tried again; not before it was `wanted`; None once it is given up."""
    due = now_ms + max(doubled_ms(job.tries, first_ms=_FIRST_MS, longest_ms=_LONGEST_MS), min(wanted_ms, _LONGEST_MS))
    return due if due < job.since_ms + GIVEN_UP_MS else None
