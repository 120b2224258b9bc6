"""The treasury of the local chains: its key is the signer's, its money is made by the node."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from starters.local import probes
from starters.local.errors import LocalStackError
from starters.local.processes import base_environment
from starters.local.state import project_dir
from starters.local.workers import keystore_file, passphrase_file

if TYPE_CHECKING:
    from pathlib import Path

ETH = 100_000 * 10**18  # wei
USDT = 1_000_000 * 10**6

# The first four bytes of the hash of each signature.
_OWNER = "0x8da5cb5b"  # owner()
_ISSUE = "0xcc872b66"  # issue(uint256)
_TRANSFER = "0xa9059cbb"  # transfer(address,uint256)
_BALANCE_OF = "0x70a08231"  # balanceOf(address)

_INIT_SECONDS = 120


def open_keystore(stack: Path) -> str:
    """Create the signer's keystore where there is none, and return the treasury's address.

    The signer does it, in its own process: no key comes near this one.

    Raises:
        LocalStackError: the signer refused.

    """
    keystore, passphrase = keystore_file(stack), passphrase_file(stack)
    keystore.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _ensure_passphrase(keystore, passphrase)
    arguments = ["--keystore", str(keystore), "--passphrase-file", str(passphrase)]
    done = subprocess.run(  # noqa: S603 - our own worker
        [sys.executable, "-m", "workers.signer", "init", *arguments],
        check=False,
        capture_output=True,
        cwd=project_dir(),
        env=base_environment(stack, keystore.parent) | {"DEAL_ENVIRONMENT": "development"},
        timeout=_INIT_SECONDS,
        umask=0o077,
    )
    try:
        return str(json.loads(done.stdout)["treasury"])
    except (ValueError, KeyError, TypeError) as error:
        raise LocalStackError(
            what="The signer's keystore could not be opened",
            why=f"`workers.signer init` ended with status {done.returncode}",
            action=f"See below; the keystore is {keystore}.",
            detail=done.stderr.decode(errors="replace")[-2000:],
        ) from error


def _ensure_passphrase(keystore: Path, passphrase: Path) -> None:
    if passphrase.exists():
        return
    if keystore.exists():
        raise LocalStackError(
            what="The signer's keystore cannot be opened",
            why=f"its passphrase is not at {passphrase}",
            action="Put it back there; without it the accounts of running deals are lost.",
        )
    with os.fdopen(os.open(passphrase, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(32))


def fund(port: int, treasury: str, usdt: str) -> None:
    """Give the treasury its ETH and USDT on the chain of this node, where it has none.

    Asking the chain rather than remembering it: a node killed right after its first start has
    forgotten the funding too.

    Raises:
        LocalStackError: a transaction of the funding failed.

    """
    if int(probes.rpc(port, "eth_getBalance", treasury, "latest"), 16) == 0:
        probes.rpc(port, "anvil_setBalance", treasury, hex(ETH))
    if int(_read(port, usdt, _BALANCE_OF + _word(treasury)), 16) == 0:
        _issue(port, treasury, usdt)


def _issue(port: int, treasury: str, usdt: str) -> None:
    owner = "0x" + _read(port, usdt, _OWNER)[-40:]
    probes.rpc(port, "anvil_impersonateAccount", owner)
    try:
        amount = f"{USDT:064x}"
        sent = [
            _send(port, owner, usdt, _ISSUE + amount),
            _send(port, owner, usdt, _TRANSFER + _word(treasury) + amount),
        ]
        probes.rpc(port, "evm_mine")  # rather than wait for the next block
    finally:
        probes.rpc(port, "anvil_stopImpersonatingAccount", owner)
    receipts: list[dict[str, Any]] = [
        probes.rpc(port, "eth_getTransactionReceipt", transaction) for transaction in sent
    ]
    if any(receipt is None or receipt["status"] != "0x1" for receipt in receipts):
        raise LocalStackError(
            what="The treasury could not be given its USDT",
            why=f"the node on port {port} reverted {' or '.join(sent)}",
            action="Run `deal local down` and remove the stack's folder to begin anew.",
        )


def _send(port: int, sender: str, target: str, data: str) -> str:
    # The gas is given so that the node need not simulate the second on the state of the first.
    call = {"from": sender, "to": target, "data": data, "gas": hex(200_000)}
    return str(probes.rpc(port, "eth_sendTransaction", call))


def _read(port: int, target: str, data: str) -> str:
    return str(probes.rpc(port, "eth_call", {"to": target, "data": data}, "latest"))


def _word(address: str) -> str:
    return address.removeprefix("0x").lower().rjust(64, "0")
