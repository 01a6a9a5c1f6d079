"""Servers that lie, break off, send another file or one byte now and then: nothing is believed."""

import hashlib
import http.server
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from tests.faults import server
from tests.faults.matrix import Case

DATA = random.Random(0).randbytes(200_000)
SLOW, WINDOW = "sends a byte now and then", 1.0  # seconds until it is given up, not half a minute


class Handler(http.server.BaseHTTPRequestHandler):
    """One request of ``fetch``; each subclass answers in its own way."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def send(self, status: int, length: int | None, data: bytes, **headers: str) -> None:
        """Answer with a length that may be a lie."""
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)


def _slow(handler: Handler) -> None:
    handler.send(200, len(DATA), b"")
    for byte in DATA:
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        time.sleep(0.05)


ANSWERS: dict[str, Callable[[Handler], object]] = {
    "sends what was asked for": lambda it: it.send(200, len(DATA), DATA),
    "sends it without a length": lambda it: it.send(200, None, DATA),
    "sends another file of that size": lambda it: it.send(200, len(DATA), DATA[::-1]),
    "breaks off": lambda it: it.send(200, len(DATA), DATA[:1000]),
    "sends more": lambda it: it.send(200, 2 * len(DATA), DATA + DATA),
    "sends nothing": lambda it: it.send(200, 0, b""),
    "sends a web page": lambda it: it.send(200, None, b"<html>sign in</html>"),
    "says 404": lambda it: it.send(404, 0, b""),
    "says 500": lambda it: it.send(500, 0, b""),
    "says 206 unasked": lambda it: it.send(206, len(DATA), DATA, Content_Range="bytes 7-9/10"),
    "leads round in a circle": lambda it: it.send(302, 0, b"", Location="/again"),
    "leads to a file": lambda it: it.send(302, 0, b"", Location="file:///etc/passwd"),
    "claims a negative length": lambda it: it.send(200, -5, DATA),
    "claims 10^15 bytes": lambda it: it.send(200, 10**15, DATA),
    "speaks no HTTP": lambda it: it.wfile.write(b"\0\xff\0\xff" * 99),
    SLOW: _slow,
}
GOOD = (
    *("sends what was asked for", "sends it without a length"),
    *("claims a negative length", "claims 10^15 bytes"),  # but sends the right bytes
)


def mirrors(_material: Path, share: float) -> Iterator[Case]:
    """Every answer, to a fresh download and to one that goes on."""
    cases = [(name, begun) for name in ANSWERS for begun in (False, True)]
    for name, begun in cases[:: max(1, round(0.5 / share))]:
        text = f"{name}, a part is there" if begun else name
        yield Case("lying and slow servers", text, _attack(name, begun=begun))


def _attack(name: str, *, begun: bool) -> Callable[[Path], str]:
    answer = ANSWERS[name]

    def attack(folder: Path) -> str:
        methods = {"do_GET": lambda handler: answer(handler)}
        httpd = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Answer", (Handler,), methods)
        )
        httpd.daemon_threads = True
        httpd.handle_error = lambda *_: None  # type: ignore[method-assign]
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        if begun:
            (folder / "w.pth.ddpm.partial").write_bytes(DATA[:777])

        def meet() -> None:
            from ddpm_eval.features import EXTRACTORS
            from ddpm_train.data import download

            entry = EXTRACTORS["inception-v3"]
            assert entry.weights is not None
            published = replace(
                entry.weights.published,
                urls=(f"http://127.0.0.1:{httpd.server_port}/w",),
                size=len(DATA),
                sha256=hashlib.sha256(DATA).hexdigest(),
            )
            object.__setattr__(entry.weights, "published", published)
            download._WINDOW = WINDOW if name == SLOW else download._WINDOW

        output = folder.parent / f"{folder.name}.out"
        words = ("ddpm-eval", "fetch", "inception", "--to", "w.pth")
        try:
            status = server.wait(server.start(words, folder, output=output, after=meet), 30)
        finally:
            httpd.shutdown()
            httpd.server_close()
        result = server.Result(words, status, output.read_text(errors="backslashreplace"), 0)
        return _judge(name, result, folder)

    return attack


def _judge(name: str, result: server.Result, folder: Path) -> str:
    if result.has_traceback or result.status != (0 if name in GOOD else 2):
        return str(result)
    file = folder / "w.pth"
    if file.exists() != (name in GOOD) or (file.exists() and file.read_bytes() != DATA):
        return f"the file is {'there' if file.exists() else 'not there'}: {result}"
    strays = [path.name for path in folder.iterdir() if not path.name.startswith("w.pth")]
    return f"strays {strays}" if strays else ""
