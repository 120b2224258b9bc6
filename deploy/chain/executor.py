"""The batch executor's code, as production loads it: a file beside the engine, made here.

Production has neither Node.js nor the compiler, so the compiled code is committed; a test compares
it with what the sources give.
"""

from __future__ import annotations

import json

from deploy.chain.artifacts import own
from deploy.chain.paths import EXECUTOR_FILE, write_whole
from deploy.chain.progress import announce

CONTRACT = "BatchExecutor"


def executor_text() -> str:
    """Return what the file has to hold, by the present sources."""
    content = {
        "contract": f"deploy/chain/contracts/{CONTRACT}.sol",
        "runtime": own(CONTRACT).runtime,
    }
    return json.dumps(content, indent=2) + "\n"


def write_executor() -> None:
    """Bring the committed file up to date."""
    text = executor_text()
    if not EXECUTOR_FILE.is_file() or EXECUTOR_FILE.read_text() != text:
        announce(f"writing {EXECUTOR_FILE.name}")
        write_whole(EXECUTOR_FILE, text)
