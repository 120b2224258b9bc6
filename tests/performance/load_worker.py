"""One worker of the load benchmark: `python -m tests.performance.load_worker <role>`.

The real worker, whose batches call the Ledger as in `tests.faults`. The chain worker also notes
when each transaction was out, outside the engine's own tables: when the node had answered to the
sending, which is a little after the transaction arrived there.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from activities.transactions.broadcast import Broadcaster
from tests.faults.worker import run_chain, run_deals, run_signer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from activities.transactions.store import Attempt

SENT_FILE: Final = "LOAD_SENT_FILE"


def _note_sendings(file: Path) -> None:
    """Have every sending append its intents: Unix seconds and the intent's id, a line each."""
    real = Broadcaster.send
    lines = file.open("a", encoding="utf-8")

    async def send(self: Broadcaster, attempts: Sequence[Attempt], **options: Any) -> None:
        await real(self, attempts, **options)
        now = time.time()
        lines.writelines(f"{now:.6f} {attempt.intent_id}\n" for attempt in attempts)
        lines.flush()

    Broadcaster.send = send  # type: ignore[method-assign]


def main(role: str) -> None:
    """Run the worker of a role until SIGTERM."""
    match role:
        case "chain":
            _note_sendings(Path(os.environ[SENT_FILE]))
            run_chain()
        case "signer":
            run_signer()
        case "deals":
            run_deals()
        case _:
            sys.exit(f"no role {role}")


if __name__ == "__main__":
    main(sys.argv[1])
