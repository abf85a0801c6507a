"""Which server is asked next: told as a table of what happened and what follows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.health import Rotation
from gateway.core.routes import Ejection, Server

A, B, C = (Server("http", f"10.0.0.{number}", 80) for number in (1, 2, 3))
SERVERS = {"A": A, "B": B, "C": C, "-": None}
EJECTION = Ejection(failures=2, seconds=1.0, seconds_max=5.0)

Step = tuple[float, str, str]


def play(servers: str, steps: list[Step]) -> None:
    """Each step: when, what happens to whom (or `pick`, `pick-A` to avoid A), and what must follow.

    A small `t` among the servers: without trials.
    """
    named = tuple(server for name in servers if (server := SERVERS.get(name)))
    rotation = Rotation(named, EJECTION, trials="t" not in servers)
    for now, what, then in steps:
        verb, _, whom = what.partition("-")
        server = SERVERS.get(whom)
        if verb == "pick":
            found = rotation.pick(now, (server,) if server else ())
            assert found == SERVERS[then], f"at {now}: {what}"
        elif verb == "wait":
            assert rotation.retry_after(now) == pytest.approx(float(then)), f"at {now}: {what}"
        elif verb == "healthy":
            assert server is not None
            assert rotation.healthy(server, now) is (then == "yes"), f"at {now}: {what}"
        elif server is not None and verb == "failed":
            rotation.unreachable(server, now)
        elif server is not None and verb == "misbehaved":
            rotation.misbehaved(server, now)
        elif server is not None and verb == "succeeded":
            rotation.succeeded(server)
        else:
            raise AssertionError(what)


def both_fail(now: float, whom: str) -> list[Step]:
    """It cannot be reached, twice."""
    return [(now, f"failed-{whom}", ""), (now, f"failed-{whom}", "")]


def misbehaves(now: float, whom: str, times: int = 2) -> list[Step]:
    return [(now, f"misbehaved-{whom}", "")] * times


def test_servers_that_are_left_out_are_counted_until_they_succeed() -> None:
    rotation = Rotation((A, B, C), EJECTION)
    rotation.unreachable(A, 0)
    assert rotation.left_out() == 0
    rotation.unreachable(A, 0)
    rotation.misbehaved(B, 0)
    rotation.misbehaved(B, 0)
    assert rotation.left_out() == 2
    rotation.succeeded(A)
    assert rotation.left_out() == 1


def test_healthy_servers_take_turns() -> None:
    play("ABC", [(0, "pick", "A"), (0, "pick", "B"), (9, "pick", "C"), (9, "pick", "A"), (9, "wait", "0")])


def test_one_server_is_asked_every_time() -> None:
    play("A", [(0, "pick", "A"), (0, "pick", "A")])


def test_who_is_avoided_is_passed_over_and_keeps_its_turn() -> None:
    play("AB", [(0, "pick-A", "B"), (0, "pick", "A"), (0, "pick-A", "B"), (0, "pick-B", "A")])


def test_none_is_left_if_all_are_avoided_though_all_are_healthy() -> None:
    play("A", [(0, "pick-A", "-"), (0, "wait", "0"), (0, "pick", "A")])


def test_a_server_is_left_out_after_so_many_failures_in_a_row_and_not_before() -> None:
    play("AB", [
        (0, "failed-A", ""), (0, "healthy-A", "yes"), (0, "pick", "A"), (0, "pick", "B"),
        (0, "failed-A", ""), (0, "healthy-A", "no"), (0, "pick", "B"), (0, "pick", "B"),
    ])  # fmt: skip


def test_failures_that_are_not_in_a_row_do_not_add_up() -> None:
    play("A", [(0, "failed-A", ""), (0, "succeeded-A", ""), (0, "failed-A", ""), (0, "pick", "A")])


def test_it_is_left_out_for_so_long_and_no_longer() -> None:
    play("A", [
        *both_fail(10, "A"), (10, "pick", "-"), (10, "wait", "1"), (10.75, "wait", "0.25"), (10.99, "pick", "-"),
        (11, "healthy-A", "yes"), (11, "wait", "0"), (11, "pick", "A"),
    ])  # fmt: skip


def test_one_request_may_try_it_and_no_second_one() -> None:
    play("AB", [*both_fail(0, "A"), (1, "pick", "A"), (1, "pick", "B"), (1, "pick", "B"), (1, "healthy-A", "no")])
    play("A", [*both_fail(0, "A"), (1, "pick", "A"), (1, "pick", "-"), (1.5, "wait", "0.5")])


def test_a_trial_of_which_nobody_hears_is_followed_by_another() -> None:
    play("A", [*both_fail(0, "A"), (1, "pick", "A"), (1.99, "pick", "-"), (2, "pick", "A"), (2, "pick", "-")])


def test_a_trial_that_succeeds_brings_it_back_and_everything_is_forgotten() -> None:
    play("A", [
        *both_fail(0, "A"), (1, "pick", "A"), (1, "succeeded-A", ""), (1, "pick", "A"), (1, "pick", "A"),
        (1, "failed-A", ""), (1, "pick", "A"), (1, "failed-A", ""), (1, "wait", "1"),
    ])  # fmt: skip


def test_each_further_failure_doubles_the_time_up_to_the_bound() -> None:
    steps, now = both_fail(0, "A"), 0.0
    for seconds in (1, 2, 4, 5, 5, 5):
        steps += [(now, "wait", str(seconds)), (now + seconds - 0.01, "pick", "-"), (now + seconds, "pick", "A")]
        now += seconds
        steps.append((now, "failed-A", ""))
    play("A", steps)


def test_requests_that_fail_together_are_one_outage() -> None:
    play("A", [*both_fail(0, "A"), *both_fail(0, "A"), *both_fail(0.5, "A"), (0.5, "wait", "0.5"), (1, "pick", "A")])


def test_only_the_trial_itself_counts_while_it_is_left_out() -> None:
    play("A", [
        *both_fail(0, "A"), (1, "pick", "A"), (1, "failed-A", ""), (1, "wait", "2"),
        (1, "failed-A", ""), (1, "wait", "2"), (3, "pick", "A"), (3, "failed-A", ""), (3, "wait", "4"),
    ])  # fmt: skip


def test_a_late_failure_counts_if_nobody_tried_meanwhile() -> None:
    play("A", [*both_fail(0, "A"), (1.5, "failed-A", ""), (1.5, "wait", "2")])


def test_a_late_success_brings_it_back() -> None:
    play("A", [*both_fail(0, "A"), (0.5, "succeeded-A", ""), (0.5, "pick", "A"), (0.5, "wait", "0")])


def test_the_wait_is_for_the_first_that_may_be_tried() -> None:
    play("AB", [*both_fail(0, "A"), (0, "wait", "0"), *both_fail(0.25, "B"), (0.5, "wait", "0.5"), (0.5, "pick", "-")])


def test_a_server_that_stays_away_for_years_breaks_nothing() -> None:
    rotation = Rotation((A,), EJECTION)
    now = 0.0
    for _ in range(3000):
        rotation.unreachable(A, now)
        now += 10
    assert rotation.retry_after(now - 10) == 5.0


# --- misbehaviour -----------------------------------------------------------------------------------------------------


def test_a_server_that_misbehaves_is_left_out_while_another_is_in() -> None:
    play("AB", [
        *misbehaves(0, "A", 1), (0, "healthy-A", "yes"), *misbehaves(0, "A", 1), (0, "healthy-A", "no"),
        (0, "pick", "B"), (0, "pick", "B"), (1, "pick", "A"), (1, "pick", "B"), (1, "misbehaved-A", ""),
        (2.99, "pick", "B"), (2.99, "pick", "B"), (3, "pick", "A"),
    ])  # fmt: skip


def test_the_only_server_stays_in_however_often_it_misbehaves() -> None:
    play("A", [*misbehaves(0, "A", 9), (0, "healthy-A", "yes"), (0, "wait", "0"), (0, "pick", "A"), (0, "pick", "A")])
    play("At", [*misbehaves(0, "A", 9), (0, "healthy-A", "yes"), (0, "wait", "0"), (0, "pick", "A"), (0, "pick", "A")])


def test_the_last_server_that_is_in_stays_in_until_another_is_back() -> None:
    play("AB", [
        *misbehaves(0, "A"), *misbehaves(0, "B", 9), (0, "pick", "B"), (0, "pick", "B"), (0, "wait", "0"),
        (0, "succeeded-A", ""), (0, "healthy-B", "yes"), (0, "misbehaved-B", ""), (0, "healthy-B", "no"),
    ])  # fmt: skip


def test_who_misbehaved_is_asked_when_nobody_else_can_be_reached() -> None:
    play("ABC", [
        *misbehaves(0, "A"), *misbehaves(0, "B"), (0, "pick", "C"), (0, "pick", "C"), *both_fail(0, "C"),
        (0, "pick", "A"), (0, "pick", "B"), (0, "pick", "A"), (0, "wait", "0"), (0, "pick-A", "B"),
    ])  # fmt: skip


def test_who_misbehaved_is_asked_instead_of_one_that_is_avoided() -> None:
    play("AB", [*misbehaves(0, "A"), (0, "pick-B", "A"), (0, "pick", "B"), (0, "pick", "B")])


def test_who_misbehaved_and_is_asked_all_the_same_can_turn_out_to_be_dead() -> None:
    play("AB", [
        *misbehaves(0, "A"), *both_fail(0, "B"), (0, "pick", "A"), *both_fail(0.5, "A"), (0.5, "pick", "-"),
        (0.5, "wait", "0.5"), (1, "pick", "B"), (1.5, "pick", "A"),
    ])  # fmt: skip


def test_a_dead_server_whose_trial_misbehaves_was_reached() -> None:
    play("A", [*both_fail(0, "A"), (1, "pick", "A"), (1, "misbehaved-A", ""), (1, "pick", "A"), (1, "pick", "A")])


def test_failures_of_both_kinds_add_up_and_only_the_one_kind_leaves_nobody() -> None:
    play("AB", [(0, "misbehaved-A", ""), (0, "failed-A", ""), (0, "pick", "B"), (0, "pick", "B")])
    play("A", [(0, "failed-A", ""), (0, "misbehaved-A", ""), (0, "failed-A", ""), (0, "pick", "A")])
    play("At", [(0, "failed-A", ""), (0, "misbehaved-A", ""), (0, "failed-A", ""), (0, "pick", "-")])


@given(
    st.integers(1, 3),
    st.lists(
        st.tuples(st.sampled_from(["pick", "failed", "misbehaved", "succeeded"]), st.integers(0, 2), st.floats(0, 3)),
        max_size=40,
    ),
)
def test_whatever_happens_every_server_is_asked_again_within_the_bound(
    count: int, events: list[tuple[str, int, float]]
) -> None:
    servers = (A, B, C)[:count]
    rotation = Rotation(servers, EJECTION)
    now, unreachable = 100.0, dict.fromkeys(servers, 0)
    for what, which, passed in events:
        now += passed
        server = servers[which % count]
        healthy = [server for server in servers if rotation.healthy(server, now)]
        if what == "pick":
            picked = rotation.pick(now)
            assert not healthy or picked in healthy
            assert picked or all(count >= EJECTION.failures for count in unreachable.values())
        elif what == "failed":
            rotation.unreachable(server, now)
            unreachable[server] += 1
        elif what == "misbehaved":
            before = rotation.retry_after(now)
            rotation.misbehaved(server, now)
            assert rotation.retry_after(now) <= before  # it takes nobody's upstream away
        else:
            rotation.succeeded(server)
            unreachable[server] = 0
            assert rotation.healthy(server, now)
        wait = rotation.retry_after(now)
        assert 0 <= wait <= EJECTION.seconds_max
        assert wait == 0 or not any(rotation.healthy(server, now) for server in servers)
    later = now + EJECTION.seconds_max
    assert {rotation.pick(later) for _ in servers} == set(servers)
