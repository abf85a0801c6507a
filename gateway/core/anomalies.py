"""When spending, or a count, is not as it usually is: compared with its own history, by the hour of the week.

Of an account some two hundred numbers are kept (`Habit`): in which hours of the week it spends, the most that it ever
spent in an hour (which fades in half a year), what a day and a week usually come to. Nothing here reads a clock; hours
are counted since 1970. What is kept can be put away as text and taken up again anywhere.

Five things are said of an account, each only with enough evidence, and nothing of less than `least`
(in an hour; of a leak, in a week):

- **new**: it is not known yet (a week, and 24 hours in which it spent), and spends two and a half times what any
  newcomer of late spent in an hour (`Newcomers`), or three times that in a day;
- **sudden**: four times (`factor`) the most of any hour before; eight times where there were only 24; or, in
  several large hours, two and a half times the most of any day. If the logarithms of an account's hours vary by 0.6,
  which is a lot, its maximum of 500 hours lies near exp(3 x 0.6) of the median, so this is 5.3 deviations away:
  less than once in a million hours;
- **odd hours**: three hours in which it never spends, one after the other, with half a usual day in them. That an hour
  of the week (or of every day) is quiet is believed only if, by how much it spends at all, six uses of it and its
  neighbours should have been seen: by chance that is e^-6, and three in a row are needed. No rhythm, no odd hours;
- **leak**: two days on which the seven days before come to 1.7 times what they usually do, and to five times of how
  much they usually differ. What grows by less than three percent a day moves its own line along;
- **woke**: nothing for 30 days, and then, within two days, twice the most of any hour before, or 2.5
  usual days in one.

So that an attack does not become the habit: what is learned at once is bounded (a maximum at most doubles).

Counts of the whole gateway (`Rhythm`) are simpler: the mean of each hour of the week, and the highest hour of all while
there are not two weeks of it. A surge is `factor` times that, and at least `least`.
"""

import json
from math import log
from typing import Literal

HOUR_MS = 3_600_000
WEEK_HOURS = 168
DAY_HOURS = 24
_FIRST = 72  # 1970 began on a Thursday; hour 0 of a week is Monday's first
_FADES_WEEKS = 8
_FADE = 0.5 ** (1 / _FADES_WEEKS)
_PEAK_FADE = 0.5 ** (1 / 26)
_KNOWN_HOURS, _KNOWN_USES = 7 * DAY_HOURS, 24
_EVIDENCE, _QUIET = 6.0, 0.06
_ODD_HOURS = 3
_DAY_SHARE = 0.625
_MANY_HOURS = 5000
_ASLEEP_HOURS, _AWAKE_HOURS = 30 * DAY_HOURS, 48
_LEAK, _LEAK_DAYS, _LEAK_AFTER_DAYS, _LEAK_ACTIVE = log(1.7), 2, 28, 4

Oddity = Literal["new", "sudden", "odd hours", "leak", "woke"]


def hour_of_week(hour: int) -> int:
    return (hour + _FIRST) % WEEK_HOURS


class Newcomers:
    """How much the most of those spend in an hour who are new: what is sane for one of whom nothing is known."""

    def __init__(self, high: float = 0.0, hours: int = 0) -> None:
        self.high = high
        self.hours = hours

    def learn(self, micros: int) -> None:
        """A newcomer's hour."""
        self.hours += 1
        self.high = max(self.high * 0.9999, min(micros, 2 * self.high or micros))

    def sane(self, least: int) -> float:
        """In an hour, if nothing below `least` matters. While hardly anybody ever came, more is sane."""
        return max((4 if self.hours >= _MANY_HOURS else 200) * least, 2.5 * self.high)

    def packed(self) -> str:
        """As text."""
        return json.dumps([round(self.high), self.hours])

    @classmethod
    def unpacked(cls, text: str) -> "Newcomers":
        return cls(*json.loads(text))


class Habit:
    """How one account spends. `learn` takes hours that are over, in their order; `judge` asks about one that is not."""

    __slots__ = (
        "active", "began", "day", "day_peak", "days", "fill", "last", "leaking", "odd", "odd_last", "odd_sum", "peak",
        "today", "uses", "usual_day", "week", "week_dev", "week_log", "weeks", "woke",
    )  # fmt: skip

    def __init__(self, hour: int) -> None:
        self.began = self.last = hour
        self.week = (hour + _FIRST) // WEEK_HOURS
        self.weeks = 0.0
        self.active = [0.0] * WEEK_HOURS
        self.fill = 0.0
        """The sum of `active`."""
        self.uses = 0
        self.peak = 0.0
        self.day = hour // DAY_HOURS
        self.today = 0
        self.days: list[int] = []
        self.usual_day, self.day_peak = 0.0, 0.0
        self.week_log, self.week_dev = 0.0, 0.0
        self.leaking = 0
        self.odd, self.odd_sum, self.odd_last = 0, 0, 0
        self.woke = -_AWAKE_HOURS

    # --- learning -----------------------------------------------------------------------------------------------------

    def learn(self, hour: int, micros: int) -> None:
        """What was spent in an hour: more than nothing."""
        self._turn(hour)
        if self.uses and hour - self.last >= _ASLEEP_HOURS:
            self.woke = hour
        if self._is_odd(hour):
            goes_on = hour - self.odd_last <= 2
            self.odd, self.odd_sum = (self.odd + 1, self.odd_sum + micros) if goes_on else (1, micros)
            self.odd_last = hour
        if micros * 8 >= self.peak or micros * 8 >= self.usual_day:
            self.active[hour_of_week(hour)] += 1
            self.fill += 1
        self.peak = max(self.peak, min(micros, 2 * self.peak or micros))
        self.today += micros
        self.uses += 1
        self.last = hour

    def _turn(self, hour: int) -> None:
        """Days and weeks that are over."""
        week = (hour + _FIRST) // WEEK_HOURS
        if week > self.week:
            for _ in range(min(week - self.week, 104)):
                self.weeks = (self.weeks + 1) * _FADE
            fade = _FADE ** (week - self.week)
            self.active = [one * fade for one in self.active]
            self.fill *= fade
            self.peak *= _PEAK_FADE ** (week - self.week)
            self.day_peak *= _PEAK_FADE ** (week - self.week)
            self.week = week
        day = hour // DAY_HOURS
        for _ in range(min(day - self.day, 14)):
            self._end_day()
        self.day = max(self.day, day)

    def _end_day(self) -> None:
        if self.today:
            self.day_peak = max(self.day_peak, min(self.today, 2 * self.day_peak or self.today))
            self.usual_day = (
                self.today if not self.usual_day else 0.9 * self.usual_day + 0.1 * min(self.today, 2 * self.usual_day)
            )
        self.days = [*self.days[-6:], self.today]
        self.today = 0
        total = sum(self.days)
        if not total or len(self.days) < 7:
            return
        now = log(total)
        if not self.week_log:
            self.week_log, self.week_dev = now, 0.5
            return
        off = now - self.week_log
        leaks = off > max(_LEAK, 5 * self.week_dev) and self.day - self.began // DAY_HOURS >= _LEAK_AFTER_DAYS
        leaks = leaks and sum(1 for one in self.days if one) >= _LEAK_ACTIVE
        self.leaking = self.leaking + 1 if leaks else 0
        self.week_dev += 0.05 * (min(abs(off), 1.0) - self.week_dev)
        self.week_log += 0.1 * max(-0.1, min(0.3, off))

    def _is_odd(self, hour: int) -> bool:
        """Whether it never spends then, and that means something."""
        place = hour_of_week(hour)
        near = (place - 1, place, (place + 1) % WEEK_HOURS)
        seen = sum(self.active[one] for one in near)
        if 3 * self.fill / WEEK_HOURS >= _EVIDENCE and seen < _QUIET * 3 * self.weeks:
            return True
        seen = sum(sum(self.active[one % DAY_HOURS :: DAY_HOURS]) for one in near)
        return 3 * self.fill / DAY_HOURS >= _EVIDENCE and seen < _QUIET * 3 * self.weeks

    # --- judging ------------------------------------------------------------------------------------------------------

    @property
    def is_known(self) -> bool:
        """Whether there is enough to go by."""
        return self.uses >= _KNOWN_USES and self.last - self.began >= _KNOWN_HOURS

    def judge(self, hour: int, micros: int, *, least: int, factor: float, sane: float) -> Oddity | None:
        """What is odd about so much in an hour that may go on; None if nothing is. `sane` is for newcomers."""
        if self.leaking >= _LEAK_DAYS and sum(self.days) >= least:
            return "leak"
        if micros < least:
            return None
        today = self.today if hour // DAY_HOURS == self.day else 0
        if not self.is_known:
            return "new" if micros > sane or today + micros > 3 * sane else None
        peak = self.peak * _PEAK_FADE ** max(0, (hour + _FIRST) // WEEK_HOURS - self.week)
        sudden = factor * (1 + _KNOWN_USES / self.uses)
        if micros > sudden * peak:
            return "sudden"
        if min(2 * today, 2 * micros) > peak and today + micros > _DAY_SHARE * sudden * self.day_peak > 0:
            return "sudden"
        asleep = hour - self.last >= _ASLEEP_HOURS or hour - self.woke < _AWAKE_HOURS
        if asleep and (micros > 2 * peak or today + micros > 2.5 * self.usual_day):
            return "woke"
        goes_on = hour - self.odd_last <= 2 and self.odd + 1 >= _ODD_HOURS
        if goes_on and self._is_odd(hour) and self.odd_sum + micros >= 0.5 * self.usual_day:
            return "odd hours"
        return None

    # --- put away -----------------------------------------------------------------------------------------------------

    def packed(self) -> str:
        """As text, of some 700 characters. Numbers are rounded to what matters."""
        state = {name: _rounded(getattr(self, name)) for name in self.__slots__ if name != "active"}
        sparse = {place: round(one, 2) for place, one in enumerate(self.active) if one >= 0.01}
        return json.dumps({**state, "active": sparse}, separators=(",", ":"))

    @classmethod
    def unpacked(cls, text: str) -> "Habit":
        told = json.loads(text)
        habit = cls(told["began"])
        sparse = told.pop("active")
        for name, value in told.items():
            setattr(habit, name, value)
        for place, one in sparse.items():
            habit.active[int(place)] = one
        return habit


def _rounded(value: object) -> object:
    return round(value, 4) if isinstance(value, float) else value


class Rhythm:
    """How many there are of something in each hour of the week."""

    __slots__ = ("high", "hours", "last", "means")

    def __init__(self, last: int = 0) -> None:
        self.last = last
        """The hour that was learned last."""
        self.means = [0.0] * WEEK_HOURS
        self.hours = 0
        self.high = 0.0

    def learn(self, hour: int, number: int) -> None:
        """Each hour in its order, those without any among them."""
        place = hour_of_week(hour)
        usual = self.usual(hour)
        number = min(number, int(3 * usual) + 10) if self.hours >= DAY_HOURS else number
        self.means[place] += (number - self.means[place]) * (0.3 if self.hours >= WEEK_HOURS else 1.0)
        self.high = max(self.high * 0.999, number)
        self.hours += 1
        self.last = hour

    def usual(self, hour: int) -> float:
        """What is to be expected then: the most of that hour of the week and its neighbours."""
        if self.hours < 2 * WEEK_HOURS:
            return self.high
        place = hour_of_week(hour)
        return max(self.means[place - 1], self.means[place], self.means[(place + 1) % WEEK_HOURS])

    def is_surge(self, hour: int, number: float, *, least: int, factor: float) -> bool:
        """Whether so many in an hour are too many."""
        usual = self.usual(hour)
        return number >= least and number > factor * usual and number > usual + 6 * usual**0.5

    def packed(self) -> str:
        """As text."""
        means = [round(one, 1) for one in self.means]
        return json.dumps([self.last, self.hours, round(self.high, 1), means], separators=(",", ":"))

    @classmethod
    def unpacked(cls, text: str) -> "Rhythm":
        rhythm = cls()
        rhythm.last, rhythm.hours, rhythm.high, rhythm.means = json.loads(text)
        return rhythm
