"""`deal start --dry-run` and what `deal show` says of a prediction."""

from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from activities.dryrun.interface import DryRunResult
from domain.deals import DealRequest, Step
from domain.errors import Forbidden, NoPrediction, RedemptionFrozen, SizingRefused
from domain.identity import Caller, Permission, Principal, PrincipalId, Role, Via
from domain.predictions import Comparison, Realised
from starters.cli import start as start_module
from starters.cli.documents import deal_document
from starters.cli.predictions import comparison_table, prediction_facts, steps_table
from starters.deals.dry_runs import dry_run
from tests.activities.deals import samples
from tests.cli.conftest import Deal
from tests.cli.test_start import arguments
from tests.unit.domain.test_predictions import figures, prediction

RESULT = DryRunResult(
    prediction=prediction(
        steps=(
            figures(step=Step.FUND, slippage_bps=None, estimated=True),
            figures(round=2, slippage_bps=-3),
        )
    ),
    sizing=samples.SIZING,
)


def answering(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[DealRequest]:
    """Have every dry run answered so; the requests that come."""
    asked: list[DealRequest] = []

    async def connected(**_: Any) -> None:
        return None

    async def run(_: Any, request: DealRequest, __: Any) -> DryRunResult:
        asked.append(request)
        if isinstance(answer, Exception):
            raise answer
        result: DryRunResult = answer
        return result

    monkeypatch.setattr(start_module, "connect", connected)
    monkeypatch.setattr(start_module, "dry_run", run)
    return asked


def test_a_pipe_gets_all_of_it_as_json(deal: Deal, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, RESULT)
    answer = deal(*arguments(), "--dry-run", "-o", "json")
    assert answer.code == 0
    document = answer.document
    assert document["dry_run"] is True
    assert document["prediction_digest"] == RESULT.prediction.digest()
    assert document["prediction"] == RESULT.prediction.model_dump(mode="json")
    assert document["sizing"]["borrow"] == str(samples.SIZING.borrow)
    assert document["request"]["deal_id"] == "alpha"
    assert [request.deal_id for request in asked] == ["alpha"]


def test_a_person_gets_each_step_and_the_totals(
    deal: Deal, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, RESULT)
    answer = deal(*arguments(), "--dry-run", "-o", "table")
    assert answer.code == 0
    for text in ("fund", "swap 2", "(estimate)", "-0.03 %", "60.00000000 USD", "nothing was"):
        assert text in answer.out


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [
        (SizingRefused, "sizing_refused", 5),
        (RedemptionFrozen, "redemption_frozen", 1),
        (NoPrediction, "no_prediction", 1),
    ],
)
def test_a_refusal_is_told_as_that_of_a_deal(
    deal: Deal,
    monkeypatch: pytest.MonkeyPatch,
    error: type[SizingRefused],
    code: str,
    exit_code: int,
) -> None:
    answering(monkeypatch, error("no", next_action="wait"))
    answer = deal(*arguments(), "--dry-run", "-o", "json")
    assert answer.code == exit_code
    assert answer.problem["code"] == code


async def test_it_takes_what_starting_takes() -> None:
    viewer = Caller(
        principal=Principal(
            principal_id=PrincipalId("v"),
            roles=frozenset({Role.VIEWER}),
            banks=frozenset({"*"}),
        ),
        via=Via.CLI,
    )
    with pytest.raises(Forbidden) as caught:
        await dry_run(None, samples.request(), viewer)  # type: ignore[arg-type]
    assert caught.value.problem.value == Permission.DEALS_START


def printed(part: Any) -> str:
    console = Console(width=160, record=True, file=StringIO())
    console.print(part)
    return console.export_text()


def test_predicted_stands_beside_realised() -> None:
    realised = Realised.model_validate(
        RESULT.prediction.model_dump() | {"gas": 210_000, "profit_usd8": 5_900_000_000}
    )
    comparison = Comparison(predicted=RESULT.prediction, realised=realised)
    text = printed(comparison_table(comparison))
    for part in ("200,000", "210,000", "+10,000", "1.0500", "-1.00000000 USD", "+0 s"):
        assert part in text
    view = samples.view(prediction=RESULT.prediction, realised=realised)
    figures_of = {each["name"]: each for each in deal_document(view)["comparison"]}
    assert figures_of["gas"]["ratio"] == "1.0500"
    assert Decimal(figures_of["profit_usd8"]["difference"]) == -100_000_000
    assert deal_document(samples.view())["comparison"] is None


def test_a_prediction_without_a_swap_has_no_slippage() -> None:
    assert "slippage" not in printed(prediction_facts(prediction(max_slippage_bps=None)))
    assert "0.12 %" in printed(steps_table((figures(),)))
