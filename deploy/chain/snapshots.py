"""Reads a running anvil's state: accounts, blocks, transactions, and receipts."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

from web3 import HTTPProvider, Web3
from web3.types import RPCEndpoint

from deploy.chain.errors import ChainError
from deploy.chain.paths import write_whole

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 120.0  # a state of many thousand blocks takes a while


def anvil_request(web3: Web3, method: str, *parameters: object) -> Any:  # noqa: ANN401 - any JSON
    """Call one of anvil's own methods and return its result.

    Raises:
        ChainError: anvil answers with an error.

    """
    response = web3.provider.make_request(RPCEndpoint(method), list(parameters))
    if "error" in response:
        message = f"anvil refused {method}: {response['error']}"
        raise ChainError(message)
    return response["result"]


def read_state(web3: Web3) -> str:
    """Return the text of a state file that `anvil --load-state` takes.

    Raises:
        ChainError: anvil refuses, or answers with something that is no state.

    """
    packed: str = anvil_request(web3, "anvil_dumpState")
    text = gzip.decompress(bytes.fromhex(packed.removeprefix("0x"))).decode()
    if "blocks" not in json.loads(text):
        message = "anvil gave a state without blocks"
        raise ChainError(message)
    return text


def save_state(url: str, target: Path) -> None:
    """Write a running anvil's state to a file, whole or not at all.

    anvil's own `--dump-state` and `--state-interval` write in place: killed while it writes, it
    leaves a torn file behind and nothing to load.

    Raises:
        ChainError: anvil refuses.

    """
    provider = HTTPProvider(url, request_kwargs={"timeout": SECONDS})
    write_whole(target, read_state(Web3(provider)))
