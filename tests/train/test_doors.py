"""The doors: whatever goes wrong at a file is one sentence, and nothing of others' is lost."""

import contextlib
import errno
import fcntl
import io
import os
import resource
import shutil
import signal
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ddpm_train import archives, files, locks, reading, tensorfiles
from ddpm_train.errors import FixableError
from tests.eval import forks


@pytest.fixture
def without_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lustre without -o flock, some FUSE."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(fcntl, "lockf", refuse)


# ------------------------------------------------------------------------------- locks


def hold(path: Path, ready: Path, seconds: float = 60) -> None:
    with path.open("ab") as file, locks.locked(file, path):
        ready.touch()
        time.sleep(seconds)


def busy(path: Path) -> str:
    """What a second process is told at once, if anything."""
    words: list[str] = []

    def note(owner: str) -> None:
        words.append(owner)
        raise FixableError(owner, "")

    try:
        with path.open("ab") as file, locks.locked(file, path, busy=note):
            return ""
    except FixableError:
        return words[0]


def wait_for(path: Path) -> None:
    for _ in range(500):
        if path.exists():
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} does not come")


@pytest.mark.parametrize("kind", ["with", "without"])
def test_a_lock_is_held_by_one_process_and_released_by_its_death(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    if kind == "without":
        request.getfixturevalue("without_flock")
    path = tmp_path / "lock"
    for ending in (signal.SIGKILL, None):
        ready = tmp_path / f"ready-{ending}"
        pid = forks.child(lambda: hold(path, ready, 60 if ending else 0.3))  # noqa: B023
        wait_for(ready)
        owner = busy(path)
        assert owner and (kind == "with" or f"process {pid} on" in owner)
        if ending:
            os.kill(pid, ending)
            forks.wait(pid)
        began = time.monotonic()
        with path.open("ab") as file, locks.locked(file, path):  # waits for the second one
            assert time.monotonic() - began < 5
        if not ending:
            forks.wait(pid)
    assert not list(tmp_path.glob("*.owner*"))


def test_who_waited_for_a_deleted_folder_holds_the_lock_of_a_new_one(tmp_path: Path) -> None:
    """Two never hold the lock of one name: a third one finds it taken."""
    path = tmp_path / "unfinished" / ".lock"
    path.parent.mkdir()
    with path.open("ab") as first, contextlib.ExitStack() as stack:
        stack.enter_context(locks.locked(first, path))

        def finish(_owner: str) -> None:
            shutil.rmtree(path.parent)
            stack.close()

        with files.held(path, finish) as file:
            assert os.path.samestat(os.fstat(file.fileno()), path.stat())
            assert busy(path)
    assert not busy(path)


def test_a_lock_is_made_in_a_folder_that_others_delete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, count = Path.mkdir, iter(range(9))

    def made_and_gone(path: Path, *words: Any, **options: Any) -> None:
        make(path, *words, **options)
        if next(count) < 2:
            path.rmdir()

    monkeypatch.setattr(Path, "mkdir", made_and_gone)
    with files.held(tmp_path / "unfinished" / ".lock"):
        assert (tmp_path / "unfinished" / ".lock").exists()


def test_without_flock_a_lock_of_another_machine_is_never_taken_over(
    tmp_path: Path, without_flock: None
) -> None:
    path, marker = tmp_path / "lock", tmp_path / "lock.owner"
    marker.write_text('{"host": "another", "pid": 1, "began": "7"}')
    assert busy(path) == f"process 1 on another (delete {marker} if it is gone)"
    assert marker.exists()
    for damaged in ("", "[]", "{", '{"host": 3}'):
        marker.write_text(damaged)
        assert busy(path)


def test_without_flock_many_writers_write_one_after_the_other(
    tmp_path: Path, without_flock: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_POLL", 0.01)
    path = tmp_path / "file"

    def write(letter: bytes) -> None:
        for _ in range(5):
            files.write_atomically(path, lambda file: [file.write(letter) for _ in range(3000)])
            content = path.read_bytes()
            assert len(content) == 3000 and len(set(content)) == 1

    children = [forks.child(lambda: write(letter)) for letter in (b"a", b"b", b"c")]  # noqa: B023
    assert [forks.wait(pid) for pid in children] == [0, 0, 0]
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


# ------------------------------------------------------------------------------- writing


def in_child(work: Callable[[], object], ready: Callable[[], object] = lambda: None) -> str:
    """The sentence that a process ends in, run with its own limits; a traceback fails."""
    read, write = os.pipe()

    def report() -> None:
        ready()
        try:
            work()
        except FixableError as error:
            os.write(write, str(error).encode())

    status = forks.wait(forks.child(report))
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    assert status == 0
    return text


def small_files_only() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


@pytest.mark.parametrize(
    "write",
    [
        lambda file: torch.save({"x": torch.zeros(50_000)}, file),
        lambda file: np.savez(file, x=np.zeros(50_000)),
        lambda file: file.write(bytes(200_000)),
        lambda file: [file.write(b"x") for _ in range(200_000)],
    ],
    ids=["torch.save", "savez", "one write", "many writes"],
)
def test_a_really_full_disk_is_called_full(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(b"old")
    text = in_child(lambda: files.write_atomically(path, write), small_files_only)
    assert text.startswith(f"{path}: the disk is full")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.pt", b"old")]


def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/null")
    for name in ("folder", "pipe", "link"):
        with pytest.raises(FixableError, match=rf"{name}: a (folder|device or a pipe)"):
            files.write_text(tmp_path / name, "text")
    (tmp_path / "file").write_text("thesis")
    with pytest.raises(FixableError, match="a file, where a folder is meant"):
        files.write_text(tmp_path / "file" / "x", "text")
    with pytest.raises(FixableError, match="a file, where a folder is meant"):
        files.require_space(tmp_path / "file" / "x", 10)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder", "link", "pipe"]


def test_what_others_have_not_finished_stays(tmp_path: Path) -> None:
    (tmp_path / "a.txt.partial").write_text("another program's")
    files.write_text(tmp_path / "a.txt", "ours")
    assert (tmp_path / "a.txt.partial").read_text() == "another program's"


def test_any_exception_is_a_sentence(tmp_path: Path) -> None:
    def fails(_: object) -> None:
        raise RecursionError("too deep\nin line 7")

    with pytest.raises(FixableError, match=r"a: cannot be written \(too deep\)\n"):
        files.write_atomically(tmp_path / "a", fails)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------- reading


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), tmp_path / "pipe"):
        with pytest.raises(FixableError, match="a device or a pipe"):
            reading.read_bytes(path)
    with pytest.raises(FixableError, match="a folder, where a file is meant"):
        reading.read_text(tmp_path)
    with pytest.raises(FixableError, match="no such file"):
        tensorfiles.load(tmp_path / "x.pt")


def test_a_file_in_the_place_of_a_folder_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FixableError, match="file: a file, where a folder is meant"):
        reading.list_folder(tmp_path / "file")
    with pytest.raises(FixableError, match="inside: a file, where a folder is meant"):
        reading.read_bytes(tmp_path / "file" / "inside")
    for place in ("file/inside", "file/inside/deeper"):
        with pytest.raises(FixableError, match=r"/file: a file, where a folder is meant"):
            files.write_text(tmp_path / place, "text")


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.zeros(1).expand(10**6, 10**6), "claims 1,000,000,000,000 numbers"),
        (torch.zeros(9).to_sparse(), "sparse or quantised"),
    ],
)
def test_a_tensor_of_more_than_its_numbers_is_not_read(
    tmp_path: Path, tensor: torch.Tensor, words: str
) -> None:
    torch.save({"model": [{"w": tensor}]}, tmp_path / "a.pt")
    with pytest.raises(FixableError, match=rf"a\.pt: model\.0\.w.*{words}"):
        tensorfiles.load(tmp_path / "a.pt")
    half = {"w": torch.arange(8.0)[:4], "v": torch.eye(3).T}  # parts of a storage are whole
    torch.save(half, tmp_path / "b.pt")
    assert torch.equal(tensorfiles.load(tmp_path / "b.pt")["w"], half["w"])  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"\xff\xfe{}", "not JSON|codec"),
        (b"[1]", "not a JSON object"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a": 1, "a": 2}', "a stands twice"),
        (b"", "not JSON"),
        (b"7" * 5000, "not JSON|not a JSON object"),
    ],
)
def test_what_is_no_json_is_one_line(tmp_path: Path, text: bytes, words: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text)
    with pytest.raises(FixableError, match=words) as caught:
        reading.read_json(path)
    assert len(str(caught.value)) < 400


def test_memory_is_asked_for_before_it_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_free_memory", lambda: 10_000)
    np.savez(tmp_path / "a.npz", x=np.zeros(100_000))
    with pytest.raises(FixableError, match=r"GB of memory are free"):
        archives.read_arrays(tmp_path / "a.npz")
    torch.save(torch.zeros(100_000), tmp_path / "a.pt")
    with pytest.raises(FixableError, match=r"GB of memory are free"):
        tensorfiles.load(tmp_path / "a.pt")


# ------------------------------------------------------------------------------- archives


def packed(path: Path, n: int = 40) -> bytes:
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(n):
            archive.writestr(f"{i:02}.bin", bytes([i]) * 50)
    return path.read_bytes()


def test_every_bit_of_a_directory_is_noticed_or_loses_nothing(tmp_path: Path) -> None:
    """Of a zip's directory, one bit made 40 members 17."""
    path = tmp_path / "a.zip"
    whole = packed(path, 3)
    before = {i: bytes([i]) * 50 for i in range(3)}
    start = whole.index(b"PK\x01\x02")
    noticed = 0
    for bit in range(8 * start, 8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            with archives.open_zip(path) as (archive, members):
                content = [archive.read(member) for member in members]
        except FixableError:
            noticed += 1
        else:
            assert content == list(before.values())
    assert noticed > 500


def test_more_members_than_sixteen_bits_count(tmp_path: Path) -> None:
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(0x10001):
            archive.writestr(str(i), b"")
    assert len(archives.members_of(path)) == 0x10001


def test_a_shorter_array_is_refused(tmp_path: Path) -> None:
    """One bit of an .npy header made 3,500 images 2,500, for the rest was never looked at."""
    path = tmp_path / "a.npz"
    np.savez(path, train=np.zeros((3500, 2), np.uint8))
    data = bytearray(path.read_bytes())
    at = data.index(b"(3500,")
    data[at + 1] ^= 1
    path.write_bytes(data)
    with pytest.raises(FixableError, match="CRC"):
        archives.read_arrays(path)
    header = io.BytesIO()
    np.lib.format.write_array(header, np.zeros((3500, 2), np.uint8))
    with zipfile.ZipFile(path, "w") as archive:  # with a CRC that is right
        archive.writestr("train.npy", header.getvalue().replace(b"(3500,", b"(2500,"))
    with pytest.raises(FixableError, match=r"says \[2500, 2\] uint8, 5,000 bytes, and there are 7"):
        archives.read_arrays(path)
    claim = header.getvalue()[:128].replace(b"(3500, 2), }    ", b"(999999999, 22),}")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train.npy", claim)
    with pytest.raises(FixableError, match=r"train: damaged \(its header says \[999999999, 22\]"):
        archives.read_arrays(path)


def test_a_member_cannot_claim_more_than_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    data = bytearray(packed(path, 1))
    listed = data.index(b"PK\x01\x02")
    data[listed + 24 : listed + 28] = struct.pack("<I", 10**9)
    path.write_bytes(data)
    with pytest.raises(FixableError, match="claims 1,000,000,000 bytes and has 50"):
        archives.members_of(path)
