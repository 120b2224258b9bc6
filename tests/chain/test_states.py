"""The deployed states and the committed manifests and profiles."""

from __future__ import annotations

import json
import time
import tomllib
from typing import TYPE_CHECKING

import pytest
from eth_utils.address import is_checksum_address
from web3 import HTTPProvider, Web3

from deploy.chain import CHAIN_IDS, ChainError, ensure_state, running_anvil
from deploy.chain.deployment import deploy_chain
from deploy.chain.manifest import manifest_file, manifest_text
from deploy.chain.paths import CONFIG_DIR
from deploy.chain.snapshots import anvil_request, read_state, save_state

if TYPE_CHECKING:
    from pathlib import Path

NAMES = {138: "DeFi Oracle Meta Mainnet", 651940: "ALL Mainnet"}


@pytest.mark.parametrize("chain_id", CHAIN_IDS)
def test_a_state_is_loaded_in_under_a_second_and_holds_every_contract(chain_id: int) -> None:
    state = ensure_state(chain_id)
    contracts = json.loads(state.manifest_file.read_text())["contracts"]
    began = time.monotonic()
    with running_anvil(chain_id, "--load-state", str(state.state_file)) as anvil:
        web3 = Web3(HTTPProvider(anvil.url))
        assert web3.eth.chain_id == chain_id
        assert time.monotonic() - began < 1.0
        assert web3.eth.get_block("latest")["timestamp"] == state.tip_timestamp
        for key, address in contracts.items():
            assert is_checksum_address(address), key
            assert len(web3.eth.get_code(address)) > 0, key


@pytest.mark.parametrize("chain_id", CHAIN_IDS)
def test_the_committed_manifest_is_what_a_deployment_writes(chain_id: int) -> None:
    deployment = deploy_chain(chain_id)
    expected = manifest_text(chain_id, deployment.contracts)
    assert manifest_file(chain_id).read_text() == expected
    assert len(set(deployment.contracts.values())) == len(deployment.contracts)


def test_a_state_that_exists_is_only_looked_up() -> None:
    ensure_state(138)
    began = time.monotonic()
    ensure_state(138)
    assert time.monotonic() - began < 0.5


def test_an_unknown_chain_is_refused() -> None:
    with pytest.raises(ChainError, match="no local chain 1: there are"):
        ensure_state(1)


def test_a_manifest_that_is_out_of_date_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stale = tmp_path / "138.addresses.json"
    stale.write_text(manifest_file(138).read_text().replace('"weth"', '"wether"'))
    monkeypatch.setattr("deploy.chain.states.manifest_file", lambda _: stale)
    with pytest.raises(ChainError, match=r"out of date: run `python -m deploy.chain build`"):
        ensure_state(138)


@pytest.mark.parametrize("chain_id", CHAIN_IDS)
def test_a_profile_names_its_chain_and_only_contracts_of_its_manifest(chain_id: int) -> None:
    profile = tomllib.loads((CONFIG_DIR / f"{chain_id}.toml").read_text())
    assert (profile["chain_id"], profile["name"]) == (chain_id, NAMES[chain_id])
    manifest = json.loads((CONFIG_DIR / profile["addresses"]).read_text())
    assert manifest["chain_id"] == chain_id
    module = profile["modules"]["usdtz"]
    named = {module[role] for role in ("par_token", "discount_token", "pool", "collateral")}
    assert {*named, module["redemption"]} <= manifest["contracts"].keys()


def test_a_saved_state_keeps_transactions_and_receipts(tmp_path: Path) -> None:
    state, saved = ensure_state(138), tmp_path / "saved.json"
    with running_anvil(138, "--load-state", str(state.state_file)) as anvil:
        web3 = Web3(HTTPProvider(anvil.url))
        sender, recipient = list(web3.eth.accounts)[:2]
        sent = web3.eth.send_transaction(
            {"from": sender, "to": recipient, "value": Web3.to_wei(1, "ether")}
        )
        before = web3.eth.wait_for_transaction_receipt(sent, poll_latency=0.01)
        anvil_request(web3, "anvil_mine", 100)
        tip = web3.eth.get_block("latest")
        save_state(anvil.url, saved)
    with running_anvil(138, "--load-state", str(saved)) as anvil:
        web3 = Web3(HTTPProvider(anvil.url))
        assert web3.eth.get_block("latest")["hash"] == tip["hash"]
        assert web3.eth.get_transaction_receipt(sent) == before
        assert web3.eth.get_transaction(sent)["blockHash"] == before["blockHash"]
        assert json.loads(read_state(web3))["blocks"]
    assert [file.name for file in tmp_path.iterdir()] == ["saved.json"]
