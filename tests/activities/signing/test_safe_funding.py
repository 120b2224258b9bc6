"""A deal that owners have approved: its treasury is the Safe, and nothing else may fund it."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from activities.protocols import safe
from activities.signing.interface import DealAccounts, FundFromSafe, OpenAccount, SignBatch
from activities.signing.policy import check_batch
from activities.signing.records import DealRecord
from activities.signing.signer import Signer
from domain.deals import Step
from domain.errors import Conflict, NotFound, SigningRefused
from domain.identifiers import Address, ChainId, DealId
from domain.safe import OwnerSignature, SafeTransaction, packed
from domain.transactions import Asset
from tests.activities.signing.samples import (
    CHAIN,
    DEAL,
    ETHER,
    POLICY,
    PROFILE,
    STRANGER,
    Batches,
    order_of,
)
from tests.support.owners import KEYS, sign
from tests.support.postgres import Database

SAFE = PROFILE.contract("treasury_safe")
ACCOUNTS = DealAccounts(
    account=Address("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
    treasury=SAFE,
    fee=Address("0x90F79bf6EB2c4f870365E785982E1f101E93b906"),
    hot_treasury=Address("0x8C8d35429F74ec245F8Ef2f4Fd1e551cFF97d650"),
)
PAID = 400 * ETHER
_CHANGES = {Asset.ETHER: PAID}


def payment(accounts: DealAccounts, **changes: Any) -> SafeTransaction:
    fields: dict[str, Any] = {
        "chain_id": CHAIN,
        "safe": SAFE,
        "to": accounts.account,
        "value": PAID,
        "nonce": 3,
    }
    return SafeTransaction.model_validate(fields | changes)


def calldata(accounts: DealAccounts, **changes: Any) -> str:
    transaction = payment(accounts, **changes)
    given = [
        OwnerSignature(owner=owner, signature=sign(owner, transaction.hash()))
        for owner in list(KEYS)[:2]
    ]
    return safe.execution(transaction, packed(given))


def funding(accounts: DealAccounts, **fields: Any) -> SignBatch:
    """The batch that has the Safe pay, with some fields of its transaction changed."""
    call = {
        "sender": accounts.fee,
        "to": SAFE,
        "value": 0,
        "data": calldata(accounts),
        "gas_limit": 150_000,
        "purpose": "Fund the deal's account from the Safe",
    }
    return order_of(Batches(accounts).of(Step.FUND, [call | fields], changes=_CHANGES))


def refused(order: SignBatch, accounts: DealAccounts = ACCOUNTS) -> str | None:
    with pytest.raises(SigningRefused) as caught:
        check_batch(order, POLICY, DealRecord(accounts), order.batch.prepared_at)
    return caught.value.problem.field


def test_a_payment_of_the_safe_to_the_deals_own_account_is_allowed() -> None:
    order = funding(ACCOUNTS)
    check_batch(order, POLICY, DealRecord(ACCOUNTS), order.batch.prepared_at)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"to": STRANGER}, "recipient"),
        ({"to": ACCOUNTS.hot_treasury}, "recipient"),
        ({"to": SAFE}, "recipient"),
        ({"value": 0}, "value"),
        ({"value": 10_001 * ETHER}, "max_ether"),
        ({"data": "0x00"}, "safe_data"),
        ({"operation": 1}, "safe_operation"),
        ({"safe_tx_gas": 1}, "safe_gas"),
        ({"base_gas": 1}, "safe_gas"),
        ({"gas_price": 1}, "safe_refund"),
        ({"gas_token": STRANGER}, "safe_refund"),
        ({"refund_receiver": STRANGER}, "safe_refund"),
    ],
)
def test_another_transaction_of_the_safe_is_not(changes: dict[str, Any], rule: str) -> None:
    assert refused(funding(ACCOUNTS, data=calldata(ACCOUNTS, **changes))) == rule


@pytest.mark.parametrize(
    "signatures",
    ["0x", "0x" + "11" * 64, "0x" + "11" * 64 + "00", "0x" + "11" * 64 + "01", "0x" + "11" * 66],
)
def test_other_signatures_than_owners_own_are_not_sent(signatures: str) -> None:
    data = safe.execution(payment(ACCOUNTS), signatures)
    assert refused(funding(ACCOUNTS, data=data)) == "safe_signatures"


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"sender": ACCOUNTS.hot_treasury}, "sender"),
        ({"sender": ACCOUNTS.account}, "sender"),
        ({"to": STRANGER}, "destination"),
        ({"to": PROFILE.contract("timelock")}, "destination"),
        ({"to": ACCOUNTS.account, "data": "0x", "value": ETHER}, "destination"),
        ({"value": 1}, "value"),
        ({"gas_limit": 300_001}, "gas_limit"),
        ({"data": safe.OWNERS.encode()}, "selector"),
        ({"data": calldata(ACCOUNTS) + "00" * 32}, "calldata"),
        ({"spends_rest": True}, "spends_rest"),
    ],
)
def test_another_way_to_fund_it_is_not(fields: dict[str, Any], rule: str) -> None:
    assert refused(funding(ACCOUNTS, **fields)) == rule


def test_what_does_not_arrive_as_simulated_is_not_signed() -> None:
    order = funding(ACCOUNTS)
    changed = order.batch.model_copy(update={"simulated_changes": {Asset.ETHER: PAID - 1}})
    assert refused(order_of(changed)) == "bounds"


def test_a_deal_of_the_hot_treasury_has_no_safe() -> None:
    hot = ACCOUNTS.model_copy(update={"treasury": ACCOUNTS.hot_treasury, "hot_treasury": None})
    assert refused(funding(hot, sender=hot.treasury), hot) == "destination"


def test_everything_is_swept_to_the_safe_and_nowhere_else() -> None:
    sweep = {"to": SAFE, "value": ETHER, "gas_limit": 27_329, "spends_rest": True}
    for to, gas, rule in (
        (SAFE, 27_329, None),
        (ACCOUNTS.hot_treasury, 27_329, "destination"),
        (STRANGER, 21_000, "destination"),
        (SAFE, 50_001, "gas_limit"),
    ):
        call = sweep | {"to": to, "gas_limit": gas, "sender": ACCOUNTS.account}
        changes = {Asset.ETHER: -ETHER}
        order = order_of(Batches(ACCOUNTS).of(Step.SWEEP, [call], changes=changes))
        if rule is None:
            check_batch(order, POLICY, DealRecord(ACCOUNTS), order.batch.prepared_at)
        else:
            assert refused(order) == rule


def test_a_shortfall_is_made_up_from_the_hot_treasury_alone() -> None:
    order = Batches(ACCOUNTS).order(Step.TOP_UP)
    wrong = [intent.model_copy(update={"sender": ACCOUNTS.fee}) for intent in order.batch.intents]
    right = [
        intent.model_copy(update={"sender": ACCOUNTS.hot_treasury})
        for intent in order.batch.intents
    ]
    assert refused(order_of(order.batch.model_copy(update={"intents": tuple(wrong)}))) == "sender"
    good = order_of(order.batch.model_copy(update={"intents": tuple(right)}))
    check_batch(good, POLICY, DealRecord(ACCOUNTS), good.batch.prepared_at)


_DATA = bytes.fromhex(calldata(ACCOUNTS)[2:])
_SIGNATURES_AT = len(_DATA) - 160
"""What follows is signatures, their length, and padding: whose they are the Safe itself checks."""


@given(at=st.integers(0, _SIGNATURES_AT - 33), flip=st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_no_byte_of_the_call_can_be_another(at: int, flip: int) -> None:
    data = bytearray(_DATA)
    data[at] ^= flip
    order = funding(ACCOUNTS, data="0x" + bytes(data).hex())
    value = int.from_bytes(bytes(data)[36:68])
    if 36 <= at < 68 and 0 < value <= 10_000 * ETHER:
        return  # another amount within the cap: the owners' signatures are not over it
    assert refused(order) is not None


# --- the signer's own records ----------------------------------------------------------------


async def _bound(signer: Signer, deal_id: str = DEAL) -> DealAccounts:
    await signer.open_account(OpenAccount(deal_id=DealId(deal_id)))
    return await signer.fund_from_safe(FundFromSafe(deal_id=DealId(deal_id), chain_id=CHAIN))


async def test_the_fee_account_signs_and_the_hot_treasury_does_not(signer: Signer) -> None:
    accounts = await _bound(signer)
    assert accounts.treasury == SAFE
    assert accounts.hot_treasury not in {None, SAFE}
    (signed,) = (await signer.sign_batch(funding(accounts))).transactions
    assert Account.recover_transaction(signed.raw) == accounts.fee


async def test_a_deal_is_bound_once_whoever_asks(signer: Signer, other_signer: Signer) -> None:
    await signer.open_account(OpenAccount(deal_id=DealId(DEAL)))
    order = FundFromSafe(deal_id=DealId(DEAL), chain_id=CHAIN)
    bound = await asyncio.gather(*(each.fund_from_safe(order) for each in (signer, other_signer)))
    assert bound[0] == bound[1]
    assert await other_signer.open_account(OpenAccount(deal_id=DealId(DEAL))) == bound[0]
    # Nobody is believed who says later that the hot treasury funds it.
    hot = bound[0].model_copy(update={"treasury": bound[0].hot_treasury, "hot_treasury": None})
    with pytest.raises(SigningRefused):
        await other_signer.sign_batch(Batches(hot).order(Step.FUND))


async def test_a_deal_that_something_was_signed_for_keeps_its_treasury(
    signer: Signer, other_signer: Signer, batches: Batches
) -> None:
    await signer.sign_batch(batches.order(Step.FUND))
    for each in (signer, other_signer):
        with pytest.raises(Conflict) as caught:
            await each.fund_from_safe(FundFromSafe(deal_id=DealId(DEAL), chain_id=CHAIN))
        assert caught.value.problem.field == "treasury"


async def test_only_a_known_deal_on_a_known_chain_is_bound(signer: Signer) -> None:
    with pytest.raises(NotFound) as unknown:
        await signer.fund_from_safe(FundFromSafe(deal_id=DealId("nobody"), chain_id=CHAIN))
    assert unknown.value.problem.field == "deal_id"
    await signer.open_account(OpenAccount(deal_id=DealId(DEAL)))
    with pytest.raises(NotFound) as nowhere:
        await signer.fund_from_safe(FundFromSafe(deal_id=DealId(DEAL), chain_id=ChainId(1)))
    assert nowhere.value.problem.field == "chain_id"


@pytest.mark.parametrize(
    "statement", ["UPDATE signing.treasuries SET safe = false", "DELETE FROM signing.treasuries"]
)
async def test_the_signer_itself_cannot_change_what_was_decided(
    signer: Signer, database: Database, statement: str
) -> None:
    await _bound(signer)
    with (
        psycopg.connect(database.role("deal_signer")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)
