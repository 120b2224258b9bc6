"""Keeps a copy of each chain on disk while it runs, so that a killed node loses little.

anvil can write its state at an interval itself, but in place: a node killed while it writes leaves
half a file and no chain. Here each copy replaces the last one whole. Besides, it keeps the chain's
price feeds fresh. Usage:
`python -m starters.local.keeper READY_FILE PORT=FILE ...`
"""

from __future__ import annotations

import gzip
import sys
import time
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from eth_abi.exceptions import DecodingError

from starters.local.probes import RpcError, rpc
from starters.local.reporter import repeat_old_answers

# A copy grows with the chain, so the pause does too: saving takes this share of a core at most.
_SHARE = 0.05
_SHORTEST_PAUSE = 1.0
_DUMP_TIMEOUT = 120.0
_REPORT_PAUSE = 60.0


@dataclass
class Watch:
    """One chain: where its node is, where the copy goes, and what was saved last."""

    port: int
    file: Path
    saved_block: str = ""
    due: float = 0.0
    report_due: float = 0.0

    def report_if_due(self) -> None:
        """Keep the price feeds from growing too old; a node that is away is no error."""
        if time.monotonic() < self.report_due:
            return
        try:
            repeat_old_answers(self.port)
        except (OSError, RpcError, HTTPException, ValueError, DecodingError) as error:
            sys.stderr.write(f"port {self.port}: feeds not looked at: {error!r}\n")
        self.report_due = time.monotonic() + _REPORT_PAUSE

    def save_if_due(self) -> None:
        """Save the chain if it has grown and the pause is over; a node that is away is no error."""
        if time.monotonic() < self.due:
            return
        began = time.monotonic()
        try:
            self._save()
        except (OSError, RpcError, HTTPException, ValueError) as error:
            sys.stderr.write(f"port {self.port}: not saved: {error!r}\n")
        spent = time.monotonic() - began
        self.due = time.monotonic() + max(_SHORTEST_PAUSE, spent / _SHARE)

    def _save(self) -> None:
        block = rpc(self.port, "eth_blockNumber")
        if block == self.saved_block:
            self._wake()
            return
        state = rpc(self.port, "anvil_dumpState", timeout=_DUMP_TIMEOUT)
        draft = self.file.with_suffix(".draft")
        draft.write_bytes(gzip.decompress(bytes.fromhex(state.removeprefix("0x"))))
        draft.replace(self.file)
        self.saved_block = block

    def _wake(self) -> None:
        """Have a node that mines at once mine what it has left waiting for a second or longer.

        Under a flood of transactions anvil now and then misses one, and then waits for the next.
        """
        if not rpc(self.port, "anvil_getAutomine"):
            return
        if int(rpc(self.port, "txpool_status")["pending"], 16):
            rpc(self.port, "evm_mine")


def main(ready: Path, watches: list[Watch]) -> None:
    """Save the chains until the process is ended."""
    ready.touch()
    while True:
        for watch in watches:
            watch.save_if_due()
            watch.report_if_due()
        time.sleep(_SHORTEST_PAUSE / 4)


def _watch(argument: str) -> Watch:
    port, _, file = argument.partition("=")
    return Watch(int(port), Path(file))


if __name__ == "__main__":
    main(Path(sys.argv[1]), [_watch(argument) for argument in sys.argv[2:]])
