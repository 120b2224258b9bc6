"""Deals as the workflow would tell of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from domain.deals import DealRequest, DealStatus, Step
from domain.errors import Problem
from domain.identifiers import Address, ChainId
from domain.positions import Position
from domain.settlement import Settlement
from domain.sizing import Sizing
from domain.transactions import Asset, BatchKey, Inclusion, StepOutcome
from domain.views import DealView, StepView

BEGAN = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
ACCOUNT = Address("0x8aCd85898458400f7Db866d53FCFF6f0D49741FF")
TREASURY = Address("0xf80a256dD56D523F304be32435A492EF1D3F3Fe3")

SIZING = Sizing(
    wrap_wei=10**19,
    gas_reserve_wei=10**17,
    borrow=5_000_000_001,
    par_decimals=6,
    cycles=1,
    bound_by="exposure",
    expected_ltv_bps=2500,
    expected_exposure_bps=2499,
    expected_gas_wei=10**15,
    expected_interest=1234,
    expected_profit_usd8=12_345_678_901,
)

SETTLEMENT = Settlement(ether_wei=-(2**80), par=123_456_789, profit_usd8=12_300_000_001)

PROBLEM = Problem(code="sizing_refused", message="no size fits", next_action="wait", field="profit")


def request(deal_id: str = "alpha", **changes: Any) -> DealRequest:
    """Ten ether for bank-one on chain 138."""
    fields = {
        "deal_id": deal_id,
        "bank": "bank-one",
        "module": "usdtz",
        "chain_id": ChainId(138),
        "working_liquidity": "10",
    }
    given = DealRequest.parse(**fields | changes)
    # A workflow has it from its input, which is JSON.
    return DealRequest.model_validate_json(given.model_dump_json())


def view(deal_id: str = "alpha", **changes: Any) -> DealView:
    """A deal that has just begun, with `changes`; a request is changed by `request`."""
    fields: dict[str, Any] = {
        "request": request(deal_id),
        "status": DealStatus.REQUESTED,
        "version": 1,
        "doing": "admitting",
        "created_at": BEGAN,
        "updated_at": BEGAN,
    }
    return DealView(**fields | changes)


def later(before: DealView, status: DealStatus | None = None, **changes: Any) -> DealView:
    """The next version of a view, a second later."""
    fields = {
        "version": before.version + 1,
        "status": status or before.status,
        "updated_at": before.updated_at + timedelta(seconds=1),
    }
    return before.model_copy(update=fields | changes)


def inclusion(number: int, purpose: str, *, succeeded: bool = True) -> Inclusion:
    """A transaction mined in block 100 + number."""
    return Inclusion(
        intent_id=f"intent-{number}",
        purpose=purpose,
        transaction_hash=f"0x{number:064x}",
        block_number=100 + number,
        block_hash=f"0x{number + 1000:064x}",
        succeeded=succeeded,
        gas_used=50_000 + number,
        effective_gas_price=10**9,
        value=0,
    )


def position(**changes: Any) -> Position:
    """An account with 10 ETH of collateral at 2,000 USD and a debt of 5,000 USDT."""
    fields: dict[str, Any] = {
        "account": ACCOUNT,
        "block_number": 102,
        "wei": 10**17,
        "weth": 0,
        "par": 0,
        "discount": 0,
        "collateral": 10**19,
        "debt": 5_000_000_001,
        "collateral_usd8": 20_000 * 10**8,
        "debt_usd8": 5_000 * 10**8,
        "ether_price_usd8": 2_000 * 10**8,
        "par_price_usd8": 10**8,
        "par_decimals": 6,
    }
    return Position(**fields | changes)


def step(kind: Step = Step.SWAP, deal_id: str = "alpha", **changes: Any) -> StepView:
    """A finished step of two transactions; `changes` are the outcome's."""
    fields: dict[str, Any] = {
        "key": BatchKey(deal_id=request(deal_id).deal_id, step=kind),
        "inclusions": (inclusion(1, "approve"), inclusion(2, f"{kind}")),
        "changes": {Asset.PAR: -5_000_000_001, Asset.DISCOUNT: 5_050_000_000},
        "treasury_changes": {Asset.ETHER: -(2**200)},
        "position": position(),
    }
    return StepView(
        outcome=StepOutcome(**fields | changes),
        started_at=BEGAN,
        finished_at=BEGAN + timedelta(seconds=2, microseconds=500_000),
    )
