"""Secrets that the gateway makes for itself."""

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.core import jwt_keys
from gateway.settings import Settings, SettingsInvalid, from_mapping
from tests.settings.asking import PEPPER, SEALING_KEY, full

NAMES = ["jwt.pem", "operator_token", "pepper", "sealing_key"]


def made(base: Path, *, make_secrets: bool = True) -> Settings:
    return from_mapping({"store": "sqlite:./data/gateway.db"}, base=base, make_secrets=make_secrets)


def refused(base: Path) -> list[str]:
    with pytest.raises(SettingsInvalid) as raised:
        made(base)
    return [str(mistake) for mistake in raised.value.mistakes]


def revealed(settings: Settings) -> tuple[str, ...]:
    secrets = settings.secrets
    assert secrets.operator_token is not None
    return (*(secret.reveal() for secret in secrets.sealing_keys + secrets.peppers), secrets.operator_token.reveal())


def test_the_first_start_makes_three_different_secrets_that_only_the_owner_reads(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        settings = made(tmp_path)
    finally:
        os.umask(before)
    folder = tmp_path / "data/secrets"
    assert folder == settings.secrets_path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert sorted(os.listdir(folder)) == NAMES
    for name in NAMES:
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert len(set(revealed(settings))) == 3
    assert min(map(len, revealed(settings))) >= 32


def test_the_second_start_reads_what_the_first_made(tmp_path: Path) -> None:
    first = made(tmp_path)
    contents = {name: (first.secrets_path / name).read_bytes() for name in NAMES}
    assert revealed(made(tmp_path)) == revealed(first)
    assert revealed(made(tmp_path, make_secrets=False)) == revealed(first)
    assert {name: (first.secrets_path / name).read_bytes() for name in NAMES} == contents


def test_a_missing_file_is_made_beside_the_others(tmp_path: Path) -> None:
    first = made(tmp_path)
    (first.secrets_path / "operator_token").unlink()
    second = made(tmp_path)
    assert revealed(second)[:2] == revealed(first)[:2]
    assert revealed(second)[2] != revealed(first)[2]


def test_nothing_is_made_while_there_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid):
        from_mapping({"mode": "tset"}, base=tmp_path, make_secrets=True)
    assert list(tmp_path.iterdir()) == []


def test_a_secret_that_is_given_needs_no_file(tmp_path: Path) -> None:
    settings = from_mapping(full(secrets={"operator_token": None}), base=tmp_path, make_secrets=True)
    assert os.listdir(settings.secrets_path) == ["operator_token"]
    assert [secret.reveal() for secret in settings.secrets.peppers] == [PEPPER]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_may_read_is_a_mistake_that_names_the_cure(mode: int, tmp_path: Path) -> None:
    file = made(tmp_path).secrets_path / "pepper"
    content = file.read_text()
    file.chmod(mode)
    [mistake] = refused(tmp_path)
    assert mistake == f"{file}: others than its owner may read it; mend it with: chmod 600 {file}"
    assert content.strip() not in mistake
    file.chmod(0o600)
    made(tmp_path)


def test_a_folder_that_others_may_write_is_a_mistake(tmp_path: Path) -> None:
    folder = made(tmp_path).secrets_path
    folder.chmod(0o770)
    [mistake] = refused(tmp_path)
    assert mistake == f"{folder}: others than its owner may put files into it; mend it with: chmod 700 {folder}"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"\n\n", "it is empty"),
        (b"short-and-visible", "32 characters or more"),
        (b"\xff\xfe", "does not hold text"),
        (b"x1y2z3w4" * 10_000, "more than one secret"),
    ],
)
def test_a_damaged_file_is_a_mistake_and_is_never_overwritten(content: bytes, words: str, tmp_path: Path) -> None:
    file = made(tmp_path).secrets_path / "sealing_key"
    file.write_bytes(content)
    [mistake] = refused(tmp_path)
    assert mistake.startswith(f"{file}: ")
    assert words in mistake
    assert "short-and-visible" not in mistake
    assert file.read_bytes() == content


def test_a_folder_or_a_pipe_in_the_place_of_a_file_is_a_mistake(tmp_path: Path) -> None:
    folder = made(tmp_path).secrets_path
    (folder / "pepper").unlink()
    (folder / "pepper").mkdir()
    (folder / "sealing_key").unlink()
    os.mkfifo(folder / "sealing_key")
    found = refused(tmp_path)
    assert len(found) == 2
    assert all("it is not a file" in mistake for mistake in found)


def test_a_folder_that_cannot_be_made_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file in the way")
    assert all("Not a directory" in mistake for mistake in refused(tmp_path))


def test_keys_rotate_by_a_new_line_on_top(tmp_path: Path) -> None:
    first = made(tmp_path)
    file = first.secrets_path / "sealing_key"
    file.write_text(f"{SEALING_KEY}\n{file.read_text()}")
    found = made(tmp_path).secrets.sealing_keys
    assert [secret.reveal() for secret in found] == [SEALING_KEY, revealed(first)[0]]


def test_an_operator_has_one_token(tmp_path: Path) -> None:
    file = made(tmp_path).secrets_path / "operator_token"
    file.write_text(f"{SEALING_KEY}\n{PEPPER}\n")
    assert "more than one secret" in refused(tmp_path)[0]


def test_a_file_that_equals_a_given_secret_or_another_file_is_a_mistake(tmp_path: Path) -> None:
    folder = made(tmp_path).secrets_path
    (folder / "pepper").write_text((folder / "sealing_key").read_text())
    [mistake] = refused(tmp_path)
    assert mistake == (
        f"{folder / 'pepper'}: secrets.peppers: equal secrets for two purposes: this is the same as "
        "secrets.sealing_keys; make one for each"
    )


def test_threads_that_start_together_agree_on_one_secret(tmp_path: Path) -> None:
    found: list[tuple[str, ...]] = []
    gate = threading.Barrier(8)

    def start() -> None:
        gate.wait()
        found.append(revealed(made(tmp_path)))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert sorted(os.listdir(tmp_path / "data/secrets")) == NAMES


def test_processes_that_start_together_agree_on_one_secret(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom gateway.settings import from_mapping\n"
        "print('ready', flush=True)\nsys.stdin.readline()\n"
        "made = from_mapping({}, base=Path(sys.argv[1]), make_secrets=True).secrets\n"
        "print(made.sealing_keys[0].reveal(), made.peppers[0].reveal(), made.operator_token.reveal())\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = {process.communicate()[0] for process in started}
    assert len(answers) == 1
    assert len(answers.pop().split()) == 3


def test_a_quicker_process_wins_and_its_secret_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link, pem = os.link, jwt_keys.new_pem()

    def beaten(draft: Path, path: Path) -> None:
        path.write_text(pem if path.suffix == ".pem" else "the-secret-of-the-quicker-process-0123456789\n")
        path.chmod(0o600)
        link(draft, path)

    monkeypatch.setattr(os, "link", beaten)
    settings = made(tmp_path)
    assert {"the-secret-of-the-quicker-process-0123456789"} == set(revealed(settings))
    assert [secret.reveal() for secret in settings.secrets.jwt_keys] == [pem]
    assert sorted(os.listdir(tmp_path / "data/secrets")) == NAMES


def test_a_crash_before_the_link_leaves_no_half_written_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", crash)
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path)
    assert os.listdir(tmp_path / "data/secrets") == []
    made(tmp_path)


def test_key_pairs_are_made_where_there_are_books_already(tmp_path: Path) -> None:
    """Nothing in the store needs them: they came with a later version than it."""
    first = made(tmp_path)
    (tmp_path / "data/gateway.db").touch()
    (first.secrets_path / "jwt.pem").unlink()
    assert made(tmp_path).secrets.jwt_keys != first.secrets.jwt_keys


def test_key_pairs_are_given_in_one_text_newest_first(tmp_path: Path) -> None:
    newest, older = jwt_keys.new_pem(), jwt_keys.new_pem()
    settings = from_mapping(full(secrets={"jwt_keys": f"{newest}\n{older}\n"}), base=tmp_path, make_secrets=True)
    assert [secret.reveal() for secret in settings.secrets.jwt_keys] == [newest, older]
    assert not settings.secrets_path.exists()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda pem: pem + pem, "twice"),
        (lambda pem: pem[: len(pem) // 2], "PEM blocks"),
        (lambda pem: pem.replace("PRIVATE", "PUBLIC"), "no private key"),
    ],
)
def test_a_damaged_key_pair_is_a_mistake_that_quotes_nothing_of_it(
    spoil: Callable[[str], str], words: str, tmp_path: Path
) -> None:
    file = made(tmp_path).secrets_path / "jwt.pem"
    pem = file.read_text()
    file.write_text(spoil(pem))
    [mistake] = refused(tmp_path)
    assert mistake.startswith(f"{file}: ")
    assert words in mistake
    assert not [line for line in pem.splitlines()[1:-1] if line in mistake]
    with pytest.raises(SettingsInvalid) as raised:
        from_mapping(full(secrets={"jwt_keys": spoil(pem)}), base=tmp_path / "given", make_secrets=False)
    assert words in str(raised.value)
    assert not [line for line in pem.splitlines()[1:-1] if line in str(raised.value)]
