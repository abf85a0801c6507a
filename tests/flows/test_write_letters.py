"""Who holds a wallet is written to, by addresses that were proven, until they want no more of it."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args

import pytest

from gateway.adapters.memory import MemoryLedgerStore
from gateway.adapters.people import PeopleBook
from gateway.adapters.sqlite.records import SqliteRecords
from gateway.core import letters, outgoing
from gateway.core.keyring import Keyring
from gateway.core.letters import Letter
from gateway.core.outgoing import Outgoing, Type
from gateway.core.payers import MAIL_PURPOSE
from gateway.core.secrets import Secret
from gateway.core.sign_ins import Profile, opened_profile, sealed_profile
from gateway.flows.follow import Aliases
from gateway.flows.notify import Notify
from gateway.flows.reach import Reach
from gateway.flows.write_letters import WriteLetters
from gateway.ports import NotSent, NotTaken, User
from tests.fakes import FakeClock, SeededRandomness
from tests.flows.test_notify import Receiver

ANN, BOB = "acct_" + "1a" * 16, "acct_" + "2b" * 16
CONTENTS: dict[Type, dict[str, Any]] = {
    "balance.low": {"balance": "0.40 usd", "line": "1.00 usd", "micros": 400_000},
    "cap.near": {"node": ANN, "per": "day", "cap": "5.00 usd", "tell_at": None, "spent": "4.10 usd", "resets_at": None},
    "payment.failed": {"currency": "usd", "micros": 5_000_000, "reason": "declined", "url": "https://pay.example/in_1"},
    "card.expiring": {"card": "visa 4242", "expires": "2034-12"},
    "account.frozen": {"reason": "he is a thief"},
    "auto_top_up.paused": {"reason": "declined"},
    "charge.pending": {
        "currency": "usd",
        "micros": 20_000_000,
        "url": "https://shop.example/-/stripe/confirm?charge=x",
    },
    "charge.failed": {"currency": "usd", "micros": 20_000_000},
    "wallet.joined": {"joined": "acct_" + "3c" * 16, "by": "link"},
}


class Post:
    """Implements `ports.Mails`."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Letter]] = []
        self.refuses: dict[str, NotSent] = {}

    async def mail(self, letter: Letter, to: str) -> None:
        if to in self.refuses:
            raise self.refuses[to]
        self.got.append((to, letter))

    @property
    def receivers(self) -> list[str]:
        return [to for to, _ in self.got]


class Shop:
    def __init__(self, path: Path) -> None:
        self.clock, self.keyring, self.chance = FakeClock(), Keyring([Secret("k" * 40)]), SeededRandomness()
        self.records = SqliteRecords(path, keyring=self.keyring, randomness=self.chance)
        self.post, self.receiver, self.told = Post(), Receiver(), list[str]()
        self.aliases = Aliases(book=self.records.aliases, clock=self.clock, report=lambda *_, **__: None)
        self.people = PeopleBook(self.records.ask)
        self.letters = WriteLetters(
            reaches=Reach(
                payers=self.records.payers, people=self.people, roots=self.aliases, keyring=self.keyring,
                clock=self.clock, randomness=self.chance,
            ),
            mails=self.post, keyring=self.keyring, randomness=self.chance, public_url="https://shop.example",
        )  # fmt: skip
        self.notify = Notify(
            outbox=self.records.outbox, books=MemoryLedgerStore(), sends=self.receiver, secrets=[Secret("s" * 40)],
            line=None, live=False, clock=self.clock, report=lambda what, **more: self.told.append(f"{what} {more}"),
            letters=self.letters,
        )  # fmt: skip

    async def knows(self, account: str, address: str) -> None:
        sealed = self.keyring.seal(MAIL_PURPOSE, address.encode(), nonce=self.chance.bytes(12))
        digest = self.chance.bytes(32)
        await self.records.payers.keep_payer(digest, account=account, pepper_id="0000", now_ms=1, sealed=sealed)

    async def signs_in(self, account: str, address: str, **more: Any) -> None:
        profile = Profile("", address, **more)
        key_id, sealed = sealed_profile(self.keyring, "usr_1", profile, nonce=self.chance.bytes(12))
        user = User("usr_1", account, key_id, sealed)
        await self.people.add_user(user, now_ms=1)
        await self.people.change_user(user, now_ms=1)

    async def happens(self, account: str = ANN) -> None:
        self.clock.pass_seconds(1)
        await self.records.freezes.add_freeze(account, frozen=True, reason="x", now_ms=self.clock.now_ms())
        await self.goes_out()

    async def goes_out(self) -> None:
        await self.notify.deliver()
        await self.notify.write()


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    made = Shop(tmp_path / "records.db")
    await made.records.open()
    yield made
    await made.records.close()


async def test_who_is_known_is_written_to_once_and_the_owner_is_told_besides(shop: Shop) -> None:
    await shop.knows(ANN, "ann@example.org")
    await shop.happens()
    await shop.goes_out()
    assert shop.post.receivers == ["ann@example.org"]
    assert shop.receiver.types == ["account.frozen"]
    await shop.happens(BOB)
    assert shop.post.receivers == ["ann@example.org"], "nobody knows where Bob is"
    states = [(one.channel, one.state) for one in await shop.records.outbox.entries(None, count=9)]
    assert sorted(states) == [("mail", "delivered"), ("webhook", "delivered"), ("webhook", "delivered")]


async def test_an_owner_who_is_away_keeps_no_letter_back_and_it_is_written_once(shop: Shop) -> None:
    await shop.knows(ANN, "ann@example.org")
    shop.receiver.away = True
    await shop.happens()
    shop.clock.pass_seconds(3600)
    await shop.goes_out()
    assert (len(shop.receiver.got), shop.post.receivers) == (2, ["ann@example.org"])


async def test_a_mail_server_that_is_away_is_tried_again_and_keeps_nothing_from_the_owner(shop: Shop) -> None:
    await shop.knows(ANN, "ann@example.org")
    shop.post.refuses["ann@example.org"] = NotSent("the mail server answered 451")
    await shop.happens()
    assert (shop.post.got, shop.receiver.types) == ([], ["account.frozen"])
    shop.post.refuses.clear()
    await shop.goes_out()
    assert shop.post.got == [], "not at once"
    shop.clock.pass_seconds(20)
    await shop.goes_out()
    assert shop.post.receivers == ["ann@example.org"]
    assert "ann@" not in "".join(shop.told)


async def test_an_address_that_is_refused_keeps_nothing_from_others_and_they_get_it_once(shop: Shop) -> None:
    for account, name in ((ANN, "ann"), (ANN, "zoe"), (BOB, "bob")):
        await shop.knows(account, f"{name}@example.org")
    shop.post.refuses["ann@example.org"] = NotTaken("no such box")
    await shop.records.freezes.add_freeze(ANN, frozen=True, reason="x", now_ms=shop.clock.now_ms())
    await shop.happens(BOB)
    assert sorted(shop.post.receivers) == ["bob@example.org", "zoe@example.org"]
    shop.post.refuses.clear()
    shop.clock.pass_seconds(20)
    await shop.goes_out()
    assert shop.post.receivers[2:] == ["ann@example.org"]


async def test_a_wallet_that_was_joined_is_written_to_at_every_address(shop: Shop) -> None:
    await shop.knows(ANN, "ann@example.org")
    await shop.knows(BOB, "bob@example.org")
    await shop.aliases.add(ANN, BOB, "asked")
    await shop.happens(BOB)
    assert sorted(shop.post.receivers) == ["ann@example.org", "bob@example.org"]


async def test_who_wants_no_more_is_forgotten_and_others_are_not(shop: Shop) -> None:
    await shop.knows(ANN, "ann@example.org")
    await shop.knows(ANN, "zoe@example.org")
    await shop.happens()
    link = (dict(shop.post.got)["ann@example.org"].stop or "").partition("?for=")[2]
    assert "ann" not in link
    assert shop.letters.is_ours(link)
    for wrong in ("", "0000", link[:-2], link[:4] + "x" + link[5:], "ffff" + link[4:], "ä" * 30):
        assert not shop.letters.is_ours(wrong)
        assert not await shop.letters.stop(wrong)
    assert await shop.letters.stop(link)
    assert await shop.letters.stop(link), "twice is once"
    await shop.happens()
    assert sorted(shop.post.receivers) == ["ann@example.org", "zoe@example.org", "zoe@example.org"]


async def test_a_letter_for_who_is_forgotten_meanwhile_goes_nowhere(shop: Shop) -> None:
    await shop.knows(ANN, "ann@example.org")
    await shop.records.freezes.add_freeze(ANN, frozen=True, reason="x", now_ms=shop.clock.now_ms())
    await shop.notify.deliver()
    [(digest, _, _)] = await shop.records.payers.addresses_of(ANN)
    await shop.records.payers.forget_address(digest)
    await shop.notify.write()
    assert shop.post.got == []
    assert [one.state for one in await shop.records.outbox.entries(None, count=9)] == ["delivered"] * 2


@pytest.mark.parametrize("type", get_args(Type))
def test_every_message_has_words_that_tell_no_more_than_its_receiver_needs(type: Type) -> None:
    message = Outgoing("ntc_1", type, ANN, CONTENTS[type], 0, 0)
    written = letters.letter(message, public_url="https://shop.example", stop="https://shop.example/-/no-mail?for=x")
    assert written.subject
    assert "https://shop.example/-/wallet\n" in written.text
    assert written.text.endswith("No more of these e-mails: https://shop.example/-/no-mail?for=x\n")
    for secret in ("he is a thief", "acct_", "pay.example", "micros"):
        assert secret not in written.text
    assert not re.search("[{}]", written.text)
    for shown in ("balance", "card", "expires"):
        assert str(CONTENTS[type].get(shown, "")) in written.text


def test_a_letter_takes_part_in_the_one_retry_policy() -> None:
    message = Outgoing("ntc_1", "balance.low", ANN, {}, 0, 0, tries=1, channel="mail")
    assert outgoing.next_try_ms(message, now_ms=0) == 20_000


async def test_who_signed_in_is_written_to_until_they_want_no_more_and_where_a_payment_knows_them_once(
    shop: Shop,
) -> None:
    await shop.signs_in(ANN, "Ann@example.org", name="Ann", seller="A1")
    await shop.happens()
    assert shop.post.receivers == ["Ann@example.org"]
    await shop.knows(ANN, "ann@example.org")
    await shop.happens()
    assert shop.post.receivers[1:] == ["ann@example.org"], "one mailbox, one letter"

    await shop.letters.stop((shop.post.got[1][1].stop or "").partition("?for=")[2])
    user = await shop.people.user("usr_1")
    assert user is not None
    profile = opened_profile(shop.keyring, user.id, user.key_id, user.profile)
    assert profile == Profile("", "Ann@example.org", "Ann", "A1", letters=False), "said once of one mailbox"
    await shop.happens()
    assert len(shop.post.got) == 2
