"""A view of a deal is the same for the Web UI, the command line and the records."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from domain.deals import DealRequest, DealStatus, Step
from domain.errors import OutcomeUnknown
from domain.identifiers import Address, DealId
from domain.positions import Position
from domain.settlement import Settlement
from domain.sizing import Sizing
from domain.transactions import Asset, BatchKey, StepOutcome
from domain.views import DealView, StepView

ACCOUNT = Address("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
REQUEST = DealRequest.parse(
    deal_id="alpha", bank="first-bank", module="usdtz", chain_id=138, working_liquidity="10"
)


def view(**changes: Any) -> DealView:
    fields: dict[str, Any] = {
        "request": REQUEST,
        "status": DealStatus.REQUESTED,
        "version": 1,
        "doing": "validating the request",
        "created_at": NOW,
        "updated_at": NOW,
    }
    return DealView.model_validate({**fields, **changes})


def full_view() -> DealView:
    position = Position.model_validate(
        {
            "account": ACCOUNT,
            "block_number": 8,
            **dict.fromkeys(("wei", "weth", "par", "discount", "collateral", "debt"), 2**100),
            **dict.fromkeys(("collateral_usd8", "debt_usd8"), 2**100),
            **dict.fromkeys(("ether_price_usd8", "par_price_usd8", "par_decimals"), 6),
        }
    )
    outcome = StepOutcome(
        key=BatchKey(deal_id=DealId("alpha"), step=Step.BORROW),
        inclusions=(),
        changes={Asset.DEBT: 2**100},
        treasury_changes={},
        position=position,
        problem=OutcomeUnknown("lost sight of it", next_action="look again").problem,
    )
    sizing = Sizing(
        wrap_wei=2**70,
        gas_reserve_wei=1,
        borrow=2,
        par_decimals=6,
        cycles=1,
        bound_by="exposure",
        expected_ltv_bps=2_490,
        expected_exposure_bps=2_500,
        expected_gas_wei=3,
        expected_interest=4,
        expected_profit_usd8=-(2**60),
    )
    return view(
        status=DealStatus.STUCK,
        version=9,
        account=ACCOUNT,
        treasury=ACCOUNT,
        sizing=sizing,
        steps=(StepView(outcome=outcome, started_at=NOW, finished_at=NOW),),
        settlement=Settlement(ether_wei=-(2**70), par=2**70, profit_usd8=5),
        problem=outcome.problem,
    )


@pytest.mark.parametrize("shown", [view(), full_view()], ids=["requested", "stuck"])
def test_a_view_survives_json_unchanged(shown: DealView) -> None:
    assert DealView.model_validate_json(shown.model_dump_json()) == shown


def test_large_amounts_are_text_in_a_views_json() -> None:
    shown = full_view().model_dump(mode="json")
    assert shown["sizing"]["wrap_wei"] == str(2**70)
    assert shown["settlement"]["ether_wei"] == str(-(2**70))
    assert shown["steps"][0]["outcome"]["changes"] == {"debt": str(2**100)}


def test_versions_are_counted_from_one() -> None:
    with pytest.raises(ValidationError):
        view(version=0)
