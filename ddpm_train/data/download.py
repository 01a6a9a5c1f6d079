"""Fetch one published file: from several mirrors, resumed where it stopped, checked at the end."""

import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ddpm_train.errors import FixableError
from ddpm_train.files import PARTIAL, held, require_replaceable, require_space, sync_folder, writing
from ddpm_train.reading import md5_of, sha256_of

Track = Callable[[int, int], object]
"""Is called with (bytes done, bytes in all)."""

_SILENCE = 15.0  # seconds without a byte until the next mirror is tried
_WINDOW = 30.0  # seconds in which at least _LEAST bytes must come
_LEAST = 60_000
_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A file that never changes, and where copies of it are; one of its digests is known."""

    urls: tuple[str, ...]
    size: int  # bytes
    md5: str = ""
    sha256: str = ""

    @property
    def digest(self) -> str:
        """The digest that decides."""
        return self.sha256 or self.md5

    @property
    def algorithm(self) -> str:
        """Its name."""
        return "SHA-256" if self.sha256 else "MD5"

    def digest_of(self, path: Path) -> str:
        """The digest of another file, to compare."""
        return sha256_of(path) if self.sha256 else md5_of(path)


class _Refused(Exception):
    """One mirror failed; the next may not."""


def download(target: Path, file: Published, *, fix: str, track: Track | None = None) -> None:
    """Write a published file to ``target``, whole and checked, or not at all.

    What has arrived waits in ``target`` + ``.partial``; the next call, or the next mirror, asks for
    the rest. A second process waits for the first one's copy.

    Args:
        target: The file to write.
        file: Its mirrors, size and digest.
        fix: What a user without network can do.
        track: Is told the bytes done and the bytes in all.

    Raises:
        FixableError: No mirror gave the file; each is named with its reason.
    """
    partial = target.with_name(target.name + PARTIAL)
    with writing(target):
        require_replaceable(target)
        require_space(target.parent, file.size)
        with held(partial) as out:
            if target.exists():  # written by the process that this one waited for
                partial.unlink(missing_ok=True)
                return
            problems = _from_mirrors(file, out, partial, track)
            if problems is not None:
                if not out.seek(0, os.SEEK_END):
                    partial.unlink()
                raise FixableError(
                    f"{target}: not there, and not to be downloaded\n  tried: {problems}", fix
                )
            os.fsync(out.fileno())
            partial.replace(target)
            sync_folder(target.parent)


def _from_mirrors(file: Published, out: BinaryIO, partial: Path, track: Track | None) -> str | None:
    """Fill ``out`` from the first mirror that can; say what was wrong with each if none can."""
    problems: list[str] = []
    for url in file.urls:
        host = urllib.parse.urlsplit(url).netloc or url
        resumed = True
        while resumed:  # what a bad part spoilt is fetched once more, from the start
            resumed = out.seek(0, os.SEEK_END) > 0
            try:
                _complete(out, url, file.size, track)
            except _Refused as refused:
                problems.append(f"{host} ({refused})")
                break
            digest = file.digest_of(partial)
            if digest == file.digest:
                return None
            problems.append(f"{host} (sent {file.algorithm} {digest}, expected {file.digest})")
            out.truncate(0)
    return ", ".join(problems)


def _complete(out: BinaryIO, url: str, size: int, track: Track | None) -> None:
    """Append what is missing of ``size`` bytes."""
    have = out.seek(0, os.SEEK_END)
    if have >= size:  # all there, or too much: the digest will tell
        return
    for offset, chunk in _chunks(url, have):
        if offset != have:  # the server starts anew
            out.truncate(0)
        out.write(chunk)
        have = offset + len(chunk)
        if have > size:
            out.truncate(0)
            raise _Refused(f"sent more than {size:,} bytes")
        if track is not None:
            track(have, size)
    out.flush()
    if have < size:
        raise _Refused(f"stopped at {have:,} of {size:,} bytes")


def _chunks(url: str, start: int) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, bytes) from ``start`` on, or from 0 where the server cannot resume."""
    headers = {"User-Agent": "ddpm-eval"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=_SILENCE) as response:
            if response.status != http.HTTPStatus.PARTIAL_CONTENT:
                start = 0
            elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                raise _Refused("sent another part than was asked for")
            pace = _Pace()
            while chunk := response.read1(_CHUNK):
                if not start and is_html(chunk):
                    raise _Refused("sent a web page")
                yield start, chunk
                start += len(chunk)
                pace.add(len(chunk))
    except urllib.error.HTTPError as error:
        raise _Refused(f"HTTP {error.code}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        words = getattr(reason, "strerror", None) or str(reason) or type(error).__name__
        raise _Refused(words) from error


class _Pace:
    """Gives a mirror up that sends a byte now and then, which no timeout between bytes ends."""

    def __init__(self) -> None:
        self._since, self._bytes = time.monotonic(), 0

    def add(self, count: int) -> None:
        """Count bytes; look at the sum once in a while.

        Raises:
            _Refused: Too few came.
        """
        self._bytes += count
        passed = time.monotonic() - self._since
        if passed >= _WINDOW:
            if self._bytes < _LEAST:
                raise _Refused(f"too slow: {self._bytes / passed:,.0f} bytes a second")
            self._since, self._bytes = time.monotonic(), 0


def is_html(start: bytes) -> bool:
    r"""Tell a web page (a login, an error) from a file by its first bytes.

    >>> is_html(b"\n<!DOCTYPE html>"), is_html(b"\x1f\x8b")
    (True, False)
    """
    return start.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html"))
