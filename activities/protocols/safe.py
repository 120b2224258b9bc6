"""Safe 1.4.1: its functions, and who signed a hash."""

from typing import Final

from coincurve import PublicKey

from activities.protocols.abi import Function, address_of, event_topic
from domain.hashing import keccak
from domain.identifiers import Address
from domain.safe import SafeTransaction

NONCE: Final = Function("nonce()", ("uint256",))
OWNERS: Final = Function("getOwners()", ("address[]",))
THRESHOLD: Final = Function("getThreshold()", ("uint256",))
MODULES_PAGINATED: Final = Function(
    "getModulesPaginated(address,uint256)", ("address[]", "address")
)
SENTINEL: Final = "0x" + "00" * 19 + "01"
"""Where a Safe's lists begin and end."""
GUARD_SLOT: Final = "0x" + keccak(b"guard_manager.guard.address").hex()
"""Where a Safe keeps its guard's address. Source: `GuardManager.sol`."""
VERSION: Final = Function("VERSION()", ("string",))
TRANSACTION_HASH: Final = Function(
    "getTransactionHash(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,uint256)",
    ("bytes32",),
)
EXEC_TRANSACTION: Final = Function(
    "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)",
    ("bool",),
)
EXECUTED_TOPIC: Final = event_topic("ExecutionSuccess(bytes32,uint256)")
"""Topic 1 is the hash of the Safe transaction."""

NOBODY: Final = "0x" + "00" * 20
_FIRST_V: Final = 27


def hash_arguments(transaction: SafeTransaction) -> tuple[object, ...]:
    """The arguments of `TRANSACTION_HASH`."""
    return (*_body(transaction), transaction.nonce)


def execution(transaction: SafeTransaction, signatures: str) -> str:
    """Calldata that performs it with these signatures, as `domain.safe.packed` joins them."""
    return EXEC_TRANSACTION.encode(*_body(transaction), bytes.fromhex(signatures[2:]))


def payment_in(data: str) -> tuple[Address, int] | None:
    """Whom a Safe pays how many wei, if this calldata makes it pay; it reverts if that fails.

    Without gas of its own and a refund, a Safe reverts as a whole when its inner call does (GS013).
    """
    if not data.startswith("0x" + EXEC_TRANSACTION.selector.hex()):
        return None
    to, value, _, operation, gas, _, price, *_ = EXEC_TRANSACTION.decode_arguments(
        bytes.fromhex(data[2:])
    )
    return (address_of(to), int(value)) if (operation, gas, price) == (0, 0, 0) else None


def signer_of(digest: str, signature: str) -> Address | None:
    """Who signed a hash; None if nobody can have. Both are 0x-hexadecimal, v is 27 or 28."""
    raw = bytes.fromhex(signature[2:])
    recoverable = raw[:64] + bytes([raw[64] - _FIRST_V])
    try:
        key = PublicKey.from_signature_and_message(recoverable, bytes.fromhex(digest[2:]), None)
    except Exception:  # noqa: BLE001 - coincurve raises Exception itself for no point on the curve
        return None
    return Address.from_bytes(keccak(key.format(compressed=False)[1:])[-20:])


def _body(transaction: SafeTransaction) -> tuple[object, ...]:
    return (
        transaction.to,
        transaction.value,
        bytes.fromhex(transaction.data[2:]),
        transaction.operation,
        transaction.safe_tx_gas,
        transaction.base_gas,
        transaction.gas_price,
        transaction.gas_token or NOBODY,
        transaction.refund_receiver or NOBODY,
    )
