"""A worker's place taken: it becomes ready, shows its environment, and ends when told to.

Usage: `python -m tests.local.stand_in [fail | hide | stubborn]`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path


def main(manner: str) -> int:
    """Behave like a worker, or one that fails, is never ready, or does not end."""
    if manner == "fail":
        sys.stderr.write("the stand-in was told to fail\n")
        return 3
    if manner == "hide":
        threading.Event().wait()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    ready = Path(os.environ["DEAL_READY_FILE"])
    draft = ready.with_suffix(".draft")
    draft.write_text(json.dumps(dict(os.environ)))
    draft.replace(ready)
    while not (ended.wait(0.1) and manner != "stubborn"):
        pass
    ready.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:] or ["work"]))
