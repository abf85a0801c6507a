"""What is known of people who sign in through a provider."""

from dataclasses import replace

from gateway.core.sign_ins import Profile


def test_what_a_provider_does_not_say_each_time_is_kept_and_no_letters_holds_for_the_address_it_was_said_of() -> None:
    before = Profile("a", "ann@example.org", "Ann", "A1", letters=False)
    assert Profile("a", "ann@example.org", "Anna").after(before) == replace(before, name="Anna")
    moved = Profile("a", "ann@example.com", "Ann").after(before)
    assert moved == Profile("a", "ann@example.com", "Ann", "A1", letters=True)
    assert Profile("a", "ann@example.org").after(moved).letters
