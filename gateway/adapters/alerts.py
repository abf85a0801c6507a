"""Alerts, and what they are decided by, in the records of either kind. Implements `ports.Alerts`, `ports.Counted` and
`ports.AlertSources`.

That one alert is open for each name and subject is the database's doing (a unique index), and so is that an alert and
the message about it are one step (a trigger). So it does not matter how many processes and hosts see the same thing.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from gateway.core.alerts import WORDS, Alert, Name, Sign

Ask = Callable[..., Awaitable[Sequence[Any]]]
_ROWS_MAX = 100
_COLUMNS = "id, name, subject, severity, facts, opened, seen, ended, told, told_at, acked"
_NOTE = """INSERT INTO alert (name, subject, severity, facts, opened, seen, told, told_at)
VALUES ($1, $2, $3, $4, $5, $7, $6, $5)
ON CONFLICT (name, subject) WHERE ended IS NULL DO UPDATE SET facts = excluded.facts,
seen = CASE WHEN alert.seen > excluded.seen THEN alert.seen ELSE excluded.seen END"""
_REMIND = """UPDATE alert SET told = told + 1, told_at = $1
WHERE ended IS NULL AND acked IS NULL AND (told_at <= $2 OR told = 0)
AND NOT EXISTS (SELECT 1 FROM alert_mute WHERE alert_mute.name = alert.name AND alert_mute.until > $1)"""
_CLAIM = """INSERT INTO alert_watch (one, who, until) VALUES (1, $1, $2)
ON CONFLICT (one) DO UPDATE SET who = excluded.who, until = excluded.until
WHERE alert_watch.who = excluded.who OR alert_watch.until <= $3 RETURNING who"""
_FORGET = "DELETE FROM alert_habit WHERE changed < $1 AND account NOT LIKE '=%'"
_FORGET_MORE = """DELETE FROM alert_habit WHERE changed <=
(SELECT changed FROM alert_habit WHERE account NOT LIKE '=%' ORDER BY changed DESC LIMIT 1 OFFSET $1)
AND account NOT LIKE '=%'"""
_LATE = """SELECT CAST(count(CASE WHEN state = 'failed' THEN 1 END) AS BIGINT),
CAST(coalesce(max(CASE WHEN state = 'waiting' THEN $1 - coalesce(since, created) END), 0) AS BIGINT)
FROM outgoing WHERE ($2 = 1 AND type LIKE 'alert.%') OR ($3 = 1 AND type NOT LIKE 'alert.%')"""


class AlertBook:
    """Keeps them."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def note(self, sign: Sign, *, now_ms: int, tells: bool) -> None:
        about = (sign.name, sign.subject, WORDS[sign.name][0], json.dumps(dict(sign.facts)))
        await self._ask(_NOTE, *about, now_ms, int(tells), now_ms + sign.holds_ms)

    async def remind(self, *, now_ms: int, before_ms: int) -> None:
        await self._ask(_REMIND, now_ms, before_ms)

    async def end(self, *, now_ms: int, before_ms: int) -> None:
        await self._ask("UPDATE alert SET ended = $1 WHERE ended IS NULL AND seen < $2", now_ms, before_ms)

    async def found(self, *, open_only: bool, count: int) -> list[Alert]:
        query = f"""SELECT {_COLUMNS} FROM alert WHERE ended IS NULL OR $1 = 0
ORDER BY opened DESC, id LIMIT $2"""  # noqa: S608 -- the names of columns, of our own
        return [_alert(row) for row in await self._ask(query, int(open_only), count)]

    async def open_by_name(self) -> dict[Name, int]:
        rows = await self._ask("SELECT name, count(*) FROM alert WHERE ended IS NULL GROUP BY name")
        return {row[0]: row[1] for row in rows}

    async def is_open(self, id: str) -> bool:
        return bool(await self._ask("SELECT 1 FROM alert WHERE id = $1 AND ended IS NULL", id))

    async def ack(self, id: str, *, now_ms: int) -> Alert | None:
        query = f"""UPDATE alert SET acked = coalesce(acked, $1) WHERE id = $2 AND ended IS NULL
RETURNING {_COLUMNS}"""  # noqa: S608
        return next((_alert(row) for row in await self._ask(query, now_ms, id)), None)

    async def mute(self, name: Name, *, until_ms: int) -> None:
        await self._ask(
            "INSERT INTO alert_mute VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET until = excluded.until",
            name,
            until_ms,
        )

    async def mutes(self, *, now_ms: int) -> dict[Name, int]:
        return {
            row[0]: row[1] for row in await self._ask("SELECT name, until FROM alert_mute WHERE until > $1", now_ms)
        }

    async def drop(self, *, before_ms: int) -> None:
        await self._ask("DELETE FROM alert WHERE ended < $1", before_ms)

    # --- counted ------------------------------------------------------------------------------------------------------

    async def claim(self, who: str, *, now_ms: int, lease_ms: int) -> bool:
        return bool(await self._ask(_CLAIM, who, now_ms + lease_ms, now_ms))

    async def add_counts(self, moment_ms: int, numbers: Mapping[str, int]) -> None:
        await self._add("alert_count (moment, measure, number)", "(moment, measure)", "number", moment_ms, numbers)

    async def counts(self, *, since_ms: int, until_ms: int) -> dict[str, int]:
        query = """SELECT measure, CAST(sum(number) AS BIGINT) FROM alert_count
WHERE moment >= $1 AND moment < $2 GROUP BY measure"""
        return {row[0]: row[1] for row in await self._ask(query, since_ms, until_ms)}

    async def add_spent(self, hour_ms: int, micros: Mapping[str, int]) -> None:
        await self._add("alert_spend (hour, account, micros)", "(hour, account)", "micros", hour_ms, micros)

    async def _add(self, into: str, key: str, column: str, moment_ms: int, numbers: Mapping[str, int]) -> None:
        """Add to rows, in the same order by everybody, so that any number of processes can."""
        rows = sorted(numbers.items())
        table = into.partition(" ")[0]
        for begin in range(0, len(rows), _ROWS_MAX):
            some = rows[begin : begin + _ROWS_MAX]
            marks = ", ".join(f"($1, ${at}, ${at + 1})" for at in range(2, 2 + 2 * len(some), 2))
            put = f"""INSERT INTO {into} VALUES {marks}
ON CONFLICT {key} DO UPDATE SET {column} = {table}.{column} + excluded.{column}"""  # noqa: S608 -- names of our own
            await self._ask(put, moment_ms, *(value for row in some for value in row))

    async def spent(self, hour_ms: int, *, least: int, after: str, count: int) -> list[tuple[str, int]]:
        query = """SELECT account, micros FROM alert_spend WHERE hour = $1 AND micros >= $2 AND account > $3
ORDER BY account LIMIT $4"""
        return [(row[0], row[1]) for row in await self._ask(query, hour_ms, least, after, count)]

    async def unlearned(self, *, before_ms: int) -> int | None:
        for row in await self._ask("SELECT min(hour) FROM alert_spend WHERE hour < $1", before_ms):
            return None if row[0] is None else int(row[0])
        return None

    async def learned(self, hour_ms: int, accounts: Sequence[str]) -> None:
        for some in _some(accounts):
            marks = ", ".join(f"${at}" for at in range(2, 2 + len(some)))
            query = f"DELETE FROM alert_spend WHERE hour = $1 AND account IN ({marks})"  # noqa: S608
            await self._ask(query, hour_ms, *some)

    async def habits(self, subjects: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for some in _some(subjects):
            marks = ", ".join(f"${at}" for at in range(1, 1 + len(some)))
            query = f"SELECT account, state FROM alert_habit WHERE account IN ({marks})"  # noqa: S608
            found.update({row[0]: row[1] for row in await self._ask(query, *some)})
        return found

    async def keep_habits(self, states: Mapping[str, str], *, now_ms: int) -> None:
        for some in _some(sorted(states)):
            marks = ", ".join(f"(${at}, ${at + 1}, $1)" for at in range(2, 2 + 2 * len(some), 2))
            put = f"""INSERT INTO alert_habit (account, state, changed) VALUES {marks}
ON CONFLICT (account) DO UPDATE SET state = excluded.state, changed = excluded.changed"""  # noqa: S608
            await self._ask(put, now_ms, *(value for one in some for value in (one, states[one])))

    async def forget_counts(self, *, before_ms: int, habits_before_ms: int, habits_max: int) -> None:
        await self._ask("DELETE FROM alert_count WHERE moment < $1", before_ms)
        await self._ask("DELETE FROM alert_spend WHERE hour < $1", before_ms)
        await self._ask(_FORGET, habits_before_ms)
        await self._ask(_FORGET_MORE, habits_max)

    # --- looks --------------------------------------------------------------------------------------------------------

    async def events(self, *, since_ms: int, until_ms: int) -> dict[str, int]:
        query = "SELECT type, count(*) FROM event WHERE received >= $1 AND received < $2 GROUP BY type"
        return {row[0]: row[1] for row in await self._ask(query, since_ms, until_ms)}

    async def late(self, *, now_ms: int, alerts: bool, accounts: bool) -> tuple[int, int]:
        found = await self._ask(_LATE, now_ms, int(alerts), int(accounts))
        return next(((row[0], row[1]) for row in found), (0, 0))

    async def failed_jobs(self) -> int:
        return next((row[0] for row in await self._ask("SELECT count(*) FROM sync_jobs WHERE state = 'failed'")), 0)

    async def devices(self, *, since_ms: int, least: int) -> list[tuple[str, int]]:
        query = """SELECT customer, count(*) FROM licence_restore WHERE at >= $1
GROUP BY customer HAVING count(*) >= $2 ORDER BY count(*) DESC LIMIT 100"""
        return [(row[0], row[1]) for row in await self._ask(query, since_ms, least)]

    async def payments(self, *, since_ms: int, least: int) -> list[tuple[str, int]]:
        query = """SELECT account, count(*) FROM credited WHERE at >= $1
GROUP BY account HAVING count(*) >= $2 ORDER BY count(*) DESC, account LIMIT 100"""
        return [(row[0], row[1]) for row in await self._ask(query, since_ms, least)]

    async def duplicates(self) -> list[tuple[str, int]]:
        query = """SELECT account, count(*) FROM subscription WHERE state IN ('trial', 'active') AND NOT is_over
GROUP BY account, price HAVING count(*) > 1 ORDER BY account LIMIT 100"""
        return [(row[0], row[1]) for row in await self._ask(query)]

    async def unreturned(self, *, before_ms: int) -> list[str]:
        query = """SELECT owner, unit, number FROM payouts WHERE back <> came_back AND changed < $1
ORDER BY owner, unit, number LIMIT 100"""
        return [f"{row[0]}:{row[1]}:{row[2]}" for row in await self._ask(query, before_ms)]


def _some(texts: Sequence[str]) -> list[Sequence[str]]:
    return [texts[begin : begin + _ROWS_MAX] for begin in range(0, len(texts), _ROWS_MAX)]


def _alert(row: Sequence[Any]) -> Alert:
    id, name, subject, severity, facts, *more = row
    return Alert(id, name, subject, severity, json.loads(facts), *more)
