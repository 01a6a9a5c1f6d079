"""The processes that share a job: one, or those that torchrun started."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ddpm_train.errors import FixableError, sentence

Item = TypeVar("Item")
_LOST = ("gloo", "NCCL", "nccl", "onnection", "peer", "imed out", "rocess group")
"""Words of the errors that gloo and NCCL raise where a process does not answer."""


@dataclass(frozen=True, slots=True)
class World:
    """This process among its peers, and the device that it computes on."""

    device: torch.device
    rank: int = 0
    size: int = 1

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """The contiguous part of ``items`` that falls to this process; nothing is padded.

        >>> [World(torch.device("cpu"), rank, 3).share(range(7)) for rank in range(3)]
        [range(0, 3), range(3, 5), range(5, 7)]
        """
        size, rest = divmod(len(items), self.size)
        start = self.rank * size + min(self.rank, rest)
        return items[start : start + size + (self.rank < rest)]

    def sum(self, values: Tensor) -> Tensor:
        """The sum over processes; every process gets it.

        Raises:
            FixableError: One of them has ended.
        """
        if self.size > 1:
            values = values.to(self.device)
            with self.together():
                dist.all_reduce(values)
        return values

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Say in one sentence that another process has ended, where the block needs all of them.

        Raises:
            FixableError: In place of what gloo and NCCL raise.
        """
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not any(word in str(error) for word in _LOST):
                raise
            raise FixableError(
                f"process {self.rank} of {self.size}: another one has ended "
                f"({sentence(error, limit=80)})",
                "see what it said last; the same command goes on from what is kept",
            ) from error

    def any(self, flag: bool) -> bool:  # noqa: FBT001
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        return bool(self.sum(torch.tensor(float(flag))).item())

    def once(self, action: Callable[[], object]) -> None:
        """Do something in the first process, before any goes on; where that fails, all stop.

        Raises:
            FixableError: In the first process, which says what is wrong; the others just leave.
        """
        error = None
        if self.rank == 0:
            try:
                action()
            except FixableError as problem:
                error = problem
        if self.any(error is not None):
            raise error or SystemExit(2)

    def barrier(self) -> None:
        """Wait for the others."""
        if self.size > 1:
            self.sum(torch.zeros(1))


def choose_device(name: str) -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps`` into a device that exists.

    Raises:
        FixableError: There is no such device here.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    local = _environment("LOCAL_RANK", 0)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{local}"  # each process that torchrun starts has its own
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise FixableError(
            f"device={name}: not a device", "use auto, cpu, cuda, cuda:1 or mps"
        ) from error
    present = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and device.index < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not present.get(device.type, False):
        raise FixableError(
            f"device={name}: there is none here", "use device=cpu, or a machine that has it"
        )
    return device


def require_float64(device: torch.device, what: str, *, fix: str = "use device=cpu") -> None:
    """Refuse a device that cannot compute in float64.

    Raises:
        FixableError: It is one of Apple's GPUs.

    >>> require_float64(torch.device("mps"), "nll")
    Traceback (most recent call last):
    ddpm_train.errors.FixableError: device=mps: Apple's GPUs have no float64 for nll
      fix: use device=cpu
    """
    if device.type == "mps":
        raise FixableError(f"device=mps: Apple's GPUs have no float64 for {what}", fix)


def join(device: str = "auto", *, threads: int = 0) -> World:
    """Join the processes that torchrun started, or work alone.

    NCCL connects GPUs, gloo connects CPUs.

    Args:
        device: As ``choose_device`` takes it.
        threads: How many CPU threads this process may use; 0 leaves it to torch.
    """
    chosen = choose_device(device)
    if threads:
        torch.set_num_threads(threads)
    size = _environment("WORLD_SIZE", 1)
    if size == 1:
        return World(chosen)
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if not dist.is_initialized():
        try:
            dist.init_process_group(backend, timeout=timedelta(minutes=30))
        except (ValueError, RuntimeError) as error:
            raise FixableError(
                f"WORLD_SIZE={size} is set, and the other processes cannot be joined "
                f"({sentence(error)})",
                "start them with torchrun, or unset WORLD_SIZE to work alone",
            ) from error
    return World(chosen, dist.get_rank(), size)


def _environment(name: str, default: int) -> int:
    """A number that torchrun leaves in the environment.

    Raises:
        FixableError: It is none.
    """
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise FixableError(
            f"{name}={text} is set, which is no number", f"start with torchrun, or unset {name}"
        )
    return int(text)


def leave() -> None:
    """Part from the others, if there are any."""
    if dist.is_initialized():
        dist.destroy_process_group()
