"""What `DealClient` promises, against a real Temporal server.

The workflow is a stand-in under the same name with the same messages: it waits where the test
wants it to, which no real deal does.
"""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio
from temporalio import workflow
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.transactions.interface import Action, TransactionView
from domain.deals import Command, DealRequest, DealStatus, check_command
from domain.errors import (
    Conflict,
    LimitExceeded,
    NotAllowed,
    NotFound,
    OutcomeUnknown,
    PostConditionFailed,
    Unavailable,
    WaitTimedOut,
)
from domain.identifiers import DealId
from domain.identity import PrincipalId, Via
from domain.launches import Launch
from domain.transactions import IntentState
from domain.views import DealView
from starters.deals import client as client_module
from starters.deals.client import DealClient
from starters.deals.database import single_connection
from starters.deals.launch import launch, newest_view
from starters.deals.reading import RecordsReader
from starters.local.temporal import ensure_temporal
from tests.activities.deals import samples
from tests.support.codec import encrypting_converter
from workers.runtime.connect import connect
from workflows.deal.messages import CommandMessage, TransactionMessage
from workflows.deal.workflow import TASK_QUEUE, workflow_id

ME = CommandMessage(who="mia", why="the test wants it")


LAUNCH = Launch(command_id="c-client", initiator=PrincipalId("trader"), via=Via.CLI)


@workflow.defn(name="Deal")
class StandIn:
    """A deal that waits until it is told to end; its bank says how."""

    @workflow.init
    def __init__(self, request: object, launch: object = None) -> None:  # noqa: ARG002 - as deals have it
        # With an argument left out the SDK no longer knows the types of the others.
        request = DealRequest.model_validate(request)
        now = workflow.now()
        self._view = samples.view(request=request, created_at=now, updated_at=now)
        self._told_to_end = False
        self._acted = 0

    def _move(self, status: DealStatus) -> None:
        self._view = samples.later(self._view, status)

    @workflow.run
    async def run(self, request: object, launch: object = None) -> DealView:  # noqa: ARG002 - likewise
        request = self._view.request
        if request.bank != "bank-slow":
            self._move(DealStatus.EXECUTING)
        await workflow.wait_condition(lambda: self._told_to_end)
        if request.bank == "bank-broken":
            error = PostConditionFailed("no", next_action="look")
            raise ApplicationError(str(error), error.problem.model_dump(), type=error.code)
        if request.bank == "bank-stuck":
            self._move(DealStatus.UNWINDING)
            self._move(DealStatus.STUCK)
            await workflow.wait_condition(lambda: False)
        self._move(DealStatus.COMPLETED)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self._view

    @workflow.query
    def view(self) -> DealView:
        if self._view.request.bank == "bank-mute":
            msg = "the worker was too busy"
            raise RuntimeError(msg)
        return self._view

    @workflow.signal
    def end(self) -> None:
        self._told_to_end = True

    @workflow.update
    async def admission(self) -> DealView:
        await workflow.wait_condition(lambda: self._view.status is not DealStatus.REQUESTED)
        return self._view

    @workflow.update
    async def pause(self, message: CommandMessage) -> DealView:
        self._move(DealStatus.PAUSED)
        self._view = self._view.model_copy(update={"doing": f"{message.who}: {message.why}"})
        return self._view

    @pause.validator
    def _may_pause(self, _: CommandMessage) -> None:
        try:
            check_command(Command.PAUSE, self._view.status)
        except NotAllowed as error:
            raise ApplicationError(
                str(error), error.problem.model_dump(), type=error.code, non_retryable=True
            ) from None

    @workflow.update
    async def transact(self, message: TransactionMessage) -> TransactionView:
        self._acted += 1
        return TransactionView(
            intent_id=message.intent_id,
            nonce=self._acted,
            state=IntentState.BROADCAST,
            action=message.action,
            note=f"{message.who}: {message.why}",
        )

    @transact.validator
    def _may_transact(self, message: TransactionMessage) -> None:
        if message.action is Action.BUMP:
            error = LimitExceeded("above the cap", next_action="wait")
            raise ApplicationError(
                str(error), error.problem.model_dump(), type=error.code, non_retryable=True
            )


@pytest_asyncio.fixture(scope="module")
async def temporal() -> AsyncIterator[Client]:
    """A development server, and a client as our own `connect` makes it."""
    binary = await asyncio.to_thread(ensure_temporal)
    environment = await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(binary), data_converter=encrypting_converter()
    )
    async with environment:
        yield environment.client


@pytest_asyncio.fixture(scope="module")
async def _worker(temporal: Client) -> AsyncIterator[None]:
    """A worker for the stand-in."""
    async with Worker(
        temporal,
        task_queue=TASK_QUEUE,
        workflows=[StandIn],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        yield


@pytest.fixture
def deals(temporal: Client, _worker: None) -> DealClient:
    """The client under test."""
    return DealClient(temporal)


@pytest.fixture
def request_() -> DealRequest:
    """A request that nobody has made yet."""
    return samples.request(f"deal-{uuid4().hex[:12]}")


async def end(temporal: Client, deal_id: DealId) -> None:
    """Tell the stand-in to end."""
    await temporal.get_workflow_handle(workflow_id(deal_id)).signal(StandIn.end)


async def test_fifty_identical_requests_are_one_deal_with_one_answer(
    deals: DealClient, temporal: Client, request_: DealRequest
) -> None:
    answers = await asyncio.gather(*(deals.start(request_) for _ in range(50)))
    assert {answer.status for answer in answers} == {DealStatus.EXECUTING}
    assert len({answer.model_dump_json() for answer in answers}) == 1
    history = await temporal.get_workflow_handle(workflow_id(request_.deal_id)).fetch_history()
    accepted = "workflow_execution_update_accepted_event_attributes"
    assert [event.HasField(accepted) for event in history.events].count(True) == 1


async def test_a_worker_that_cannot_look_just_now_is_asked_again_later(
    deals: DealClient,
) -> None:
    request = samples.request(f"deal-{uuid4().hex[:12]}", bank="bank-mute")
    await deals.start(request)
    with pytest.raises(Unavailable) as caught:
        await deals.view(request.deal_id)
    problem = caught.value.problem
    assert (problem.field, problem.value) == ("deal_id", request.deal_id)
    assert "Encoded" not in str(problem)


@pytest.mark.parametrize("running", [True, False])
async def test_a_deal_id_used_with_another_body_is_a_conflict(
    deals: DealClient, temporal: Client, request_: DealRequest, *, running: bool
) -> None:
    await deals.start(request_)
    if not running:
        await end(temporal, request_.deal_id)
        await deals.wait(request_.deal_id)
    other = samples.request(request_.deal_id, working_liquidity="11")
    with pytest.raises(Conflict) as caught:
        await deals.start(other)
    problem = caught.value.problem
    assert (problem.field, problem.value, problem.limit) == ("working_liquidity", "11", "10")
    assert (await deals.start(request_)).request == request_


async def test_a_repeated_command_is_one_command(deals: DealClient, request_: DealRequest) -> None:
    await deals.start(request_)
    first = await deals.command(request_.deal_id, Command.PAUSE, ME, "pause-1")
    again = await deals.command(request_.deal_id, Command.PAUSE, ME, "pause-1")
    assert first == again
    assert (first.status, first.doing) == (DealStatus.PAUSED, "mia: the test wants it")


async def test_a_command_the_state_does_not_allow_is_refused_with_the_possible_ones(
    deals: DealClient, temporal: Client, request_: DealRequest
) -> None:
    await deals.start(request_)
    await deals.command(request_.deal_id, Command.PAUSE, ME, "pause-1")
    with pytest.raises(NotAllowed) as caught:
        await deals.command(request_.deal_id, Command.PAUSE, ME, "pause-2")
    assert "resume, cancel" in caught.value.problem.next_action
    await end(temporal, request_.deal_id)
    await deals.wait(request_.deal_id)
    with pytest.raises(NotAllowed, match="COMPLETED"):
        await deals.command(request_.deal_id, Command.PAUSE, ME, "pause-3")


def asks(action: Action) -> TransactionMessage:
    """What somebody wants done to a transaction."""
    return TransactionMessage(intent_id="alpha/swap/1/1/0", action=action, who=ME.who, why=ME.why)


async def test_acting_on_a_transaction_twice_under_one_id_is_acting_once(
    deals: DealClient, request_: DealRequest
) -> None:
    await deals.start(request_)
    first = await deals.transact(request_.deal_id, asks(Action.CANCEL), "t-1")
    again = await deals.transact(request_.deal_id, asks(Action.CANCEL), "t-1")
    assert first == again
    assert (first.nonce, first.note) == (1, "mia: the test wants it")
    assert (await deals.transact(request_.deal_id, asks(Action.CANCEL), "t-2")).nonce == 2


async def test_a_refusal_to_act_is_the_deals_own_error(
    deals: DealClient, temporal: Client, request_: DealRequest
) -> None:
    await deals.start(request_)
    with pytest.raises(LimitExceeded) as above:
        await deals.transact(request_.deal_id, asks(Action.BUMP), "t-1")
    assert above.value.exit_code == 5
    await end(temporal, request_.deal_id)
    await deals.wait(request_.deal_id)
    with pytest.raises(NotAllowed, match="has ended") as over:
        await deals.transact(request_.deal_id, asks(Action.CANCEL), "t-2")
    assert over.value.problem.actual == "COMPLETED"


async def test_a_deal_that_is_not_there_is_not_found(deals: DealClient) -> None:
    nobody = DealId("nobody")
    with pytest.raises(NotFound):
        await deals.view(nobody)
    with pytest.raises(NotFound):
        await deals.wait(nobody)
    with pytest.raises(NotFound):
        await deals.command(nobody, Command.CANCEL, ME, "x")
    with pytest.raises(NotFound):
        await deals.transact(nobody, asks(Action.CANCEL), "x")


async def test_watching_yields_each_change_and_ends(
    deals: DealClient, temporal: Client, request_: DealRequest
) -> None:
    await deals.start(request_)
    seen = []
    async for view in deals.watch(request_.deal_id):
        seen.append(view.status)
        if len(seen) == 1:
            await deals.command(request_.deal_id, Command.PAUSE, ME, "pause-1")
        if len(seen) == 2:
            await end(temporal, request_.deal_id)
    assert seen == [DealStatus.EXECUTING, DealStatus.PAUSED, DealStatus.COMPLETED]


async def test_a_stuck_deal_ends_the_waiting_though_its_workflow_goes_on(
    deals: DealClient, temporal: Client
) -> None:
    request = samples.request(f"stuck-{uuid4().hex[:12]}", bank="bank-stuck")
    await deals.start(request)
    with pytest.raises(WaitTimedOut) as caught:
        await deals.wait(request.deal_id, 0.5)
    assert caught.value.problem.actual == "EXECUTING"
    await end(temporal, request.deal_id)
    assert (await deals.wait(request.deal_id, 30)).status is DealStatus.STUCK


async def test_a_workflow_that_fails_tells_its_own_problem(
    deals: DealClient, temporal: Client
) -> None:
    request = samples.request(f"broken-{uuid4().hex[:12]}", bank="bank-broken")
    await deals.start(request)
    await end(temporal, request.deal_id)
    with pytest.raises(PostConditionFailed, match="no"):
        await deals.wait(request.deal_id)


async def test_nobody_knows_what_a_terminated_workflow_did(
    deals: DealClient, temporal: Client, request_: DealRequest
) -> None:
    await deals.start(request_)
    await temporal.get_workflow_handle(workflow_id(request_.deal_id)).terminate("drill")
    with pytest.raises(OutcomeUnknown, match="from outside"):
        await deals.wait(request_.deal_id)


async def test_no_answer_in_time_is_an_unknown_outcome_and_safe_to_repeat(
    deals: DealClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = samples.request(f"slow-{uuid4().hex[:12]}", bank="bank-slow")
    monkeypatch.setattr(client_module, "_ANSWER_SECONDS", 0.5)
    for _ in range(2):
        with pytest.raises(OutcomeUnknown) as caught:
            await deals.start(request)
        assert "same body" in caught.value.problem.next_action
    assert (await deals.view(request.deal_id)).status is DealStatus.REQUESTED


async def test_being_cancelled_stays_being_cancelled(deals: DealClient) -> None:
    """Ctrl-C while an answer is awaited: the SDK would make an error of its own out of it."""
    request = samples.request(f"slow-{uuid4().hex[:12]}", bank="bank-slow")
    start = asyncio.create_task(deals.start(request))
    async with asyncio.timeout(20):
        while True:
            try:
                await deals.view(request.deal_id)
                break
            except (NotFound, Unavailable):
                await asyncio.sleep(0.02)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start


async def test_without_workers_a_look_is_unavailable_and_a_change_unknown(
    temporal: Client, request_: DealRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a namespace of the server where nobody works."""
    monkeypatch.setattr(client_module, "TASK_QUEUE", "nobody-works-here")
    monkeypatch.setattr(client_module, "_ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(client_module, "_QUERY_SECONDS", 0.5)
    monkeypatch.setattr(client_module, "_PATIENCE_SECONDS", 1)
    alone = DealClient(temporal)
    with pytest.raises(OutcomeUnknown):
        await alone.start(request_)
    with pytest.raises(Unavailable):
        await alone.view(request_.deal_id)
    with pytest.raises(OutcomeUnknown, match="took the command pause"):
        await alone.command(request_.deal_id, Command.PAUSE, ME, "p")
    with pytest.raises(OutcomeUnknown, match="was given cancel"):
        await alone.transact(request_.deal_id, asks(Action.CANCEL), "t")
    with pytest.raises(Unavailable):
        await alone.wait(request_.deal_id)


async def test_no_server_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("DEAL_ENVIRONMENT", "development")
    monkeypatch.setenv("DEAL_CODEC_KEYS", "off")
    with pytest.raises(Unavailable) as caught:
        await connect()
    assert caught.value.problem.value == "127.0.0.1:1"


class Recorded(RecordsReader):
    """The records, holding at most this one deal."""

    def __init__(self, view: DealView | None) -> None:
        super().__init__(single_connection(""))
        self._only = view

    async def find(self, deal_id: DealId) -> DealView | None:
        return self._only if self._only and self._only.request.deal_id == deal_id else None


async def test_a_deal_temporal_has_forgotten_is_never_started_again(
    deals: DealClient, request_: DealRequest
) -> None:
    first = samples.view(request=request_, status=DealStatus.UNWOUND)
    assert await launch(request_, deals, Recorded(first), LAUNCH) == first
    with pytest.raises(NotFound):
        await deals.view(request_.deal_id)
    other = samples.request(request_.deal_id, working_liquidity="11")
    with pytest.raises(Conflict):
        await launch(other, deals, Recorded(first), LAUNCH)


async def test_launching_answers_for_the_deal_that_runs(
    deals: DealClient, request_: DealRequest
) -> None:
    admitted = await launch(request_, deals, Recorded(None), LAUNCH)
    assert admitted.status is DealStatus.EXECUTING
    again = await launch(request_, deals, Recorded(samples.view(request=request_)), LAUNCH)
    assert again == admitted


async def test_the_workflow_answers_before_the_records(
    deals: DealClient, request_: DealRequest
) -> None:
    started = await deals.start(request_)
    behind = samples.view(request=request_)
    assert await newest_view(request_.deal_id, deals, Recorded(behind)) == (started, True)
    assert await newest_view(request_.deal_id, None, Recorded(behind)) == (behind, False)
    with pytest.raises(NotFound):
        await newest_view(DealId("nobody"), deals, Recorded(behind))
