"""What an owner's own node says of a Safe and of a deal's account, whatever the server says."""

from dataclasses import dataclass

from activities.protocols import aave, safe
from activities.protocols.abi import Function
from domain.chains import ChainProfile
from domain.errors import Unavailable
from domain.identifiers import Address
from domain.safe import SafeTransaction
from starters.cli.node import Node


@dataclass(frozen=True)
class Witness:
    """One look through the owner's own endpoint; the price of ether is in 1e-8 USD."""

    chain_id: int
    nonce: int
    owners: tuple[Address, ...]
    threshold: int
    transaction_hash: str
    """The contract's own, of the transaction that is to be signed."""
    ether_price_usd8: int
    account_nonce: int
    account_has_code: bool


def look(node: Node, profile: ChainProfile, transaction: SafeTransaction) -> Witness:
    """Ask the node. The Safe that is asked is the one of the owner's own configuration.

    Raises `Unavailable` if the node does not answer, or there is no Safe at that address.
    """
    address = profile.contract(profile.multisig.safe)
    arguments = safe.hash_arguments(transaction)
    (owners,) = _read(node, address, safe.OWNERS)
    module = next(iter(profile.modules.values()))
    collateral = profile.contract(module.collateral)
    oracle = profile.contract("aave_oracle")
    return Witness(
        chain_id=node.chain_id(),
        nonce=int(_read(node, address, safe.NONCE)[0]),
        owners=tuple(Address.from_bytes(bytes.fromhex(owner[2:])) for owner in owners),
        threshold=int(_read(node, address, safe.THRESHOLD)[0]),
        transaction_hash="0x" + _read(node, address, safe.TRANSACTION_HASH, *arguments)[0].hex(),
        ether_price_usd8=int(_read(node, oracle, aave.GET_ASSET_PRICE, collateral)[0]),
        account_nonce=node.transactions_of(transaction.to),
        account_has_code=node.has_code(transaction.to),
    )


def _read(node: Node, target: Address, function: Function, *arguments: object) -> tuple:  # type: ignore[type-arg]
    answer = node.call(target, function.encode(*arguments))
    try:
        return function.decode_result(bytes.fromhex(answer[2:]))
    except Exception as error:
        raise Unavailable(
            f"the node's answer to {function.name} is not what a contract of that kind says",
            field="rpc_url",
            value=target,
            actual=answer[:100],
            next_action="check the endpoint, and the address manifest of your configuration",
        ) from error
