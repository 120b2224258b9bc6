"""`deal start --dry-run` and what `deal show` says of a prediction."""

from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from domain.deals import DealRequest, Step
from domain.denials import Denial
from domain.errors import Forbidden, NoPrediction, PolicyDenied, RedemptionFrozen, SizingRefused
from domain.identity import Caller, GroupId, Permission, Principal, PrincipalId, Role, Via
from domain.outlooks import Outlook
from domain.predictions import Comparison, Realised
from starters.cli import start as start_module
from starters.cli.documents import deal_document
from starters.cli.predictions import comparison_table, prediction_facts, steps_table
from starters.control.dry_runs import DryRunReport
from starters.deals.dry_runs import dry_run
from tests.activities.deals import samples
from tests.cli.conftest import Deal
from tests.cli.test_start import arguments
from tests.unit.domain.test_predictions import figures, prediction

PREDICTION = prediction(
    steps=(
        figures(step=Step.FUND, slippage_bps=None, estimated=True),
        figures(round=2, slippage_bps=-3),
    )
)
OUTLOOK = Outlook(
    allowed=True,
    policy_version=3,
    rule="traders",
    approvals_needed=2,
    approver_group=GroupId("seniors"),
    value_usd8=600_000_000_000_000,
    together_usd8=700_000_000_000_000,
    owners_decide=True,
)
DENIED = OUTLOOK.model_copy(
    update={
        "allowed": False,
        "problem": PolicyDenied.because(
            Denial.POLICY_RULE, field="rule", value="nights", limit="nights"
        ).problem,
    }
)


def report(request: DealRequest, outlook: Outlook = OUTLOOK) -> DryRunReport:
    return DryRunReport(
        request=request,
        sizing=samples.SIZING,
        prediction=PREDICTION,
        prediction_digest=PREDICTION.digest(),
        outlook=outlook,
    )


def answering(monkeypatch: pytest.MonkeyPatch, answer: Outlook | Exception) -> list[DealRequest]:
    """Have every dry run answered so; the requests that come."""
    asked: list[DealRequest] = []

    class Desk:
        async def run(self, _: Caller, request: DealRequest) -> DryRunReport:
            asked.append(request)
            if isinstance(answer, Exception):
                raise answer
            return report(request, answer)

    monkeypatch.setattr(start_module, "open_dry_runs", lambda _: Desk())
    monkeypatch.setenv("DEAL_DATABASE_URL", "postgresql://127.0.0.1:1/none")
    return asked


def test_a_pipe_gets_all_of_it_as_json(deal: Deal, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, OUTLOOK)
    answer = deal(*arguments(), "--dry-run", "-o", "json")
    assert answer.code == 0
    document = answer.document
    assert document["dry_run"] is True
    assert document["prediction_digest"] == PREDICTION.digest()
    assert document["prediction"] == PREDICTION.model_dump(mode="json")
    assert document["sizing"]["borrow"] == str(samples.SIZING.borrow)
    assert document["request"]["deal_id"] == "alpha"
    assert document["outlook"] == OUTLOOK.model_dump(mode="json")
    assert [request.deal_id for request in asked] == ["alpha"]


def test_a_person_gets_each_step_and_the_totals(
    deal: Deal, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, OUTLOOK)
    answer = deal(*arguments(), "--dry-run", "-o", "table")
    assert answer.code == 0
    for text in ("fund", "swap 2", "(estimate)", "-0.03 %", "60.00000000 USD", "nothing was"):
        assert text in answer.out


def test_it_says_which_rule_decides_and_who_would_have_to_approve(
    deal: Deal, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, OUTLOOK)
    told = deal(*arguments(), "--dry-run", "-o", "table").out
    for text in ("allowed", "version 3", "traders", "6,000,000", "2 needed of seniors", "to sign"):
        assert text in told


def test_what_the_policy_would_deny_is_told_and_exits_5(
    deal: Deal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a launch does: what came of it is printed, and the denial on standard error."""
    answering(monkeypatch, DENIED)
    answer = deal(*arguments(), "--dry-run", "-o", "json")
    assert answer.code == 5
    assert answer.problem["code"] == Denial.POLICY_RULE
    assert answer.document["outlook"]["allowed"] is False
    assert answer.document["prediction_digest"] == PREDICTION.digest()
    told = deal(*arguments(), "--dry-run", "-o", "table").out
    assert "denied" in told
    assert "needed" not in told


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
        PREDICTION.model_dump() | {"gas": 210_000, "profit_usd8": 5_900_000_000}
    )
    comparison = Comparison(predicted=PREDICTION, realised=realised)
    text = printed(comparison_table(comparison))
    for part in ("200,000", "210,000", "+10,000", "1.0500", "-1.00000000 USD", "+0 s"):
        assert part in text
    view = samples.view(prediction=PREDICTION, realised=realised)
    figures_of = {each["name"]: each for each in deal_document(view)["comparison"]}
    assert figures_of["gas"]["ratio"] == "1.0500"
    assert Decimal(figures_of["profit_usd8"]["difference"]) == -100_000_000
    assert deal_document(samples.view())["comparison"] is None


def test_a_prediction_without_a_swap_has_no_slippage() -> None:
    assert "slippage" not in printed(prediction_facts(prediction(max_slippage_bps=None)))
    assert "0.12 %" in printed(steps_table((figures(),)))
