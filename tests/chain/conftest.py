"""A real node with everything deployed; each test leaves it as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from web3 import HTTPProvider, Web3

from deploy.chain import ChainState, ensure_state, running_anvil
from deploy.chain.rehearsal import Rehearsal
from deploy.chain.snapshots import anvil_request
from tests.chain.chain import CHAIN_ID, Chain

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def state() -> ChainState:
    """Return the deployed chain, as files."""
    return ensure_state(CHAIN_ID)


@pytest.fixture(scope="module")
def node(state: ChainState) -> Iterator[Web3]:
    """Run a node that goes on from the deployed chain's last block."""
    start = str(state.tip_timestamp + 1)
    options = ("--load-state", str(state.state_file), "--timestamp", start)
    with running_anvil(CHAIN_ID, *options) as anvil:
        yield Web3(HTTPProvider(anvil.url))


@pytest.fixture
def web3(node: Web3) -> Iterator[Web3]:
    """Lend the node, and put it back to where it was when the test ends."""
    snapshot = anvil_request(node, "evm_snapshot")
    yield node
    assert anvil_request(node, "evm_revert", snapshot)


@pytest.fixture
def chain(web3: Web3, state: ChainState) -> Chain:
    """Return the deployed contracts on that node."""
    return Chain(web3, state.manifest_file)


@pytest.fixture
def loop(chain: Chain) -> Rehearsal:
    """Return a loop of 40 ETH that has not begun."""
    treasury, account = chain.people[1:3]
    return Rehearsal(chain.web3, chain.manifest, treasury, account, chain.web3.to_wei(40, "ether"))
