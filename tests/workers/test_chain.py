"""What a chain worker does beside its activities: telling deals, and watching."""

import asyncio
import signal
from collections.abc import Iterator

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.transactions.interface import FillNonce
from domain.deals import Step
from domain.errors import Unavailable
from domain.identifiers import Address, ChainId, DealId
from domain.tracking import Notice
from starters.local.temporal import ensure_temporal
from workers.chain import _filler, _teller
from workers.runtime.background import beside
from workflows.chain.fill import workflow_id as fill_id
from workflows.deal.workflow import TASK_QUEUE as DEALS_QUEUE
from workflows.deal.workflow import workflow_id

QUEUE = "deals-that-listen"


@workflow.defn(name="Deal")
class StandIn:
    """A deal that ends with the first notice."""

    def __init__(self) -> None:
        self.notice: Notice | None = None

    @workflow.run
    async def run(self) -> Notice:
        await workflow.wait_condition(lambda: self.notice is not None)
        assert self.notice is not None
        return self.notice

    @workflow.signal
    def chain_notice(self, notice: Notice) -> None:
        self.notice = notice


def notice_to(deal_id: str) -> Notice:
    return Notice(
        notice_id=3, chain_id=ChainId(138), deal_id=DealId(deal_id), undone=(f"{deal_id}/0",)
    )


async def test_a_deal_is_told_and_one_that_is_closed_or_gone_need_not_be(
    temporal_address: str,
) -> None:
    client = await Client.connect(temporal_address, data_converter=pydantic_data_converter)
    tell, notice = _teller(client), notice_to("listening")
    async with Worker(
        client,
        task_queue=QUEUE,
        workflows=[StandIn],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        deal = await client.start_workflow(
            StandIn.run, id=workflow_id(notice.deal_id), task_queue=QUEUE
        )
        await tell(notice)
        assert await deal.result() == notice
    await tell(notice)
    await tell(notice_to("never-was"))


async def test_while_temporal_is_away_the_notice_is_kept() -> None:
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(await asyncio.to_thread(ensure_temporal)),
        dev_server_log_level="error",
    ) as server:
        address = server.client.service_client.config.target_host
        client = await Client.connect(address, data_converter=pydantic_data_converter)
        await _teller(client)(notice_to("never-was"))
    with pytest.raises(Unavailable) as caught:
        await _teller(client)(notice_to("never-was"))
    assert caught.value.retryable
    assert caught.value.problem.field == "TEMPORAL_ADDRESS"


async def test_a_nonce_is_filled_by_one_workflow_however_often_it_is_asked_for(
    temporal_address: str,
) -> None:
    client = await Client.connect(temporal_address, data_converter=pydantic_data_converter)
    account = Address("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
    order = FillNonce(
        chain_id=ChainId(138),
        account=account,
        deal_id=DealId("alpha"),
        deal_account=account,
        step=Step.WRAP,
        nonce=4,
    )
    runs = set()
    for _ in range(2):
        await _filler(client)(order)
        filling = await client.get_workflow_handle(fill_id(order)).describe()
        assert (filling.workflow_type, filling.task_queue) == ("FillNonce", DEALS_QUEUE)
        runs.add(filling.run_id)
    assert len(runs) == 1
    await client.get_workflow_handle(fill_id(order)).terminate()


class Broken:
    """A monitor with a defect."""

    async def run(self) -> None:
        raise ZeroDivisionError


class Quiet:
    """A monitor that watches until it is stopped."""

    stopped = False

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped = True


@pytest.fixture
def terminated() -> Iterator[asyncio.Event]:
    """Set when this process is asked to end."""
    asked = asyncio.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    yield asked
    signal.signal(signal.SIGTERM, before)


async def test_a_defect_in_watching_ends_the_process(terminated: asyncio.Event) -> None:
    async with beside(Broken().run()):
        async with asyncio.timeout(5):
            while not terminated.is_set():  # noqa: ASYNC110 - set by a signal, outside the loop
                await asyncio.sleep(0.01)


async def test_stopping_the_worker_stops_watching_and_is_no_defect(
    terminated: asyncio.Event,
) -> None:
    monitor = Quiet()
    async with beside(monitor.run()):
        await asyncio.sleep(0)
        assert not monitor.stopped
    await asyncio.sleep(0.05)
    assert monitor.stopped
    assert not terminated.is_set()
