"""Where the chains come from: `deploy/chain` of the checkout, which no installed wheel contains."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from starters.local.errors import LocalStackError

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.chain import ChainState


def prepared(chain_id: int) -> ChainState:
    """Return the chain's prepared state, deploying it first where there is none.

    Raises:
        LocalStackError: it could not be prepared.

    """
    try:
        from deploy.chain import ChainError, ensure_state  # noqa: PLC0415 - see above
    except ImportError as error:
        raise _no_checkout(error) from error
    try:
        return ensure_state(chain_id)
    except ChainError as error:
        raise LocalStackError(
            what=f"Chain {chain_id} could not be prepared",
            why=str(error),
            action="Put that right and try again.",
        ) from error


def addresses(chain_id: int) -> dict[str, str]:
    """Return the addresses of a prepared chain's contracts, from the committed manifest.

    Raises:
        LocalStackError: this is no checkout.

    """
    try:
        from deploy.chain.manifest import manifest_file  # noqa: PLC0415 - see above
    except ImportError as error:
        raise _no_checkout(error) from error
    contracts: dict[str, str] = json.loads(manifest_file(chain_id).read_text())["contracts"]
    return contracts


def anvil() -> Path:
    """Return the program of the local nodes.

    Raises:
        LocalStackError: it is missing and could not be installed.

    """
    try:
        from deploy.chain import CHAIN_IDS, ChainError, anvil_binary  # noqa: PLC0415 - see above
    except ImportError as error:
        raise _no_checkout(error) from error
    try:
        return anvil_binary()
    except ChainError:
        prepared(CHAIN_IDS[0])  # installs the packages, anvil among them
        return anvil_binary()


def _no_checkout(error: ImportError) -> LocalStackError:
    return LocalStackError(
        what="The local chains are missing",
        why=f"`deploy.chain` cannot be imported ({error})",
        action="Run `deal local` from a checkout of the project.",
    )
