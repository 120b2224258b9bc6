"""Safe transactions: what the owners of a Safe sign, its EIP-712 hash, and their signatures.

Sources: EIP-712, and Safe 1.4.1 (`Safe.sol`: ``encodeTransactionData``, ``checkNSignatures``). The
hash is computed from the typed fields alone, so that everybody can do it for himself: the engine,
the signer's policy, and each owner on his own machine.
"""

from collections.abc import Iterable
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from domain.amounts import Units
from domain.errors import InvalidInput
from domain.hashing import keccak
from domain.identifiers import Address, ChainId

CALL: Final = 0
"""The operation that calls another contract; 1, a delegate call, would run foreign code as the Safe
and is never proposed."""

SIGNATURE_BYTES: Final = 65
CURVE_ORDER: Final = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
"""Of secp256k1. Source: SEC 2, section 2.4.1."""

_DOMAIN_TYPE: Final = keccak(b"EIP712Domain(uint256 chainId,address verifyingContract)")
_SAFE_TX_TYPE: Final = keccak(
    b"SafeTx(address to,uint256 value,bytes data,uint8 operation,uint256 safeTxGas,"
    b"uint256 baseGas,uint256 gasPrice,address gasToken,address refundReceiver,uint256 nonce)"
)
_NAMED_DOMAIN_TYPE: Final = keccak(
    b"EIP712Domain(string name,uint256 chainId,address verifyingContract)"
)
_REJECTION_TYPE: Final = keccak(b"Rejection(bytes32 safeTxHash)")
_REJECTION_NAME: Final = keccak(b"Deal orchestrator")

_CONTRACT, _APPROVED = 0, 1
_PLAIN: Final = frozenset({27, 28})
_ETH_SIGN: Final = frozenset({31, 32})
_NO_SIGNATURE: Final = "sign the proposal anew with `deal sign`"

Signature = Annotated[str, Field(pattern=r"^0x[0-9a-f]{130}$")]
"""r, s and v, 65 bytes in lower-case hexadecimal."""


class SafeTransaction(BaseModel):
    """One transaction of a Safe; amounts in wei. No address is the zero address."""

    model_config = ConfigDict(frozen=True)

    chain_id: ChainId
    safe: Address
    to: Address
    value: Units = 0
    data: Annotated[str, Field(pattern=r"^0x([0-9a-f]{2})*$")] = "0x"
    operation: Literal[0, 1] = CALL
    safe_tx_gas: Units = 0
    base_gas: Units = 0
    gas_price: Units = 0
    gas_token: Address | None = None
    refund_receiver: Address | None = None
    nonce: Units

    def hash(self) -> str:
        """The EIP-712 hash that the owners sign, 0x-hexadecimal."""
        fields = (
            _SAFE_TX_TYPE,
            _address(self.to),
            _word(self.value),
            keccak(bytes.fromhex(self.data[2:])),
            _word(self.operation),
            _word(self.safe_tx_gas),
            _word(self.base_gas),
            _word(self.gas_price),
            _address(self.gas_token),
            _address(self.refund_receiver),
            _word(self.nonce),
        )
        return _typed_hash(self._domain(), keccak(b"".join(fields)))

    def rejection_hash(self) -> str:
        """What an owner signs who does not want it to happen.

        Its domain has a name, which a Safe's has not: such a signature is none of the Safe's.
        """
        named = (_NAMED_DOMAIN_TYPE, _REJECTION_NAME, _word(self.chain_id), _address(self.safe))
        struct = _REJECTION_TYPE + bytes.fromhex(self.hash()[2:])
        return _typed_hash(keccak(b"".join(named)), keccak(struct))

    def _domain(self) -> bytes:
        return keccak(_DOMAIN_TYPE + _word(self.chain_id) + _address(self.safe))


class OwnerSignature(BaseModel):
    """A signature and the owner who is said to have given it."""

    model_config = ConfigDict(frozen=True)

    owner: Address
    signature: Signature


def check_signature_form(signature: str) -> None:
    """Raise `InvalidInput` unless this is an owner's plain signature over a typed hash.

    A Safe takes other forms as well. A contract's (v = 0) and an approval on chain (v = 1) name
    their owner instead of proving him, and one by ``eth_sign`` (v = 31, 32) is over other bytes
    than were shown to the owner. The larger of the two values that s can have is refused, so that
    one signature has one form.
    """
    raw = bytes.fromhex(signature[2:])
    r, s, v = int.from_bytes(raw[:32]), int.from_bytes(raw[32:64]), raw[64]
    if v not in _PLAIN:
        raise InvalidInput(
            f"{_kind(v)} is not accepted",
            field="signature.v",
            value=v,
            limit="27 or 28: an owner's own signature over the typed hash",
            next_action=_NO_SIGNATURE,
        )
    if not 0 < r < CURVE_ORDER:
        raise _out_of_range("r", r, CURVE_ORDER - 1)
    if not 0 < s <= CURVE_ORDER // 2:
        raise _out_of_range("s", s, CURVE_ORDER // 2)


def are_plain(joined: bytes) -> bool:
    """Whether these are signatures of a form that `check_signature_form` takes, one or more."""
    count, rest = divmod(len(joined), SIGNATURE_BYTES)
    if rest or not count:
        return False
    try:
        for first in range(0, len(joined), SIGNATURE_BYTES):
            check_signature_form("0x" + joined[first : first + SIGNATURE_BYTES].hex())
    except InvalidInput:
        return False
    return True


def packed(signatures: Iterable[OwnerSignature]) -> str:
    """The signatures as a Safe takes them: one after the other, by their owners' numbers."""
    ordered = sorted(signatures, key=lambda each: int(each.owner, 16))
    return "0x" + "".join(each.signature[2:] for each in ordered)


def _kind(v: int) -> str:
    if v == _CONTRACT:
        return "a contract's signature"
    if v == _APPROVED:
        return "an approval on chain in place of a signature"
    return "a signature by eth_sign" if v in _ETH_SIGN else "this kind of signature"


def _out_of_range(part: str, value: int, most: int) -> InvalidInput:
    return InvalidInput(
        f"{part} of the signature is out of range",
        field=f"signature.{part}",
        value=hex(value),
        limit=f"1 to {hex(most)}",
        next_action=_NO_SIGNATURE,
    )


def _typed_hash(domain: bytes, struct: bytes) -> str:
    return "0x" + keccak(b"\x19\x01" + domain + struct).hex()


def _word(number: int) -> bytes:
    return number.to_bytes(32)


def _address(address: Address | None) -> bytes:
    return bytes(32) if address is None else address.raw.rjust(32, b"\0")
