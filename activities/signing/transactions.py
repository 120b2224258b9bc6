"""Intents as Ethereum transactions: what is signed, and what a signature makes of it.

Every key provider goes through here, so that a signature leaves the signer only if it has the low s
and the intent's own sender is recovered from it. Sources: EIP-2718, EIP-1559 (type 2), EIP-155
(type 0 with a chain id), EIP-2 (low s).
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import rlp
from coincurve import PublicKey

from domain.errors import SigningRefused
from domain.hashing import keccak
from domain.identifiers import Address
from domain.transactions import Intent, SignedTransaction

CURVE_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of secp256k1 (SEC 2, section 2.4.1)."""

_DYNAMIC_FEE: Final = b"\x02"
_EIP_155: Final = 35
_WORD: Final = 32

_Fields = list[bytes | list[bytes]]


class Signature(NamedTuple):
    """An ECDSA signature as two integers, as it comes from whoever has the key."""

    r: int
    s: int

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Signature":
        """Read r and s, 32 bytes each; what comes after them is left out."""
        return cls(int.from_bytes(raw[:_WORD]), int.from_bytes(raw[_WORD : 2 * _WORD]))

    def low(self) -> "Signature":
        """The one of the two equivalent signatures that Ethereum accepts."""
        return self if self.s <= CURVE_ORDER // 2 else Signature(self.r, CURVE_ORDER - self.s)


def signing_hash(intent: Intent, *, legacy: bool = False) -> bytes:
    """The 32 bytes that are signed for an intent."""
    if legacy:
        chain_id = _number(intent.chain_id)
        return keccak(_encode([*_legacy_fields(intent), chain_id, b"", b""]))
    return keccak(_DYNAMIC_FEE + _encode(_dynamic_fields(intent)))


def sign_each(
    intents: Sequence[Intent], sign: Callable[[bytes], Signature], *, legacy: bool = False
) -> tuple[SignedTransaction, ...]:
    """Sign each intent by what signs 32 bytes. Raises `SigningRefused` as `assemble` does."""
    hashes = [signing_hash(intent, legacy=legacy) for intent in intents]
    return tuple(
        _assemble(intent, sign(digest), digest, legacy=legacy)
        for intent, digest in zip(intents, hashes, strict=True)
    )


def assemble(intent: Intent, signature: Signature, *, legacy: bool = False) -> SignedTransaction:
    """The signed transaction, its s made low and its recovery id found.

    Raises `SigningRefused` if the signature is not one by the intent's sender.
    """
    return _assemble(intent, signature, signing_hash(intent, legacy=legacy), legacy=legacy)


def _assemble(
    intent: Intent, signature: Signature, digest: bytes, *, legacy: bool
) -> SignedTransaction:
    low = signature.low()
    parity = _recovery_id(intent, low, digest)
    r, s = map(_number, low)
    if legacy:
        v = _number(_EIP_155 + 2 * intent.chain_id + parity)
        raw = _encode([*_legacy_fields(intent), v, r, s])
    else:
        raw = _DYNAMIC_FEE + _encode([*_dynamic_fields(intent), _number(parity), r, s])
    return SignedTransaction(
        intent_id=intent.intent_id,
        transaction_hash=f"0x{keccak(raw).hex()}",
        raw=f"0x{raw.hex()}",
        fees=intent.fees,
    )


def account_of(public_key: bytes) -> Address:
    """The account of a public key, given as the 65 bytes of its uncompressed form."""
    return Address.from_bytes(keccak(public_key[1:])[-20:])


def _recovery_id(intent: Intent, signature: Signature, digest: bytes) -> int:
    """Which of the two points the signature was made with: the one that gives the sender."""
    if 0 < signature.r < CURVE_ORDER and signature.s > 0:
        raw = signature.r.to_bytes(_WORD) + signature.s.to_bytes(_WORD)
        for parity in (0, 1):
            if _signer(raw + bytes([parity]), digest) == intent.sender:
                return parity
    raise SigningRefused(
        "the signature is not one by the transaction's sender",
        field="sender",
        value=intent.sender,
        limit="the account of the key that signs",
        next_action="nothing was signed: find out why this key was asked to sign for that account",
    )


def _signer(recoverable: bytes, digest: bytes) -> Address | None:
    try:
        key = PublicKey.from_signature_and_message(recoverable, digest, hasher=None)
    except Exception:  # noqa: BLE001 - the library raises just that where there is no such point
        return None
    return account_of(key.format(compressed=False))


def _encode(fields: _Fields) -> bytes:
    # Bytes already: to have the library find out what each field is takes most of a signature.
    return bytes(rlp.encode(fields, infer_serializer=False))


def _number(value: int) -> bytes:
    """Big-endian without leading zeros, as RLP has integers; nothing at all for zero."""
    return value.to_bytes((value.bit_length() + 7) // 8)


def _dynamic_fields(intent: Intent) -> _Fields:
    return [
        _number(intent.chain_id),
        _number(intent.nonce),
        _number(intent.fees.max_priority_fee_per_gas),
        _number(intent.fees.max_fee_per_gas),
        _number(intent.gas_limit),
        intent.to.raw,
        _number(intent.value),
        bytes.fromhex(intent.data[2:]),
        [],
    ]


def _legacy_fields(intent: Intent) -> _Fields:
    return [
        _number(intent.nonce),
        _number(intent.fees.max_fee_per_gas),
        _number(intent.gas_limit),
        intent.to.raw,
        _number(intent.value),
        bytes.fromhex(intent.data[2:]),
    ]
