"""A log that was cut, changed or mixed with another is noticed, and a run goes on from it."""

import json
from pathlib import Path

import pytest

from ddpm_train.errors import FixableError
from ddpm_train.log import Log, read_log


def write(path: Path, steps: range, *, factor: float = 1.5) -> Log:
    log = Log(path, upto=steps.start - 1)
    for step in steps:
        log.write({"step": step, "loss": 1 / step, "seconds": factor * step})
    log.close()
    return log


def steps(path: Path) -> list[int]:
    return [line["step"] for line in read_log(path)]


def test_a_log_goes_on_where_its_checkpoint_is(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write(path, range(1, 5))
    log = write(path, range(3, 7))
    assert steps(path) == [1, 2, 3, 4, 5, 6] and not log.warnings
    assert log.mark["step"] == 6 and log.seconds == 9.0
    assert read_log(path, log.mark)[0] == {"step": 1, "loss": 1.0, "seconds": 1.5}
    write(tmp_path / "whole.jsonl", range(1, 7))
    assert (tmp_path / "whole.jsonl").read_bytes() == path.read_bytes()


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    mark = write(path, range(1, 4)).mark
    whole = path.read_bytes()
    for bit in range(8 * len(whole) - 8):  # the last line break is no loss
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(FixableError, match=r"log\.jsonl: damaged"):
            read_log(path, mark)


def test_every_length_is_noticed_but_that_of_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    mark = write(path, range(1, 4)).mark
    whole = path.read_bytes()
    for length in range(len(whole) - 2):
        path.write_bytes(whole[:length])
        assert steps(path) == list(range(1, 1 + whole[:length].count(b'"}')))  # a crash
        with pytest.raises(FixableError, match="lacks the line of step 3"):
            read_log(path, mark)
    path.write_bytes(whole + whole.splitlines()[2][:20])  # behind what the checkpoint counts on
    assert len(read_log(path, mark)) == 3


def test_lines_of_another_run_are_noticed(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    mark = write(ours, range(1, 7)).mark
    write(theirs, range(1, 7), factor=1.25)
    a, b = (path.read_bytes().splitlines(keepends=True) for path in (ours, theirs))
    for mixed in (b, a[:3] + b[3:], b[:3] + a[3:], a[:2] + a[3:], a[1:], a[:1] + a[::-1]):
        ours.write_bytes(b"".join(mixed))
        with pytest.raises(FixableError, match="damaged"):
            read_log(ours, mark)


def test_a_damaged_log_stays_beside_and_the_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    mark = write(path, range(1, 7)).mark
    damaged = bytearray(path.read_bytes())
    damaged[300] ^= 0x80
    path.write_bytes(damaged)
    log = Log(path, upto=6, mark=mark)
    assert "damaged (line" in log.warnings[0] and "log.damaged-1.jsonl stays" in log.warnings[0]
    assert (tmp_path / "log.damaged-1.jsonl").read_bytes() == damaged
    assert log.seconds == 9.0  # as the checkpoint knows
    log.write({"step": 7, "loss": 0.1, "seconds": 10.0})
    log.close()
    assert steps(path)[-1] == 7 and len(steps(path)) < 6
    path.unlink()
    assert "is gone" in Log(path, upto=7, mark=log.mark).warnings[0]


def test_damage_behind_the_checkpoint_is_no_loss(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    mark = write(path, range(1, 4)).mark
    path.write_bytes(path.read_bytes() + b"\xff\x00\n" * 3)
    log = Log(path, upto=3, mark=mark)
    assert not log.warnings and [p.name for p in tmp_path.iterdir()] == ["log.jsonl"]


def test_a_log_of_an_earlier_version_is_read_and_guarded_from_then_on(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    old = [json.dumps({"step": step, "seconds": 1.5 * step}) for step in (1, 2, 3)]
    path.write_text("\n".join(old) + '\n{"step": 4, "sec')
    assert steps(path) == [1, 2, 3]
    log = Log(path, upto=2)
    log.close()
    assert log.seconds == 3.0 and path.read_text().count('"digest"') == 2
