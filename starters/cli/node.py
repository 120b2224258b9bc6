"""A node's answers to a few plain questions, without a library for everything else."""

import json
import urllib.error
import urllib.request
from typing import Any, Final
from urllib.parse import urlsplit

from domain.errors import InvalidConfiguration, Unavailable

_TIMEOUT_SECONDS: Final = 5
_TOO_MANY: Final = object()
"""What stands for the answer of a node that gives no logs of so many blocks."""
_FEWEST_BLOCKS: Final = 500
"""Every node gives the logs of so many at once."""


class Node:
    """One JSON-RPC endpoint."""

    def __init__(self, endpoint: str) -> None:
        """Name the endpoint; raises `InvalidConfiguration` if it is not an HTTP address."""
        self.name = public_name(endpoint)
        if not self.name.startswith(("http://", "https://")):
            raise InvalidConfiguration(
                "the endpoint is not an HTTP address",
                field="endpoints",
                value=self.name,
                limit="http:// or https://",
                next_action="correct the endpoint in the chain's profile",
            )
        self._endpoint = endpoint

    def chain_id(self) -> int:
        """Return what the node says its chain is. Raises `Unavailable`."""
        return int(self._call("eth_chainId"), 16)

    def has_code(self, address: str) -> bool:
        """Whether there is a contract at the address. Raises `Unavailable`."""
        return self._call("eth_getCode", address, "latest") not in {"0x", "", None}

    def call(self, to: str, data: str) -> str:
        """Call a contract in the newest block; 0x-hexadecimal, without digits if it reverts.

        Raises `Unavailable`.
        """
        return str(self._call("eth_call", {"to": to, "data": data}, "latest", reverted="0x"))

    def transactions_of(self, address: str) -> int:
        """How many transactions an account has sent, mined or waiting. Raises `Unavailable`."""
        return int(self._call("eth_getTransactionCount", address, "pending"), 16)

    def storage(self, address: str, slot: str) -> str:
        """One word of a contract's storage in the newest block. Raises `Unavailable`."""
        return str(self._call("eth_getStorageAt", address, slot, "latest"))

    def logs(self, address: str, topic: str, first: int = 0) -> list[dict[str, Any]]:
        """Every log of a contract with this first topic, from a block to the newest.

        A node that gives no logs of so many blocks at once is asked for fewer. Raises
        `Unavailable`.
        """
        return self._logs(address, topic, first, int(self._call("eth_blockNumber"), 16))

    def _logs(self, address: str, topic: str, first: int, last: int) -> list[dict[str, Any]]:
        sought = {
            "address": address,
            "topics": [topic],
            "fromBlock": hex(first),
            "toBlock": hex(last),
        }
        several = last - first >= _FEWEST_BLOCKS
        found = self._call("eth_getLogs", sought, refused=_TOO_MANY if several else None)
        if found is not _TOO_MANY:
            return list(found)
        middle = (first + last) // 2
        return [
            *self._logs(address, topic, first, middle),
            *self._logs(address, topic, middle + 1, last),
        ]

    def _call(
        self,
        method: str,
        *parameters: object,
        reverted: str | None = None,
        refused: object = None,
    ) -> Any:  # noqa: ANN401 - JSON
        """What the node answers; `reverted` for a revert, `refused` for any other error of its."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            self._endpoint,
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "User-Agent": "deal"},
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 - as above
                told = json.load(answer)
                if reverted is not None and "error" in told and "revert" in str(told["error"]):
                    return reverted
                if refused is not None and "error" in told:
                    return refused
                return told["result"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise Unavailable(
                f"the node does not answer {method}",
                field="endpoints",
                value=self.name,
                actual=str(reason) or type(error).__name__,
                next_action="start the node, or correct the endpoint in the chain's profile",
            ) from None


def public_name(endpoint: str) -> str:
    """Return an endpoint without user, password, path and query, which may hold a key."""
    parts = urlsplit(endpoint)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme or 'no scheme'}://{host}"
