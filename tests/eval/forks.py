"""Forked processes: cheap to start, to kill, and to join into a world."""

import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ddpm_train import world
from ddpm_train.world import World


def child(work: Callable[[], Any]) -> int:
    """Do the work in a forked process; its exit status is 0 if that goes well."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
            os._exit(1)
    return pid


def wait(pid: int) -> int:
    """The exit status of a child; -signal if one ended it."""
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def start_world(size: int, work: Callable[[World], Any]) -> list[int]:
    """Do the work in so many processes that know each other, as torchrun would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def member(rank: int) -> None:
        os.environ |= {
            "WORLD_SIZE": str(size),
            "RANK": str(rank),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        work(world.join("cpu"))
        world.leave()

    return [child(lambda: member(rank)) for rank in range(size)]  # noqa: B023


def dies_at_call(k: int, targets: list[tuple[Any, str]], work: Callable[[], Any]) -> int:
    """Do the work in a process that ends, with status 9, at the k-th call of the targets."""

    def doomed() -> None:
        calls = 0

        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls == k:
                    os._exit(9)
                return function(*args, **kwargs)

            return call

        for owner, name in targets:
            setattr(owner, name, counted(getattr(owner, name)))
        work()

    return wait(child(doomed))


def kill(pids: list[int]) -> list[int]:
    """kill -9 all of them; their exit statuses."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return [wait(pid) for pid in pids]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
