"""Random transactions, and what an independent library makes of the signed ones."""

import secrets
from typing import Final

import rlp
from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_hash.auto import keccak
from eth_keys.constants import SECPK1_N
from hexbytes import HexBytes

from domain.identifiers import Address, ChainId
from domain.transactions import Fees, Intent, SignedTransaction
from tests.activities.signing.samples import STRANGER

LEGACY: Final = (False, True)


def random_intent(sender: Address, number: int = 0) -> Intent:
    return Intent(
        intent_id=f"i{number}",
        chain_id=ChainId(1 + secrets.randbelow(2**53)),
        sender=sender,
        nonce=secrets.randbelow(2**63),
        to=STRANGER,
        value=secrets.randbelow(2**128),
        data="0x" + secrets.token_bytes(secrets.randbelow(600)).hex(),
        gas_limit=21_000 + secrets.randbelow(10**6),
        fees=Fees(
            max_fee_per_gas=secrets.randbelow(2**40), max_priority_fee_per_gas=secrets.randbelow(9)
        ),
        purpose="",
    )


def assert_signed(intent: Intent, signed: SignedTransaction, *, legacy: bool) -> None:
    """Hold a signed transaction against its intent: low s, sender, hash, and every field."""
    raw = HexBytes(signed.raw)
    fields = legacy_fields(raw) if legacy else dynamic_fields(raw)
    assert fields.pop("s") <= SECPK1_N // 2
    assert fields == {
        "chain_id": intent.chain_id,
        "nonce": intent.nonce,
        "gas": intent.gas_limit,
        "to": bytes.fromhex(intent.to[2:]),
        "value": intent.value,
        "data": bytes.fromhex(intent.data[2:]),
        "max_fee": intent.fees.max_fee_per_gas,
        "priority_fee": (
            intent.fees.max_fee_per_gas if legacy else intent.fees.max_priority_fee_per_gas
        ),
    }
    assert Account.recover_transaction(raw) == intent.sender
    assert signed.transaction_hash == "0x" + keccak(bytes(raw)).hex()
    assert (signed.intent_id, signed.fees) == (intent.intent_id, intent.fees)


def legacy_fields(raw: HexBytes) -> dict[str, object]:
    nonce, price, gas, to, value, data, v, _, s = rlp.decode(bytes(raw))
    return {
        "chain_id": (int.from_bytes(v) - 35) // 2,
        "nonce": int.from_bytes(nonce),
        "gas": int.from_bytes(gas),
        "to": to,
        "value": int.from_bytes(value),
        "data": data,
        "max_fee": int.from_bytes(price),
        "priority_fee": int.from_bytes(price),
        "s": int.from_bytes(s),
    }


def dynamic_fields(raw: HexBytes) -> dict[str, object]:
    fields = TypedTransaction.from_bytes(raw).as_dict()
    assert (fields["type"], tuple(fields["accessList"])) == (2, ())
    return {
        "chain_id": fields["chainId"],
        "nonce": fields["nonce"],
        "gas": fields["gas"],
        "to": bytes(HexBytes(fields["to"])),
        "value": fields["value"],
        "data": bytes(HexBytes(fields["data"])),
        "max_fee": fields["maxFeePerGas"],
        "priority_fee": fields["maxPriorityFeePerGas"],
        "s": fields["s"],
    }
