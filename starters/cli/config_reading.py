"""Reading what a contract of a chain's manifest says, for `deal config check`."""

from typing import Any

from eth_abi.exceptions import DecodingError

from activities.protocols.abi import Function
from domain.chains import ChainProfile
from domain.errors import InvalidConfiguration
from starters.cli.node import Node


def read(
    profile: ChainProfile,
    node: Node,
    name: str,
    function: Function,
    *arguments: object,
) -> tuple[Any, ...]:
    """What the contract of that name answers.

    Raises `InvalidConfiguration` if it is no such contract, and `Unavailable`.
    """
    address = profile.contract(name)
    answer = node.call(address, function.encode(*arguments))
    try:
        return function.decode_result(bytes.fromhex(answer.removeprefix("0x")))
    except (DecodingError, ValueError):
        raise InvalidConfiguration(
            f"{name} does not answer {function.signature}",
            field=f"contracts.{name}",
            value=address,
            limit=f"a contract with {function.signature}",
            actual=answer[:66],
            next_action=f"correct the address manifest of chain {profile.chain_id}",
        ) from None
