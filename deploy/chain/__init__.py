"""The local chain: every contract of a deal, deployed once, loaded in under a second."""

from deploy.chain.anvil import RunningAnvil, anvil_binary, anvil_command, running_anvil
from deploy.chain.errors import ChainError
from deploy.chain.states import CHAIN_IDS, ChainState, build, ensure_state

__all__ = [
    "CHAIN_IDS",
    "ChainError",
    "ChainState",
    "RunningAnvil",
    "anvil_binary",
    "anvil_command",
    "build",
    "ensure_state",
    "running_anvil",
]
