"""Memory that is overwritten when it is freed, for processes that have keys in it for a moment."""

import ctypes
import os
import resource
import sys
from typing import Final

_SETTINGS: Final = {
    # Python would keep small objects in pools of its own, which nobody overwrites.
    "PYTHONMALLOC": "malloc",
    # What is freed is filled, and at once: the C library's per-thread cache would put that off.
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.perturb=165",
}

_PR_SET_DUMPABLE: Final = 4
"""Of prctl(2)."""


def clear_freed_memory() -> None:
    """Begin this process anew, once, with an allocator that overwrites what is freed.

    Copies of seeds and keys are made by libraries that nobody can ask to clear them: of text and
    JSON, of TLS, of hashing. The allocator is set at the start of a process only, hence anew: same
    process id, same arguments. Outside of Linux with the GNU C library this does nothing.
    """
    if sys.platform == "linux" and any(os.environ.get(k) != v for k, v in _SETTINGS.items()):
        os.environ.update(_SETTINGS)
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - this very command


def refuse_dumps() -> None:
    """Have no core written when this process dies, and nobody but root look into its memory.

    Other processes of the same user can then neither trace it nor read ``/proc/<pid>/mem`` and
    ``environ`` (on Linux; elsewhere only cores are refused).
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
