"""Critical operations through the real timelock: in time, once, as scheduled, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import psycopg
import pytest

from activities.protocols import timelock
from activities.protocols.timelock import SET_FEE
from domain.errors import Conflict, NotAllowed
from domain.operations import OperationId, OperationStatus, OperationView, Scheduled, salt_of
from starters.local import postgres
from starters.local.stack import Stack
from tests.e2e.test_kills import killed
from tests.support.asking import asking
from tests.support.commands import deal
from tests.support.desk import eventually
from tests.support.node import OWNER
from tests.support.timelocks import DELAY, Office, operations_stack
from workflows.deal.messages import CommandMessage

BY_RISK = CommandMessage(who="a risk manager", why="a test")
WORKERS = ("deals", "chain", "signer")


@pytest.fixture(scope="module")
def short_stack() -> Iterator[Stack]:
    """A stack whose timelock waits seconds."""
    with operations_stack() as stack:
        yield stack


@pytest.fixture(scope="module")
async def office(short_stack: Stack) -> AsyncIterator[Office]:
    """Where operations are proposed."""
    yield await Office.open(short_stack)
    await asyncio.sleep(0.25)  # the SDK's own threads have to be done with the last answer


def scheduled(view: OperationView) -> Scheduled:
    assert view.scheduled is not None
    return view.scheduled


CHANGES = {
    "fee": {"kind": "redemption_fee", "fee_bps": 7},
    "cap": {"kind": "redemption_cap", "daily_cap": "99000000000000"},
    "treasury": {"kind": "treasury", "treasury": "0x14dC79964da2C08b23698B3D3cc7Ca32193d9955"},
    "destination": {
        "kind": "destination",
        "destination": "0x14dC79964da2C08b23698B3D3cc7Ca32193d9955",
        "allowed": True,
    },
    "owner": {
        "kind": "safe_owner",
        "old_owner": "0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f",
        "new_owner": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    },
}


async def test_every_kind_of_change_is_made_once_after_the_delay(office: Office) -> None:
    views = [await office.propose(**change) for change in CHANGES.values()]
    waiting = [await office.until(view, OperationStatus.WAITING) for view in views]
    assert all(office.early(scheduled(view)) for view in waiting)
    for view in waiting:
        ended = await office.end(view)
        assert ended.status is OperationStatus.DONE, ended.problem
        assert ended.before != ended.after
        assert len(ended.transactions) == len({"schedule", "execute"})
        node, (first, second) = office.desk.node(), ended.transactions
        times = [
            int(node.ask("eth_getBlockByHash", node.block_of(each), False)["timestamp"], 16)  # noqa: FBT003 - positional
            for each in (first, second)
        ]
        assert times[1] - times[0] >= DELAY
        call = scheduled(ended)
        assert office.executions(call) == 1
        assert office.refused(timelock.execute_call(call))  # twice
        assert office.refused(timelock.schedule_call(call))  # nor again
        again = await office.operations.propose(ended.request)
        assert again == ended


async def test_a_cancelled_operation_is_never_executed(office: Office) -> None:
    view = await office.propose(kind="redemption_fee", fee_bps=9)
    await office.until(view, OperationStatus.WAITING)
    name, command_id = view.request.operation_id, uuid4().hex
    ended = await office.operations.cancel(name, BY_RISK, command_id)
    assert ended.status is OperationStatus.CANCELLED
    assert ended.cancelled_by == BY_RISK.who
    call = scheduled(ended)
    assert office.refused(timelock.execute_call(call))
    assert office.refused(timelock.cancel_call(call))
    assert office.executions(call) == 0
    assert office.happened(view, "execute") == []
    with pytest.raises(NotAllowed):
        await office.operations.cancel(name, BY_RISK, uuid4().hex)


async def test_the_command_line_proposes_shows_lists_and_cancels(office: Office) -> None:
    desk, name = office.desk, f"{office.desk.name}-typed"
    asked = ("operation", "propose", "redemption_fee", "--id", name, "--chain", "138", "--module")
    asked += ("usdtz", "--delay", "600", "--reason", "a test", "--yes", "--to")
    first = await deal(desk.stack, *asked, "21", who="admin-1")
    assert first.code == 0, first.err
    view = await office.operations.view(OperationId(name))
    await office.until(view, OperationStatus.WAITING)
    again = (await deal(desk.stack, *asked, "21", who="admin-1")).document
    assert (again["status"], again["after"]) == ("WAITING", "21 basis points")
    other = await deal(desk.stack, *asked, "22", who="admin-1")
    assert (other.code, other.problem["code"]) == (Conflict.exit_code, "conflict")
    nobody = await deal(desk.stack, "operation", "show", "nobody", who="admin-1")
    assert (nobody.code, nobody.problem["code"]) == (2, "not_found")
    listed = (await deal(desk.stack, "operation", "list", who="admin-1")).document["operations"]
    assert name in [each["request"]["operation_id"] for each in listed]
    cancel = ("operation", "cancel", name, "--reason", "not agreed", "--yes")
    ended = (await deal(desk.stack, *cancel, who="admin-1")).document
    assert (ended["status"], ended["cancelled_by"]) == ("CANCELLED", "admin-1")
    late = await deal(desk.stack, *cancel, who="admin-1")
    assert (late.code, late.problem["code"]) == (4, "not_allowed")
    assert (await deal(desk.stack, "operation", "show", name, who="admin-1")).document == ended


async def test_what_was_not_scheduled_is_refused_by_the_contract(office: Office) -> None:
    view = await office.until(
        await office.propose(kind="redemption_fee", fee_bps=11), OperationStatus.WAITING
    )
    call = scheduled(view)
    others = {
        "data": SET_FEE.encode(1_000),
        "target": office.desk.node().contracts["usdt"],
        "salt": salt_of(office.request(kind="redemption_fee", fee_bps=11).batch_owner),
    }
    await eventually(lambda: not office.early(call), "it is ready")
    for name, value in others.items():
        changed = call.model_copy(update={name: value})
        assert office.refused(timelock.execute_call(changed)), name
    assert (await office.end(view)).status is OperationStatus.DONE


async def test_whoever_has_no_role_is_refused_by_the_contract(office: Office) -> None:
    view = await office.until(
        await office.propose(kind="redemption_fee", fee_bps=12), OperationStatus.WAITING
    )
    call = scheduled(view)
    another = call.model_copy(update={"salt": "0x" + "11" * 32})
    assert not office.refused(timelock.schedule_call(another))
    for data in (timelock.schedule_call(another), timelock.cancel_call(call)):
        assert office.refused(data, sender=OWNER)
    await eventually(lambda: not office.early(call), "it is ready")
    assert office.refused(timelock.execute_call(call), sender=OWNER)
    assert (await office.end(view)).status is OperationStatus.DONE


async def test_one_that_somebody_else_cancels_ends_as_cancelled(office: Office) -> None:
    view = await office.until(
        await office.propose(kind="redemption_fee", fee_bps=13), OperationStatus.WAITING
    )
    node = office.desk.node()
    node.ask("anvil_impersonateAccount", office.fee)
    data = timelock.cancel_call(scheduled(view))
    node.ask(
        "eth_sendTransaction",
        {"from": office.fee, "to": node.contracts["timelock"], "data": data},
    )
    ended = await office.end(view)
    assert (ended.status, ended.cancelled_by) == (OperationStatus.CANCELLED, "somebody else")


async def test_a_change_to_what_is_there_already_is_refused(office: Office) -> None:
    fee = await office.propose(kind="redemption_fee", fee_bps=14)
    assert (await office.end(fee)).status is OperationStatus.DONE
    again = await office.end(await office.propose(kind="redemption_fee", fee_bps=14))
    assert again.status is OperationStatus.FAILED
    assert again.problem is not None
    assert again.problem.field == "change"
    other = fee.request.model_copy(update={"why": "another reason"})
    with pytest.raises(Conflict):
        await office.operations.propose(other)


async def test_killed_between_schedule_and_execute_it_is_executed_once(office: Office) -> None:
    view = await office.until(
        await office.propose(kind="redemption_fee", fee_bps=15), OperationStatus.WAITING
    )
    call = scheduled(view)
    async with killed(office.desk.stack, *WORKERS):
        await eventually(lambda: not office.early(call), "it is ready, and nobody is there")
        assert office.happened(view, "execute") == []
    ended = await office.end(view)
    assert ended.status is OperationStatus.DONE, ended.problem
    assert office.executions(call) == 1
    assert len(office.happened(view, "execute")) == 1


async def test_killed_between_execute_and_its_record_it_is_executed_once(office: Office) -> None:
    view = await office.until(
        await office.propose(kind="redemption_fee", fee_bps=16), OperationStatus.WAITING
    )
    call, node = scheduled(view), office.desk.node()
    with node.held():

        def out() -> bool:
            if not office.happened(view, "execute"):
                node.mine()  # the chain's clock goes on by blocks only
            return office.desk.books.of_step(view.request.batch_owner, "execute") != [] and all(
                intent.state == "BROADCAST"
                for intent in office.desk.books.of_step(view.request.batch_owner, "execute")
            )

        await eventually(out, "its execution is sent")
        async with killed(office.desk.stack, *WORKERS):
            node.mine()
            await eventually(lambda: office.executions(call) == 1, "it is executed")
    ended = await office.end(view)
    assert ended.status is OperationStatus.DONE, ended.problem
    assert office.executions(call) == 1
    assert len(office.happened(view, "execute")) == 1


async def test_by_http_an_operation_is_proposed_and_cancelled_in_its_callers_name(
    office: Office,
) -> None:
    name, why = f"{office.desk.name}-http", {"reason": "a test"}
    body = {
        "operation_id": name,
        "chain_id": 138,
        "module": "usdtz",
        "change": {"kind": "redemption_fee", "fee_bps": 9},
        "delay_seconds": 3_600,
    }
    async with asking(office.desk.stack) as api:
        key = str(uuid4())
        viewer = await api.post("viewer", "/operations", body | why)
        proposed = await api.post("admin-1", "/operations", body | why, key)
        again = await api.post("admin-1", "/operations", body | why, key)
        other = body | {"change": {"kind": "redemption_fee", "fee_bps": 8}} | why
        conflict = await api.post("admin-1", "/operations", other)
        view = OperationView.model_validate(proposed.json())
        await office.until(view, OperationStatus.WAITING)
        cancelled = await api.post("admin-2", f"/operations/{name}/cancel", why)
        late = await api.post("admin-1", f"/operations/{name}/cancel", why)
        nowhere = await api.post("admin-1", "/operations/nothing/cancel", why)
    assert viewer.status_code == 403
    assert (proposed.status_code, view.request.who) == (201, "admin-1")
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (conflict.status_code, conflict.json()["code"]) == (409, "conflict")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "CANCELLED")
    assert cancelled.json()["cancelled_by"] == "admin-2"
    assert (late.status_code, late.json()["code"]) == (409, "not_allowed")
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "not_found")
    with psycopg.connect(postgres.url(office.desk.stack.folder, "deal_reader")) as connection:
        told = connection.execute(
            "SELECT action, actor, actor_kind, via, command_id LIKE 'api-%%' FROM audit.events"
            " WHERE subject_kind = 'operation' AND subject = %s"
            " AND action IN ('operation.requested', 'operation.cancelled') ORDER BY sequence",
            (name,),
        ).fetchall()
    assert told == [
        ("operation.requested", "admin-1", "human", "api", True),
        ("operation.cancelled", "admin-2", "human", "api", True),
    ]
