"""Commands that were given while Temporal was away: delivered once, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import count
from typing import Any, Final

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool
from temporalio import workflow
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from domain.errors import NotAllowed
from starters.local.temporal import ensure_temporal
from tests.control.people import CAUSE, add_principal
from tests.support.postgres import Database
from workers.dispatch import Dispatcher, Pool, TemporalAway
from workflows.deal.messages import CommandMessage
from workflows.deal.workflow import workflow_id

QUEUE: Final = "deals-that-take-commands"
_numbers = count(1)


@workflow.defn(name="Deal")
class StandIn:
    """A deal that counts its cancels, and ends when it is told."""

    def __init__(self) -> None:
        self._heard: list[CommandMessage] = []
        self._over = False

    @workflow.run
    async def run(self) -> list[CommandMessage]:
        await workflow.wait_condition(lambda: self._over)
        return self._heard

    @workflow.update
    async def cancel(self, message: CommandMessage) -> dict[str, Any]:
        self._heard.append(message)
        if message.why == "refuse me":
            error = NotAllowed("it is unwinding already", next_action="wait")
            raise ApplicationError(
                str(error), error.problem.model_dump(), type=error.code, non_retryable=True
            )
        self._over = message.why == "and end"
        return {"cancels": len(self._heard)}

    @workflow.signal
    def end(self) -> None:
        self._over = True


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[Client]:
    server = str(await asyncio.to_thread(ensure_temporal))
    async with (
        await WorkflowEnvironment.start_local(
            data_converter=pydantic_data_converter,
            dev_server_existing_path=server,
            dev_server_log_level="error",
        ) as environment,
        Worker(
            environment.client,
            task_queue=QUEUE,
            workflows=[StandIn],
            workflow_runner=UnsandboxedWorkflowRunner(),
        ),
    ):
        yield environment.client


@pytest.fixture(scope="module")
def queued_database(database: Database) -> Database:
    add_principal(database, "olga", "oncall")
    return database


@pytest.fixture
async def pool(queued_database: Database) -> AsyncIterator[Pool]:
    async with AsyncConnectionPool(
        queued_database.role("deal_records"), open=False, kwargs={"autocommit": True}
    ) as pool:
        yield pool


async def started(client: Client) -> str:
    deal_id = f"waiting-{next(_numbers)}"
    await client.start_workflow(StandIn.run, id=workflow_id(deal_id), task_queue=QUEUE)
    return deal_id


def queue(database: Database, deal_id: str, why: str = "the market moves") -> str:
    """Write down a cancel that waits."""
    command_id = f"cancel-{next(_numbers)}"
    with psycopg.connect(database.role("deal_control")) as connection:
        cause = json.dumps(CAUSE | {"who": "olga"})
        connection.execute("SELECT set_config('deal.cause', %s, true)", (cause,))
        connection.execute(
            "INSERT INTO control.commands (command_id, kind, subject, deal_id, bank, body,"
            " body_digest, principal_id, via, why)"
            " VALUES (%s, 'deal.cancel', %s, %s, 'bank-one', '{}', %s, 'olga', 'cli', %s)",
            (command_id, deal_id, deal_id, "0" * 64, why),
        )
        connection.execute(
            "UPDATE control.commands SET state = 'QUEUED' WHERE command_id = %s", (command_id,)
        )
    return command_id


def found(database: Database, command_id: str) -> tuple[Any, ...]:
    """State, problem and answer of a command."""
    with psycopg.connect(database.role("deal_reader")) as connection:
        row = connection.execute(
            "SELECT state, problem, answer FROM control.commands WHERE command_id = %s",
            (command_id,),
        ).fetchone()
    assert row is not None
    return tuple(row)


async def heard(client: Client, deal_id: str) -> list[CommandMessage]:
    handle = client.get_workflow_handle_for(StandIn.run, workflow_id(deal_id))
    await handle.signal(StandIn.end)
    return await handle.result()


async def test_what_waits_is_delivered_in_the_name_of_whoever_gave_it(
    client: Client, pool: Pool, queued_database: Database
) -> None:
    deal_id = await started(client)
    command_id = queue(queued_database, deal_id)
    await Dispatcher(pool, client).round()
    assert found(queued_database, command_id) == ("APPLIED", None, {"cancels": 1})
    (message,) = await heard(client, deal_id)
    assert (message.who, message.why) == ("olga", "the market moves")


async def test_a_worker_that_died_before_it_wrote_that_down_delivers_nothing_twice(
    client: Client, pool: Pool, queued_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    deal_id = await started(client)
    command_id = queue(queued_database, deal_id)
    dying = Dispatcher(pool, client)

    async def killed(*_: object, **__: object) -> None:
        raise ConnectionAbortedError

    monkeypatch.setattr(dying, "_decide", killed)
    with pytest.raises(ConnectionAbortedError):
        await dying.round()
    assert found(queued_database, command_id)[0] == "QUEUED"
    await Dispatcher(pool, client).round()
    assert found(queued_database, command_id) == ("APPLIED", None, {"cancels": 1})
    assert len(await heard(client, deal_id)) == 1


async def test_what_was_delivered_is_known_even_if_the_deal_has_ended_by_it(
    client: Client, pool: Pool, queued_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    deal_id = await started(client)
    command_id = queue(queued_database, deal_id, "and end")
    dying = Dispatcher(pool, client)

    async def killed(*_: object, **__: object) -> None:
        raise ConnectionAbortedError

    monkeypatch.setattr(dying, "_decide", killed)
    with pytest.raises(ConnectionAbortedError):
        await dying.round()
    await client.get_workflow_handle(workflow_id(deal_id)).result()
    await Dispatcher(pool, client).round()
    assert found(queued_database, command_id)[0] == "APPLIED"


async def test_several_workers_at_once_deliver_it_once(
    client: Client, pool: Pool, queued_database: Database
) -> None:
    deals = [await started(client) for _ in range(5)]
    commands = [queue(queued_database, deal_id) for deal_id in deals]
    await asyncio.gather(*(Dispatcher(pool, client).round() for _ in range(4)))
    assert {found(queued_database, each)[0] for each in commands} == {"APPLIED"}
    assert [len(await heard(client, deal_id)) for deal_id in deals] == [1] * 5


async def test_what_the_deal_refuses_is_refused_with_its_reason(
    client: Client, pool: Pool, queued_database: Database
) -> None:
    deal_id = await started(client)
    command_id = queue(queued_database, deal_id, "refuse me")
    await Dispatcher(pool, client).round()
    state, problem, _ = found(queued_database, command_id)
    assert (state, problem["code"]) == ("REFUSED", "not_allowed")
    assert problem["message"] == "it is unwinding already"


async def test_a_deal_that_has_ended_meanwhile_refuses(
    client: Client, pool: Pool, queued_database: Database
) -> None:
    deal_id = await started(client)
    await heard(client, deal_id)
    command_id = queue(queued_database, deal_id)
    await Dispatcher(pool, client).round()
    state, problem, _ = found(queued_database, command_id)
    assert (state, problem["value"]) == ("REFUSED", deal_id)
    assert "could be given cancel" in problem["message"]


async def test_while_temporal_is_away_it_goes_on_waiting(
    client: Client, pool: Pool, queued_database: Database
) -> None:
    deal_id = await started(client)
    command_id = queue(queued_database, deal_id)
    server = str(await asyncio.to_thread(ensure_temporal))
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=server, dev_server_log_level="error"
    ) as environment:
        away = environment.client
    with pytest.raises(TemporalAway):
        await Dispatcher(pool, away).round()
    assert found(queued_database, command_id)[0] == "QUEUED"
    await Dispatcher(pool, client).round()
    assert found(queued_database, command_id)[0] == "APPLIED"
