"""Downloads against a server on this machine that fails in every way we know."""

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ddpm_train.data import cifar
from ddpm_train.data.cifar import ARCHIVE
from ddpm_train.data.download import Published, download
from ddpm_train.data.images import Form
from ddpm_train.errors import FixableError
from tests.train.cifar_archive import members, write

CONTENT = os.urandom(700_000)
FILE = {"size": len(CONTENT), "md5": hashlib.md5(CONTENT).hexdigest()}


@dataclass
class Server:
    """Serves a path for each way to behave; notes (path, range, bytes sent)."""

    content: bytes = CONTENT
    log: list[tuple[str, str, int]] = field(default_factory=list)
    port: int = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def urls(self, *paths: str) -> Published:
        return Published(urls=tuple(map(self.url, paths)), **FILE)  # type: ignore[arg-type]


def bodies(content: bytes) -> dict[str, bytes]:
    return {
        "missing": b"no",
        "login": b"<!DOCTYPE html><p>Log in",
        "other": content[::-1],
        "longer": content + b"more",
    }


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            way, asked = self.path[1:], self.headers.get("Range", "")
            body = bodies(state.content).get(way, state.content)
            start = 0
            if asked and way in ("good", "cut", "shifted"):
                start = int(asked.removeprefix("bytes=").removesuffix("-")) + (way == "shifted")
                self.send_response(206)
                end = len(body) - 1
                self.send_header("Content-Range", f"bytes {start}-{end}/{len(body)}")
            else:
                self.send_response(404 if way == "missing" else 200)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            sent = body[start:] if way != "cut" else body[start : start + 300_000]
            state.log.append((way, asked, len(sent)))
            if way == "slow":
                self.one_byte_at_a_time(sent)
            else:
                self.wfile.write(sent)

        def one_byte_at_a_time(self, sent: bytes) -> None:
            with contextlib.suppress(OSError):  # until nobody listens
                for byte in sent:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(0.02)

        def log_message(self, *_: object) -> None:
            pass

    service = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = service.server_address[1]
    thread = threading.Thread(target=service.serve_forever, args=(0.01,))
    thread.start()
    yield state
    service.shutdown()
    service.server_close()
    thread.join()


def litter(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_server_of_a_byte_now_and_then_is_given_up(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte comes in time for the next; the file would take for ever."""
    monkeypatch.setitem(download.__globals__, "_WINDOW", 0.3)
    began = time.monotonic()
    with pytest.raises(FixableError, match=r"too slow: \d+ bytes a second"):
        download(tmp_path / "x", server.urls("slow"), fix="")
    assert time.monotonic() - began < 5
    download(tmp_path / "x", server.urls("slow", "good"), fix="")  # the next mirror goes on
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_a_file_arrives_whole(tmp_path: Path, server: Server) -> None:
    seen: list[tuple[int, int]] = []
    target = tmp_path / "new" / "x"
    download(target, server.urls("good"), fix="", track=lambda *at: seen.append(at))
    assert target.read_bytes() == CONTENT
    assert litter(target.parent) == ["x"]
    assert seen == sorted(seen)
    assert len(seen) > 1
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_stopped_download_asks_for_the_rest_only(tmp_path: Path, server: Server) -> None:
    with pytest.raises(FixableError, match="stopped at 300,000 of 700,000 bytes"):
        download(tmp_path / "x", server.urls("cut"), fix="")
    assert litter(tmp_path) == ["x.ddpm.partial"]
    download(tmp_path / "x", server.urls("good"), fix="")
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert litter(tmp_path) == ["x"]
    assert server.log == [("cut", "", 300_000), ("good", "bytes=300000-", 400_000)]


def test_the_next_mirror_goes_on_where_the_last_stopped(tmp_path: Path, server: Server) -> None:
    download(tmp_path / "x", server.urls("missing", "cut", "login", "cut", "good"), fix="")
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert [sent for way, _, sent in server.log if way != "login"] == [2, 300_000, 300_000, 100_000]


def test_a_server_without_ranges_starts_anew(tmp_path: Path, server: Server) -> None:
    (tmp_path / "x.ddpm.partial").write_bytes(CONTENT[:1000])
    download(tmp_path / "x", server.urls("norange"), fix="")
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert server.log == [("norange", "bytes=1000-", len(CONTENT))]


@pytest.mark.parametrize("part", [b"\0" * 1000, b"\0" * 700_000, b"\0" * 700_001])
def test_a_bad_part_is_thrown_away_and_fetched_again(
    tmp_path: Path, server: Server, part: bytes
) -> None:
    (tmp_path / "x.ddpm.partial").write_bytes(part)
    download(tmp_path / "x", server.urls("good"), fix="")
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert server.log[-1] == ("good", "", len(CONTENT))


def test_a_finished_part_needs_no_network(tmp_path: Path, server: Server) -> None:
    (tmp_path / "x.ddpm.partial").write_bytes(
        CONTENT
    )  # killed between the last byte and the rename
    download(tmp_path / "x", server.urls("good"), fix="")
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert server.log == []


def test_every_mirror_is_named_with_its_reason(tmp_path: Path, server: Server) -> None:
    file = server.urls("missing", "login", "other", "longer", "nonsense:")
    bad = Published(urls=(*file.urls[:-1], "nonsense", "http://127.0.0.1:1/x"), **FILE)  # type: ignore[arg-type]
    with pytest.raises(FixableError) as error:
        download(tmp_path / "x", bad, fix="Carry it here.")
    text = str(error.value)
    for reason in (
        "(HTTP 404)",
        "(sent a web page)",
        f"expected {FILE['md5']}",
        "(sent more than 700,000 bytes)",
        "nonsense (unknown url type",
        "127.0.0.1:1 (",
        "fix: Carry it here.",
    ):
        assert reason in text
    assert len(text.splitlines()) <= 4
    assert litter(tmp_path) == []


@pytest.mark.parametrize("way", ["longer", "other", "missing", "login"])
def test_nothing_is_left_of_what_cannot_be_used(tmp_path: Path, server: Server, way: str) -> None:
    with pytest.raises(FixableError):
        download(tmp_path / "x", server.urls(way), fix="")
    assert litter(tmp_path) == []


def test_no_mirror_is_no_success(tmp_path: Path, server: Server) -> None:
    with pytest.raises(FixableError):
        download(tmp_path / "x", server.urls(), fix="")
    assert litter(tmp_path) == []


def test_a_shifted_part_is_not_believed(tmp_path: Path, server: Server) -> None:
    (tmp_path / "x.ddpm.partial").write_bytes(CONTENT[:1000])
    with pytest.raises(FixableError, match="another part"):
        download(tmp_path / "x", server.urls("shifted"), fix="")
    assert (tmp_path / "x.ddpm.partial").read_bytes() == CONTENT[:1000]


def test_a_web_page_does_not_cost_the_part(tmp_path: Path, server: Server) -> None:
    (tmp_path / "x.ddpm.partial").write_bytes(CONTENT[:1000])
    with pytest.raises(FixableError, match="web page"):
        download(tmp_path / "x", server.urls("login"), fix="")
    assert (tmp_path / "x.ddpm.partial").read_bytes() == CONTENT[:1000]


def test_processes_that_start_together_download_once(tmp_path: Path, server: Server) -> None:
    children = []
    for i in range(4):
        child = os.fork()
        if not child:
            try:
                time.sleep(i * 0.004)  # some wait for the first, some come when it is done
                download(tmp_path / "x", server.urls("good"), fix="")
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert litter(tmp_path) == ["x"]
    assert len(server.log) == 1


def test_a_folder_that_cannot_be_written(tmp_path: Path, server: Server) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FixableError, match="a file, where a folder is meant"):
        download(tmp_path / "file" / "x", server.urls("good"), fix="")


def test_too_little_space_is_said_first(tmp_path: Path, server: Server) -> None:
    huge = Published(urls=(server.url("good"),), size=1 << 60, md5="")
    with pytest.raises(FixableError, match="MB are needed"):
        download(tmp_path / "x", huge, fix="")
    assert server.log == []


def test_cifar_is_downloaded_where_it_is_kept(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = write(tmp_path / "source", members())
    server.content = (tmp_path / "source").read_bytes()
    monkeypatch.setenv("DDPM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("DDPM_CIFAR10_URL", server.url("good"))
    seen: list[tuple[int, int]] = []
    for split, n in (("train", 100), ("test", 20)):
        images = cifar.load(
            "",
            split,  # type: ignore[arg-type]
            Form(32, 3),
            release=release,
            track=lambda *at: seen.append(at),
        )
        assert len(images) == n
    assert len(server.log) == 1
    assert seen[-1] == (release.archive.size, release.archive.size)
    assert litter(tmp_path / "data" / "cifar10") == [ARCHIVE]


def test_cifar_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDPM_DATA", str(tmp_path))
    monkeypatch.setenv("DDPM_CIFAR10_URL", "http://127.0.0.1:1/x")
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(FixableError) as error:
        cifar.load("", "train", Form(32, 3))
    text = str(error.value)
    for words in (f"cifar10/{ARCHIVE}", "127.0.0.1:1", "copy the file (170 MB)", "--archive PATH"):
        assert words in text
    assert len(text.splitlines()) <= 4
    assert litter(tmp_path / "cifar10") == []
