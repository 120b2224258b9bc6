"""What transactions call, in words that are the same for every run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from web3 import HTTPProvider, Web3

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_SELECTOR_BYTES = 4


def calls_of(url: str, manifest: Path, hashes: Iterable[str]) -> list[str]:
    """`<contract> <selector>` of each transaction; the first must be the funding.

    Contracts are called as the manifest has them, the two accounts `treasury` and `account`.
    """
    web3 = Web3(HTTPProvider(url))
    transactions = [web3.eth.get_transaction(each) for each in hashes]  # type: ignore[arg-type]
    contracts: dict[str, str] = json.loads(manifest.read_text())["contracts"]
    names = {address: name for name, address in contracts.items()}
    names |= {transactions[0]["from"]: "treasury", transactions[0]["to"]: "account"}
    return [
        f"{names.get(each['to'], each['to'])} {each['input'][:_SELECTOR_BYTES].to_0x_hex()}"
        for each in transactions
    ]
