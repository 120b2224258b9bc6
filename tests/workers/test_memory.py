"""A process that clears its memory begins once more, as itself, with the same arguments."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from workers.runtime import memory

SAYS_WHO_IT_IS = """
import os, sys
print(os.getpid(), sys.argv[1:], flush=True)
from workers.runtime.memory import clear_freed_memory
clear_freed_memory()
print("cleared", sorted(set(os.environ) & {"PYTHONMALLOC", "GLIBC_TUNABLES"}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator is that of Linux")
def test_the_process_begins_once_more_as_itself() -> None:
    process = subprocess.run(
        [sys.executable, "-c", SAYS_WHO_IT_IS, "run", "two words"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    first, second, last = process.stdout.splitlines()
    assert first == second
    assert "['run', 'two words']" in first
    assert last == "cleared ['GLIBC_TUNABLES', 'PYTHONMALLOC']"


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    monkeypatch.setattr(memory.os, "execv", lambda *_: pytest.fail("must not begin anew"))
    before = dict(os.environ)
    memory.clear_freed_memory()
    assert dict(os.environ) == before
