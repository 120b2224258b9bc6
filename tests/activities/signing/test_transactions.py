"""Transactions out of intents: byte for byte what eth-account makes of them."""

from typing import Any

import pytest
from coincurve import PrivateKey
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretBytes

from activities.signing.providers.provider import deal_key
from activities.signing.providers.seeds import address_from, seed_of_mnemonic, sign_from
from activities.signing.transactions import (
    CURVE_ORDER,
    Signature,
    account_of,
    assemble,
    signing_hash,
)
from domain.errors import SigningRefused
from domain.identifiers import Address, ChainId
from domain.transactions import Fees, Intent
from tests.activities.signing.samples import MNEMONIC, STRANGER
from tests.activities.signing.transactions import LEGACY, assert_signed, random_intent

KEY = PrivateKey(b"\x11" * 32)
SENDER = account_of(KEY.public_key.format(compressed=False))
SEED = seed_of_mnemonic(SecretBytes(MNEMONIC.encode()))

addresses = st.binary(min_size=20, max_size=20).filter(any).map(Address.from_bytes)
intents = st.builds(
    Intent,
    intent_id=st.just("i"),
    chain_id=st.integers(1, 2**53).map(ChainId),
    sender=st.just(SENDER),
    nonce=st.integers(0, 2**63 - 1),
    to=addresses,
    value=st.integers(0, 2**256 - 1),
    data=st.binary(max_size=300).map(lambda data: f"0x{data.hex()}"),
    gas_limit=st.integers(1, 2**40),
    fees=st.builds(
        Fees,
        max_fee_per_gas=st.integers(0, 2**70),
        max_priority_fee_per_gas=st.integers(0, 2**70),
    ),
    purpose=st.just(""),
)


def raw_signature(digest: bytes) -> Signature:
    return Signature.from_bytes(KEY.sign_recoverable(digest, hasher=None))


def by_eth_account(intent: Intent, *, legacy: bool) -> tuple[str, str]:
    """The bytes and the hash that another implementation makes."""
    fields: dict[str, Any] = {
        "chainId": intent.chain_id,
        "from": str(intent.sender),
        "nonce": intent.nonce,
        "to": str(intent.to),
        "value": intent.value,
        "data": intent.data,
        "gas": intent.gas_limit,
    }
    if legacy:
        fields["gasPrice"] = intent.fees.max_fee_per_gas
    else:
        fields |= {
            "type": 2,
            "maxFeePerGas": intent.fees.max_fee_per_gas,
            "maxPriorityFeePerGas": intent.fees.max_priority_fee_per_gas,
            "accessList": [],
        }
    signed = Account.sign_transaction(fields, KEY.secret)
    return signed.raw_transaction.to_0x_hex(), signed.hash.to_0x_hex()


@pytest.mark.parametrize("legacy", LEGACY)
@given(intent=intents, high=st.booleans())
@settings(deadline=None)
def test_any_intent_becomes_the_bytes_that_eth_account_makes(
    intent: Intent, *, high: bool, legacy: bool
) -> None:
    signature = raw_signature(signing_hash(intent, legacy=legacy))
    if high:  # as an HSM may give it
        signature = Signature(signature.r, CURVE_ORDER - signature.s)
    signed = assemble(intent, signature, legacy=legacy)
    assert (signed.raw, signed.transaction_hash) == by_eth_account(intent, legacy=legacy)


@given(
    intent=intents,
    signature=st.builds(Signature, st.integers(0, 2**256 - 1), st.integers(0, 2**256 - 1)),
)
@settings(deadline=None)
def test_no_numbers_that_are_not_the_senders_signature_become_a_transaction(
    intent: Intent, signature: Signature
) -> None:
    with pytest.raises(SigningRefused) as caught:
        assemble(intent, signature)
    assert caught.value.problem.field == "sender"


@pytest.mark.parametrize("legacy", LEGACY)
def test_a_signature_of_another_transaction_is_refused(*, legacy: bool) -> None:
    intent = random_intent(SENDER)
    other = raw_signature(signing_hash(random_intent(SENDER), legacy=legacy))
    with pytest.raises(SigningRefused):
        assemble(intent, other, legacy=legacy)
    with pytest.raises(SigningRefused):  # a signature of the other kind of the same transaction
        assemble(intent, raw_signature(signing_hash(intent, legacy=not legacy)), legacy=legacy)


@pytest.mark.parametrize("legacy", LEGACY)
def test_generations_and_purposes_have_keys_of_their_own(*, legacy: bool) -> None:
    account = address_from(SEED, deal_key(3))
    intent = random_intent(account)
    (signed,) = sign_from(SEED, deal_key(3), [intent], legacy=legacy)
    assert_signed(intent, signed, legacy=legacy)
    with pytest.raises(SigningRefused):
        sign_from(SEED, deal_key(4), [intent], legacy=legacy)
    with pytest.raises(SigningRefused):
        sign_from(SEED, deal_key(3), [random_intent(STRANGER)], legacy=legacy)
