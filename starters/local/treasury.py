"""The desk's own accounts on the local chains: the signer's keys, and money that the node makes."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starters.local import probes
from starters.local.errors import LocalStackError
from starters.local.processes import base_environment
from starters.local.state import project_dir
from starters.local.workers import LOCAL_KEYS, key_store, keystore_file, passphrase_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ETH = 100_000 * 10**18  # wei
FEE_ETH = 10 * 10**18
USDT = 1_000_000 * 10**6

# The first four bytes of the hash of each signature.
_OWNER = "0x8da5cb5b"  # owner()
_ISSUE = "0xcc872b66"  # issue(uint256)
_TRANSFER = "0xa9059cbb"  # transfer(address,uint256)
_HAS_ROLE = "0x91d14854"  # hasRole(bytes32,address)
_GRANT_ROLE = "0x2f2ff15d"  # grantRole(bytes32,address)
_BALANCE_OF = "0x70a08231"  # balanceOf(address)

# What the fee account is to the timelock: the keccak-256 of each role's name.
_ROLES = (
    "b09aa5aeb3702cfd50b6b62bc4532604938f21248a27a1d5ca736082b6819cc1",  # PROPOSER_ROLE
    "d8aa0f3194971a2a116679f7c2090f6939c8d4e01a2a8d7e41d55e5351469e63",  # EXECUTOR_ROLE
    "fd643c72710c63c0180259aba6b2d05451e3591a24e58b62239378085726f783",  # CANCELLER_ROLE
)

_INIT_SECONDS = 120


@dataclass(frozen=True)
class OwnAccounts:
    """The addresses of the treasury and of the account that pays fees for people."""

    treasury: str
    fee: str


def open_key_store(stack: Path, chosen: Mapping[str, str]) -> OwnAccounts:
    """Make the signer's key store ready and return the desk's own accounts.

    `chosen` is what the signer's environment says besides. The signer does it, in its own process:
    no key comes near this one.

    Raises:
        LocalStackError: the signer refused.

    """
    environment = key_store(stack) | dict(chosen)
    keystore, passphrase = keystore_file(stack), passphrase_file(stack)
    keystore.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if environment["KEY_PROVIDER"] == LOCAL_KEYS:
        _ensure_passphrase(keystore, passphrase)
    base = base_environment(stack, keystore.parent) | {"DEAL_ENVIRONMENT": "development"}
    done = subprocess.run(
        [sys.executable, "-m", "workers.signer", "init"],
        check=False,
        capture_output=True,
        cwd=project_dir(),
        env=base | environment,
        timeout=_INIT_SECONDS,
        umask=0o077,
    )
    try:
        accounts = json.loads(done.stdout)
        return OwnAccounts(str(accounts["treasury"]), str(accounts["fee"]))
    except (ValueError, KeyError, TypeError) as error:
        raise LocalStackError(
            what="The signer's key store could not be opened",
            why=f"`workers.signer init` ended with status {done.returncode}",
            action=f"See below; the provider is {environment['KEY_PROVIDER']}, its keystore, "
            f"if it has one, {keystore}.",
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


def fund(port: int, accounts: OwnAccounts, contracts: Mapping[str, str]) -> None:
    """Give the desk's accounts what they need on the chain of this node, where they have none.

    The treasury gets ETH and USDT, the owners' Safe ETH, the fee account a little ETH, and the
    right to propose, execute and cancel what the timelock does.

    Asking the chain rather than remembering it: a node killed right after its first start has
    forgotten the funding too.

    Raises:
        LocalStackError: a transaction of the funding failed.

    """
    usdt, safe = contracts["usdt"], contracts["treasury_safe"]
    for account, ether in ((accounts.treasury, ETH), (safe, ETH), (accounts.fee, FEE_ETH)):
        if int(probes.rpc(port, "eth_getBalance", account, "latest"), 16) == 0:
            probes.rpc(port, "anvil_setBalance", account, hex(ether))
    if int(_read(port, usdt, _BALANCE_OF + _word(accounts.treasury)), 16) == 0:
        _issue(port, accounts.treasury, usdt)
    _grant_roles(port, accounts.fee, contracts["timelock"])


def _grant_roles(port: int, fee: str, timelock: str) -> None:
    """Give the fee account its roles as the timelock, which nobody else administers."""
    missing = [
        role for role in _ROLES if not int(_read(port, timelock, _HAS_ROLE + role + _word(fee)), 16)
    ]
    if missing:
        probes.rpc(port, "anvil_setBalance", timelock, hex(10**18))
        calls = [_GRANT_ROLE + role + _word(fee) for role in missing]
        _as(port, timelock, [(timelock, data) for data in calls], "The fee account has no roles")
        probes.rpc(port, "anvil_setBalance", timelock, hex(0))


def _issue(port: int, treasury: str, usdt: str) -> None:
    owner = "0x" + _read(port, usdt, _OWNER)[-40:]
    amount = f"{USDT:064x}"
    calls = [(usdt, _ISSUE + amount), (usdt, _TRANSFER + _word(treasury) + amount)]
    _as(port, owner, calls, "The treasury could not be given its USDT")


def _as(port: int, sender: str, calls: list[tuple[str, str]], otherwise: str) -> None:
    """Send calls from an account whose key nobody has; `otherwise` says what failed."""
    probes.rpc(port, "anvil_impersonateAccount", sender)
    try:
        sent = [_send(port, sender, target, data) for target, data in calls]
        probes.rpc(port, "evm_mine")  # rather than wait for the next block
    finally:
        probes.rpc(port, "anvil_stopImpersonatingAccount", sender)
    receipts: list[dict[str, Any]] = [
        probes.rpc(port, "eth_getTransactionReceipt", transaction) for transaction in sent
    ]
    if any(receipt is None or receipt["status"] != "0x1" for receipt in receipts):
        raise LocalStackError(
            what=otherwise,
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
