"""A server that lies to an owner is found out, in whichever field it lies."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from eth_account import Account

from domain.approvals import Approval, Proposal, wei_usd8
from domain.chains import ChainProfile
from domain.deals import DealRequest, DealStatus
from domain.errors import Conflict, InvalidInput, NotAllowed
from domain.identifiers import Address, BankId, ChainId, DealId
from domain.safe import SafeTransaction
from domain.sizing import Sizing
from domain.views import DealView
from starters.cli.key_file import KeyFile, open_key_file
from starters.cli.verification import verify
from starters.cli.witness import Witness
from tests.support.owners import KEYS
from workers.runtime.profiles import load_profiles
from workers.runtime.settings import DEFAULT_CONFIG_DIR

NOW: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)
ACCOUNT: Final = Address("0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A")
OTHER: Final = Address("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
DEAL: Final = DealId("alpha")
PRICE: Final = 3_000 * 10**8
RESERVE: Final = 10**16
LIQUIDITY: Final = 400 * 10**18
RIGHT: Final = "correct horse"


@pytest.fixture(scope="module")
def profile() -> ChainProfile:
    return load_profiles(DEFAULT_CONFIG_DIR, {})[ChainId(138)]


def _transaction(profile: ChainProfile, **changes: Any) -> SafeTransaction:
    fields: dict[str, Any] = {
        "chain_id": 138,
        "safe": profile.contract("treasury_safe"),
        "to": ACCOUNT,
        "value": LIQUIDITY + RESERVE,
        "nonce": 4,
    }
    return SafeTransaction.model_validate(fields | changes)


def _request(**changes: Any) -> DealRequest:
    fields: dict[str, Any] = {
        "deal_id": DEAL,
        "bank": "bank-one",
        "module": "usdtz",
        "chain_id": 138,
        "working_liquidity": "400",
    }
    return DealRequest.parse(**fields | changes)


def _view(profile: ChainProfile) -> DealView:
    transaction, request = _transaction(profile), _request()
    value = wei_usd8(transaction.value, PRICE)
    proposal = Proposal(
        deal_id=DEAL,
        bank=request.bank,
        request_digest=request.digest(),
        number=1,
        transaction=transaction,
        transaction_hash=transaction.hash(),
        threshold=2,
        owners=tuple(KEYS),
        value_usd8=value,
        together_usd8=value,
        since_block=10,
        expires_at=NOW + timedelta(hours=1),
    )
    sizing = Sizing(
        wrap_wei=LIQUIDITY,
        gas_reserve_wei=RESERVE,
        borrow=1,
        par_decimals=6,
        cycles=1,
        bound_by="profit",
        expected_ltv_bps=1,
        expected_exposure_bps=1,
        expected_gas_wei=1,
        expected_interest=1,
        expected_profit_usd8=1,
    )
    return DealView(
        request=request,
        status=DealStatus.AWAITING_APPROVAL,
        version=3,
        doing="waiting for owners",
        account=ACCOUNT,
        treasury=transaction.safe,
        sizing=sizing,
        approval=Approval(proposal=proposal),
        created_at=NOW,
        updated_at=NOW,
    )


def _witness(view: DealView, **changes: Any) -> Witness:
    assert view.approval is not None
    fields: dict[str, Any] = {
        "chain_id": 138,
        "nonce": 4,
        "owners": tuple(reversed(KEYS)),
        "threshold": 2,
        "transaction_hash": view.approval.proposal.transaction.hash(),
        "ether_price_usd8": PRICE,
        "account_nonce": 0,
        "account_has_code": False,
    }
    return Witness(**fields | changes)


def _proposing(view: DealView, **changes: Any) -> DealView:
    """The same with other claims about the proposal."""
    assert view.approval is not None
    proposal = view.approval.proposal.model_copy(update=changes)
    approval = view.approval.model_copy(update={"proposal": proposal})
    return view.model_copy(update={"approval": approval})


def _paying(view: DealView, profile: ChainProfile, **changes: Any) -> DealView:
    """The same with another transaction, and the hash that belongs to it: a consistent lie."""
    transaction = _transaction(profile, **changes)
    return _proposing(view, transaction=transaction, transaction_hash=transaction.hash())


def _field(view: DealView, profile: ChainProfile, witness: Witness, **options: Any) -> str | None:
    with pytest.raises(Conflict) as caught:
        verify(DEAL, view, profile, witness, NOW, **options)
    assert "do not sign" in caught.value.problem.next_action
    return caught.value.problem.field


def test_the_truth_is_taken(profile: ChainProfile) -> None:
    view = _view(profile)
    verified = verify(
        DEAL, view, profile, _witness(view), NOW, expected_digest=view.request.digest()
    )
    assert verified.value_usd8 == wei_usd8(LIQUIDITY + RESERVE, PRICE)
    # One that others come before may be signed as well.
    verify(DEAL, view, profile, _witness(view, nonce=2), NOW)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"chain_id": 651940}, "chain_id"),
        ({"safe": OTHER}, "safe"),
        ({"to": OTHER}, "to"),
        ({"value": LIQUIDITY + RESERVE + 1}, "value"),
        ({"data": "0x00"}, "data"),
        ({"operation": 1}, "operation"),
        ({"safe_tx_gas": 1}, "safe_tx_gas"),
        ({"base_gas": 1}, "base_gas"),
        ({"gas_price": 1}, "gas_price"),
        ({"gas_token": OTHER}, "gas_token"),
        ({"refund_receiver": OTHER}, "refund_receiver"),
        ({"nonce": 3}, "nonce"),
    ],
)
def test_a_lie_about_the_transaction(
    profile: ChainProfile, changes: dict[str, Any], field: str
) -> None:
    view = _paying(_view(profile), profile, **changes)
    if field == "safe":
        view = view.model_copy(update={"treasury": OTHER})
    assert _field(view, profile, _witness(view)) == field


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"deal_id": DealId("beta")}, "proposal.deal_id"),
        ({"bank": BankId("bank-two")}, "bank"),
        ({"request_digest": "0" * 64}, "request_digest"),
        ({"transaction_hash": "0x" + "00" * 32}, "transaction_hash"),
        ({"threshold": 1}, "threshold"),
        ({"owners": (*list(KEYS)[:2], OTHER)}, "owners"),
        ({"owners": tuple(KEYS)[:2]}, "owners"),
        ({"expires_at": NOW}, "expires_at"),
        ({"value_usd8": 999_999 * 10**8}, "value_usd8"),
        ({"together_usd8": 1}, "together_usd8"),
    ],
)
def test_a_lie_about_the_proposal(
    profile: ChainProfile, changes: dict[str, Any], field: str
) -> None:
    view = _proposing(_view(profile), **changes)
    assert _field(view, profile, _witness(view)) == field


def test_a_lie_about_the_deal(profile: ChainProfile) -> None:
    view = _view(profile)
    sizing = view.sizing
    assert sizing is not None
    lies: dict[str, DealView] = {
        "deal_id": view.model_copy(update={"request": _request(deal_id="beta")}),
        "bank": view.model_copy(update={"request": _request(bank="bank-two")}),
        "request_digest": view.model_copy(update={"request": _request(cycles=2)}),
        "to": view.model_copy(update={"account": OTHER}),
        "treasury": view.model_copy(update={"treasury": OTHER}),
        "sizing.wrap_wei": view.model_copy(
            update={"sizing": sizing.model_copy(update={"wrap_wei": LIQUIDITY + 1})}
        ),
        "value": view.model_copy(
            update={"sizing": sizing.model_copy(update={"gas_reserve_wei": RESERVE - 1})}
        ),
    }
    for field, lie in lies.items():
        assert _field(lie, profile, _witness(view)) == field


def test_a_gas_reserve_that_is_a_payment(profile: ChainProfile) -> None:
    """All of it is consistent, only that no gas ever costs so much."""
    view = _view(profile)
    assert view.sizing is not None
    sizing = view.sizing.model_copy(update={"gas_reserve_wei": 10**18})
    lie = _paying(view, profile, value=LIQUIDITY + 10**18)
    lie = lie.model_copy(update={"sizing": sizing})
    assert _field(lie, profile, _witness(lie)) == "sizing.gas_reserve_wei"


def test_another_request_than_the_desk_has_told(profile: ChainProfile) -> None:
    view = _view(profile)
    digest = _request(working_liquidity="399").digest()
    assert _field(view, profile, _witness(view), expected_digest=digest) == "request_digest"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"chain_id": 1}, "node.chain_id"),
        ({"nonce": 5}, "nonce"),
        ({"threshold": 3}, "threshold"),
        ({"owners": tuple(KEYS)[1:]}, "owners"),
        ({"transaction_hash": "0x" + "11" * 32}, "contract.transaction_hash"),
        ({"ether_price_usd8": PRICE * 2}, "value_usd8"),
        ({"account_nonce": 1}, "account"),
        ({"account_has_code": True}, "account"),
    ],
)
def test_a_chain_that_says_otherwise(
    profile: ChainProfile, changes: dict[str, Any], field: str
) -> None:
    view = _view(profile)
    assert _field(view, profile, _witness(view, **changes)) == field


def test_every_fact_of_the_node_is_held_against_something(profile: ChainProfile) -> None:
    view = _view(profile)
    changed = {
        "chain_id": 1,
        "nonce": 9,
        "owners": (OTHER,),
        "threshold": 1,
        "transaction_hash": "0x",
        "ether_price_usd8": 1,
        "account_nonce": 9,
        "account_has_code": True,
    }
    assert set(changed) == {field.name for field in dataclasses.fields(Witness)}
    for name, value in changed.items():
        _field(view, profile, _witness(view, **{name: value}))


def test_a_deal_that_waits_for_nobody(profile: ChainProfile) -> None:
    view = _view(profile).model_copy(update={"status": DealStatus.EXECUTING})
    with pytest.raises(NotAllowed):
        verify(DEAL, view, profile, _witness(view), NOW)


# --- key files -------------------------------------------------------------------------------


def _key_file(folder: Path, passphrase: str = RIGHT) -> tuple[Path, Path]:
    owner, key = next(iter(KEYS.items()))
    assert Account.from_key(key).address == owner
    file, secret = folder / "key.json", folder / "passphrase"
    file.write_text(json.dumps(Account.encrypt(key, RIGHT, iterations=2)))
    secret.write_text(passphrase + "\n")
    return file, secret


def test_a_key_file_signs_for_its_owner_and_shows_no_key(tmp_path: Path) -> None:
    key = open_key_file(*_key_file(tmp_path))
    assert key.owner == next(iter(KEYS))
    digest = "0x" + "ab" * 32
    given = key.sign(digest)
    from activities.protocols.safe import signer_of

    assert signer_of(digest, given.signature) == key.owner
    assert repr(key) == f"KeyFile({key.owner})"
    assert isinstance(key, KeyFile)


def test_what_opens_no_key_is_told_without_a_secret(tmp_path: Path) -> None:
    file, wrong = _key_file(tmp_path, passphrase="battery staple")
    with pytest.raises(InvalidInput) as caught:
        open_key_file(file, wrong)
    assert caught.value.problem.field == "key_file"
    assert "battery" not in caught.value.problem.model_dump_json()
    assert caught.value.__cause__ is None
    for content in ("", "[]", "no json", '{"crypto": {}}'):
        file.write_text(content)
        with pytest.raises(InvalidInput):
            open_key_file(file, wrong)
    with pytest.raises(InvalidInput) as missing:
        open_key_file(tmp_path / "none.json", wrong)
    assert missing.value.problem.field == "key_file"
    file, secret = _key_file(tmp_path)
    secret.unlink()
    with pytest.raises(InvalidInput) as lost:
        open_key_file(file, secret)
    assert lost.value.problem.field == "passphrase_file"
    with pytest.raises(InvalidInput) as nobody:
        open_key_file(file, None)
    assert nobody.value.problem.field == "passphrase_file"
