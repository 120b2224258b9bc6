"""Secrets that a process must keep: in pages of their own, which no memory dump contains."""

import ctypes
import mmap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, NoReturn

from pydantic import SecretBytes

_BYTES_OFFSET: Final = bytes.__basicsize__ - 1
"""Of the content in CPython's object, which ends with a zero byte more."""


class Guarded:
    """A secret in a page that is left out of core dumps, and is never swapped out if that may be.

    Whoever may read the process's memory directly (root on this host) can still read it.
    """

    __slots__ = ("_length", "_page")

    def __init__(self, secret: SecretBytes) -> None:
        """Take a copy; what becomes of the one that is given is up to whoever gives it."""
        raw = secret.get_secret_value()
        self._length = len(raw)
        self._page = mmap.mmap(-1, max(1, self._length))
        with suppress(AttributeError, OSError):  # where the system knows no such thing
            self._page.madvise(mmap.MADV_DONTDUMP)
            self._page.madvise(mmap.MADV_DONTFORK)
            _lock(self._page)
        self._page[: self._length] = raw

    @contextmanager
    def lent(self) -> Iterator[SecretBytes]:
        """Lend a copy for as long as it is used; it is overwritten when it comes back."""
        secret = SecretBytes(self._page[: self._length])
        try:
            yield secret
        finally:
            overwrite(secret)

    def __repr__(self) -> str:
        """Nothing but the kind."""
        return f"{type(self).__name__}()"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: that would carry the secret elsewhere."""
        msg = f"{type(self).__name__} cannot be serialised"
        raise TypeError(msg)


def overwrite(secret: SecretBytes) -> None:
    """Put zeros in the place of a secret that nobody needs any more.

    Python has no bytes that can be cleared, so this writes to where CPython keeps them. Copies
    that libraries have made are cleared as they are freed, by `workers.runtime.memory`.
    """
    raw = secret.get_secret_value()
    if len(raw) > 1:  # Python has one object for each single byte, and one for none
        ctypes.memset(id(raw) + _BYTES_OFFSET, 0, len(raw))


def _lock(page: mmap.mmap) -> None:
    """Keep the page out of swap; beyond the limit of locked memory it stays as it is."""
    start = ctypes.addressof(ctypes.c_char.from_buffer(page))
    ctypes.CDLL(None).mlock(ctypes.c_void_p(start), ctypes.c_size_t(len(page)))
