"""Builds the local chains from the command line: `python -m deploy.chain build`."""

from __future__ import annotations

import argparse
import json
import sys

from deploy.chain.errors import ChainError
from deploy.chain.states import CHAIN_IDS, build


def main() -> int:
    """Run one command; return 0 when done and 1 after printing an error."""
    parser = argparse.ArgumentParser(prog="python -m deploy.chain", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="deploy the chains whose state is missing; print where it is")
    commands.add_parser("gas", help="walk one loop through the protocols; print each step's gas")
    arguments = parser.parse_args()
    try:
        result = _build() if arguments.command == "build" else _gas()
    except ChainError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return 0


def _build() -> dict[str, dict[str, str | int]]:
    return {
        str(chain_id): {
            "state": str(state.state_file),
            "manifest": str(state.manifest_file),
            "timestamp": state.tip_timestamp,
        }
        for chain_id, state in build().items()
    }


def _gas() -> dict[str, int]:
    # Imported here because only this command needs web3 when the states exist.
    from deploy.chain.rehearsal import measure_gas  # noqa: PLC0415

    return measure_gas(CHAIN_IDS[0])


if __name__ == "__main__":
    sys.exit(main())
