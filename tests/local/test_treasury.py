"""The treasury has its money on the chain, once; the keystore is never made anew by mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from starters.local import anvil, treasury
from starters.local.errors import LocalStackError
from starters.local.probes import rpc
from starters.local.workers import keystore_file, passphrase_file
from tests.local.conftest import StackMaker

TREASURY = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
FEE = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
OWN = treasury.OwnAccounts(TREASURY, FEE)


@pytest.mark.parametrize("block_time", [None, 1])
def test_funding_happens_once_and_survives_a_restart(
    make: StackMaker, block_time: int | None
) -> None:
    stack = make(block_time=block_time)
    stack.up()
    port = stack.port("chain-138")
    contracts = anvil.manifest(138)["contracts"]
    usdt, safe = contracts["usdt"], contracts["treasury_safe"]
    for account in (TREASURY, FEE, safe):
        rpc(port, "anvil_setBalance", account, "0x0")

    for _ in range(2):
        treasury.fund(port, OWN, contracts)
        assert int(rpc(port, "eth_getBalance", safe, "latest"), 16) == treasury.ETH
        assert int(rpc(port, "eth_getBalance", TREASURY, "latest"), 16) == treasury.ETH
        assert int(rpc(port, "eth_getBalance", FEE, "latest"), 16) == treasury.FEE_ETH
        assert _usdt(port, usdt) == treasury.USDT

    stack.restart("chain-138")
    treasury.fund(port, OWN, contracts)
    assert _usdt(port, usdt) == treasury.USDT


def _usdt(port: int, usdt: str) -> int:
    data = "0x70a08231" + TREASURY[2:].rjust(64, "0")
    return int(rpc(port, "eth_call", {"to": usdt, "data": data}, "latest"), 16)


def test_a_keystore_without_its_passphrase_is_not_replaced(folder: Path) -> None:
    keystore_file(folder).parent.mkdir()
    keystore_file(folder).write_text("a seed")
    with pytest.raises(LocalStackError, match="passphrase is not at"):
        treasury.open_key_store(folder, {})
    assert keystore_file(folder).read_text() == "a seed"


def test_a_signer_that_refuses_is_quoted(folder: Path) -> None:
    keystore_file(folder).parent.mkdir()
    keystore_file(folder).write_text("not a keystore")
    passphrase_file(folder).write_text("wrong")
    passphrase_file(folder).chmod(0o600)
    with pytest.raises(
        LocalStackError, match=r"workers\.signer init.* ended with status"
    ) as caught:
        treasury.open_key_store(folder, {})
    assert caught.value.detail
