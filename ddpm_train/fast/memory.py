"""The memory of activations: reused between evaluations, not returned and requested again."""

import ctypes
import platform

# glibc's mallopt: parameters and the largest values that it takes.
_TRIM_THRESHOLD, _NEVER = -1, 2**31 - 1
_MMAP_THRESHOLD, _LARGEST = -3, 2**25


def keep_freed() -> None:
    """Let this process keep what it frees; without glibc this does nothing.

    By default every large activation is mapped anew, and the system clears each of its pages: a
    tenth of a training step on a CPU.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_TRIM_THRESHOLD, _NEVER)
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST)


def give_back() -> None:
    """Give the system what has been freed so far; without glibc this does nothing."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
