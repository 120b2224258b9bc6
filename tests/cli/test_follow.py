"""`deal watch` and `deal wait`: every change once, and an exit code that says how it ended."""

import asyncio
import io
import json
from collections.abc import AsyncIterator

import pytest
from psycopg_pool import AsyncConnectionPool
from rich.console import Console

from activities.deals.interface import DealRecord
from activities.deals.records import Records
from domain.deals import DealStatus, Step
from domain.errors import NotFound, OutcomeUnknown, Problem, WaitTimedOut
from domain.identifiers import DealId
from domain.transactions import BatchKey
from domain.views import DealView, StepView
from starters.cli import follow, formats, tables
from starters.cli.live import LiveDeal, steps_ahead
from starters.deals.failures import not_found
from tests.activities.deals import samples
from tests.cli.conftest import Deal
from tests.support.postgres import Database

PROBLEM = Problem(code="simulation_failed", message="it reverts", next_action="look")
UNKNOWN = OutcomeUnknown("nobody knows", next_action="look").problem


def story(*endings: DealView) -> list[DealView]:
    """A deal from its admission to the swap, and then what is given."""
    first = samples.view(status=DealStatus.EXECUTING, sizing=samples.SIZING, doing="funding")
    views, steps = [first], []
    for step in (Step.FUND, Step.WRAP, Step.COLLATERALIZE, Step.BORROW, Step.SWAP):
        steps.append(samples.step(step))
        views.append(samples.later(views[-1], steps=tuple(steps), doing=f"after {step}"))
    return [*views, *endings]


def ended(status: DealStatus, problem: Problem | None = None) -> DealView:
    """The deal at its end."""
    return samples.later(
        story()[-1],
        status,
        doing="done",
        problem=problem,
        settlement=samples.SETTLEMENT if status is DealStatus.COMPLETED else None,
    )


class OneStory:
    """Stands in for Temporal: a deal whose views are known beforehand."""

    def __init__(self, views: list[DealView]) -> None:
        self.views = views

    async def watch(self, _: DealId) -> AsyncIterator[DealView]:
        for view in self.views:
            yield view

    async def wait(self, deal_id: DealId, timeout: float | None) -> DealView:  # noqa: ASYNC109
        if not self.views:
            raise not_found(deal_id)
        if timeout == 0:
            raise WaitTimedOut("not yet", next_action="wait again")
        return self.views[-1]


@pytest.fixture
def stage(deal: Deal, monkeypatch: pytest.MonkeyPatch) -> OneStory:  # noqa: ARG001 - clears the environment first
    """The commands follow this deal, which a test fills."""
    stand_in = OneStory([])

    async def connect() -> OneStory:
        return stand_in

    monkeypatch.setattr(follow, "open_client", connect)
    monkeypatch.setenv("DEAL_DATABASE_URL", "postgresql://127.0.0.1:1/none")
    monkeypatch.setenv("DEAL_WEB_UI", "http://127.0.0.1:8233")
    return stand_in


ENDS = [
    (DealStatus.COMPLETED, None, 0),
    (DealStatus.UNWOUND, PROBLEM, 1),
    (DealStatus.UNWOUND, None, 1),
    (DealStatus.DENIED, PROBLEM, 1),
    (DealStatus.STUCK, PROBLEM, 1),
    (DealStatus.STUCK, UNKNOWN, 7),
    (DealStatus.REJECTED, None, 1),
    (DealStatus.EXPIRED, None, 1),
]


@pytest.mark.parametrize(("status", "problem", "code"), ENDS)
@pytest.mark.parametrize("command", ["watch", "wait"])
@pytest.mark.parametrize("form", ["json", "table"])
def test_the_exit_code_says_how_it_ended(  # noqa: PLR0913, PLR0917 - a table's columns
    deal: Deal,
    stage: OneStory,
    command: str,
    form: str,
    status: DealStatus,
    problem: Problem | None,
    code: int,
) -> None:
    stage.views = story(ended(status, problem))
    answer = deal(command, "alpha", "-o", form)
    assert answer.code == code
    assert status in answer.out
    assert (problem.message in answer.err) if problem else (answer.err == "")


def test_a_pipe_gets_a_line_a_change(deal: Deal, stage: OneStory) -> None:
    stage.views = story(ended(DealStatus.COMPLETED))
    lines = [json.loads(line) for line in deal("watch", "alpha").out.splitlines()]
    assert [line["version"] for line in lines] == [view.version for view in stage.views]
    assert lines[-1]["settlement"]["profit_usd8"] == "12300000001"


def test_a_log_gets_a_line_a_change_and_the_table(deal: Deal, stage: OneStory) -> None:
    stage.views = story(ended(DealStatus.COMPLETED))
    out = deal("watch", "alpha", "-o", "table").out
    assert "EXECUTING  0 of 8 steps" in out
    assert "EXECUTING  5 of 8 steps" in out
    assert "COMPLETED  5 of 5 steps" in out
    for part in (samples.inclusion(2, "x").transaction_hash, "123.00000001 USD", "Web UI: http"):
        assert part in out


def test_waiting_ends_in_time(deal: Deal, stage: OneStory) -> None:
    stage.views = story()
    answer = deal("wait", "alpha", "--timeout", "0")
    assert (answer.code, answer.problem["code"]) == (124, "timed_out")


@pytest.mark.parametrize(("recorded", "code"), [(DealStatus.DENIED, 1), (None, NotFound.exit_code)])
def test_waiting_for_a_deal_temporal_has_forgotten_asks_the_records(  # noqa: PLR0913, PLR0917 - fixtures and a table
    deal: Deal,
    stage: OneStory,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    recorded: DealStatus | None,
    code: int,
) -> None:
    async def record(status: DealStatus) -> None:
        async with AsyncConnectionPool(database.role("deal_records"), open=False) as pool:
            view = samples.view("forgotten", status=status)
            await Records(pool).record_deal(DealRecord(view=view))

    if recorded is not None:
        asyncio.run(record(recorded))
    stage.views = []
    monkeypatch.setenv("DEAL_DATABASE_URL", database.role("deal_reader"))
    assert deal("wait", "forgotten" if recorded else "unknown").code == code


def pipelined(*steps: StepView) -> DealView:
    """A pipelined deal that has taken these steps."""
    return samples.view(request=samples.request(mode="pipelined", cycles=3), steps=steps)


@pytest.mark.parametrize(
    ("view", "ahead"),
    [
        (samples.view(), "fund wrap collateralize borrow swap redeem settle sweep"),
        (story()[3], "borrow swap redeem settle sweep"),
        (story()[-1], "redeem settle sweep"),
        (
            samples.view(request=samples.request(cycles=2)),
            "fund wrap collateralize borrow swap redeem swap redeem settle sweep",
        ),
        (samples.later(story()[-1], DealStatus.UNWINDING), "settle sweep"),
        (pipelined(), "fund run sweep"),
        (pipelined(samples.step(Step.FUND)), "run sweep"),
        (pipelined(samples.step(Step.FUND), samples.step(Step.RUN)), "sweep"),
        (
            pipelined(samples.step(Step.FUND), samples.step(Step.RUN, problem=PROBLEM)),
            "settle sweep",
        ),
        (ended(DealStatus.COMPLETED), ""),
        (ended(DealStatus.STUCK), ""),
        (
            samples.view(steps=(samples.step(Step.FUND, problem=PROBLEM),)),
            "fund wrap collateralize borrow swap redeem settle sweep",
        ),
    ],
)
def test_the_steps_ahead_are_the_plan_less_what_is_done(view: DealView, ahead: str) -> None:
    assert steps_ahead(view) == [Step(name) for name in ahead.split()]


def test_a_terminal_sees_the_steps_change_in_place() -> None:
    screen = io.StringIO()
    failed = samples.step(Step.REDEEM, problem=PROBLEM, inclusions=())
    views = story()
    views.append(samples.later(views[-1], steps=(*views[-1].steps, failed)))
    with LiveDeal(Console(file=screen, force_terminal=True, width=100)) as live:
        for view in (*views, ended(DealStatus.COMPLETED)):
            live.show(view)
    drawn = screen.getvalue()
    for part in ("asking where the deal stands", "after swap", "✓", "✗", "collateralize", "done"):
        assert part in drawn


def test_a_step_tells_its_round_attempt_and_problem() -> None:
    key = BatchKey(deal_id=DealId("alpha"), step=Step.TOP_UP, round=2, attempt=3)
    step = samples.step(key=key, problem=PROBLEM, inclusions=())
    screen = io.StringIO()
    Console(file=screen, width=160).print(tables.steps_table([step]))
    assert "top up 2, attempt 3" in screen.getvalue()
    assert "it reverts" in screen.getvalue()


def test_a_problem_is_shown_whole() -> None:
    screen = io.StringIO()
    Console(file=screen, width=160).print(tables.problem_facts(samples.PROBLEM))
    for part in ("sizing_refused", "no size fits", "profit", "wait"):
        assert part in screen.getvalue()


@pytest.mark.parametrize(
    ("usd8", "text"),
    [
        (0, "0.00000000 USD"),
        (-1, "-0.00000001 USD"),
        (123_456_789_012, "1,234.56789012 USD"),
        (-100_000_000, "-1.00000000 USD"),
    ],
)
def test_dollars_have_all_their_digits(usd8: int, text: str) -> None:
    assert formats.usd(usd8) == text


def test_the_par_token_has_a_name_even_without_a_profile() -> None:
    unknown = samples.view(request=samples.request(chain_id=7), sizing=samples.SIZING)
    assert formats.par_token(unknown) == ("par token", 6)
    assert formats.par_token(story()[-1]) == ("USDT", 6)
