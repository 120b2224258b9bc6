"""The HTTP API on a whole stack: what people do there, by workflows and a chain that are real."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest
from psycopg.types.json import Jsonb

from domain.deals import DealStatus, Step
from domain.denials import Denial
from domain.errors import OutcomeUnknown
from domain.identifiers import Address
from domain.safe import SafeTransaction
from tests.e2e.test_commands import walk_to
from tests.e2e.test_halts import halts_of
from tests.e2e.test_transactions import completed, in_the_pool, wrap_of
from tests.support.asking import Asking, asking
from tests.support.desk import Desk
from tests.support.owners import KEYS, sign, sign_with

TWO_MILLION: Final = "700"
"""Ether worth 2,100,000 USD: one approver, and the owners of the Safe."""
LARGE: Final = "400"
"""Ether worth 1,200,000 USD: the owners alone."""
FIRST, SECOND, _ = KEYS
WHY: Final = {"reason": "a test"}


class Api:
    """The API as people of the stack use it; they are named as in `deal --as`."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    async def get(self, path: str, who: str = "viewer") -> Any:
        answer = await self._asking.get(who, path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(
        self, path: str, body: dict[str, Any], who: str = "desk", key: str | None = None
    ) -> httpx.Response:
        return await self._asking.post(who, path, body, key)

    async def done(self, path: str, body: dict[str, Any], who: str = "desk") -> Any:
        answer = await self.post(path, body, who)
        assert answer.status_code in {200, 201}, answer.text
        return answer.json()

    async def refused(
        self, status: int, code: str, path: str, body: dict[str, Any], who: str
    ) -> Any:
        answer = await self.post(path, body, who)
        told = answer.json()
        assert (answer.status_code, told.get("code")) == (status, code), answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert told["next_action"]
        return told


@pytest.fixture
async def api(desk: Desk) -> AsyncIterator[Api]:
    async with asking(desk.stack) as client:
        yield Api(client)


def order(desk: Desk, liquidity: str) -> dict[str, Any]:
    """The body that starts a deal of its own bank."""
    request = desk.request(working_liquidity=liquidity)
    fields = request.model_dump(mode="json", include={"deal_id", "bank", "module", "chain_id"})
    return fields | {"working_liquidity": liquidity}


async def test_a_deal_is_approved_by_what_was_read_and_signed_by_its_owners(
    desk: Desk, api: Api
) -> None:
    started = await api.done("/deals", order(desk, TWO_MILLION))
    deal_id, path = started["request"]["deal_id"], f"/deals/{started['request']['deal_id']}"
    assert started["status"] == "AWAITING_APPROVAL"
    assert deal_id in [each["deal_id"] for each in (await api.get("/approvals"))["approvals"]]
    read = await api.get(f"{path}/approvals")
    assert (read["source"], read["desk"]["missing"], read["approval"]) == ("workflow", 1, None)
    binding = {"binding_digest": read["desk"]["binding_digest"]}

    other = WHY | {"binding_digest": "0" * 64}
    told = await api.refused(403, Denial.APPROVAL_OTHER, f"{path}/approve", other, "approver-1")
    assert (told["actual"], told["limit"]) == ("0" * 64, binding["binding_digest"])
    await api.refused(403, "forbidden", f"{path}/approve", WHY | binding, "desk")
    key = str(uuid4())
    said = await api.post(f"{path}/approve", WHY | binding, "approver-1", key)
    assert said.status_code == 200, said.text
    assert (said.json()["missing"], said.json()["given"][0]["approver"]) == (0, "approver-1")
    again = await api.post(f"{path}/approve", WHY | binding, "approver-1", key)
    assert again.content == said.content
    assert again.headers["Idempotency-Replayed"] == "true"
    late = f"{path}/approve"
    await api.refused(403, Denial.APPROVAL_NOT_AWAITED, late, WHY | binding, "approver-2")

    await desk.until(started["request"]["deal_id"], lambda now: now.approval is not None)
    proposal = (await api.get(f"{path}/approvals"))["approval"]["proposal"]
    assert proposal["owners"] == list(KEYS)

    def signed(owner: Address, key: bytes | None = None) -> dict[str, str]:
        digest = proposal["transaction_hash"]
        made = sign(owner, digest) if key is None else sign_with(key, digest)
        return {"owner": owner, "signature": made, "transaction_hash": digest}

    place = f"{path}/owner-signatures"
    await api.refused(422, "invalid_input", place, signed(FIRST, b"\x11" * 32), "approver-1")
    assert (await api.done(place, signed(FIRST), "approver-1"))["needed"] == 1
    await api.refused(409, "conflict", place, signed(FIRST), "approver-1")
    assert (await api.done(place, signed(SECOND), "approver-2"))["needed"] == 0
    ended = await desk.end(started["request"]["deal_id"])
    assert ended.status is DealStatus.COMPLETED, ended.problem

    shown = await api.get(path)
    assert shown["prediction"]["profit_usd8"]
    figures = {each["name"]: each for each in shown["figures"]}
    assert figures["profit_usd8"]["realised"] == str(shown["realised"]["profit_usd8"])
    assert (await api.get("/approvals"))["approvals"] == []
    commands = desk.books.rows(
        "SELECT kind, principal_id, via, state FROM control.commands WHERE deal_id = %s"
        " AND state = 'APPLIED' ORDER BY created_at",
        deal_id,
    )
    assert commands == [
        ("deal.start", "desk", "api", "APPLIED"),
        ("deal.approve", "approver-1", "api", "APPLIED"),
        ("deal.owner_sign", "approver-1", "api", "APPLIED"),
        ("deal.owner_sign", "approver-2", "api", "APPLIED"),
    ]


async def test_the_desk_and_an_owner_reject_and_nothing_is_moved(desk: Desk, api: Api) -> None:
    asked = await api.done("/deals", order(desk, TWO_MILLION))
    path = f"/deals/{asked['request']['deal_id']}"
    said = await api.done(f"{path}/reject", {"reason": "too large today"}, "approver-2")
    assert (said["rejected"]["approver"], said["rejected"]["why"]) == (
        "approver-2",
        "too large today",
    )
    ended = await desk.end(asked["request"]["deal_id"])
    assert (ended.status, ended.steps) == (DealStatus.REJECTED, ())
    binding = {"binding_digest": said["binding_digest"]}
    await api.refused(
        403, Denial.APPROVAL_NOT_AWAITED, f"{path}/approve", WHY | binding, "approver-1"
    )

    proposed = await api.done("/deals", order(desk, LARGE))
    path = f"/deals/{proposed['request']['deal_id']}"
    proposal = proposed["approval"]["proposal"]
    transaction = SafeTransaction.model_validate(proposal["transaction"])
    refusal = {
        "owner": FIRST,
        "signature": sign(FIRST, transaction.rejection_hash()),
        "transaction_hash": proposal["transaction_hash"],
        "reason": "not this bank",
    }
    forged = refusal | {"signature": sign(FIRST, proposal["transaction_hash"])}
    place = f"{path}/owner-rejections"
    await api.refused(422, "invalid_input", place, forged, "approver-1")
    assert (await api.done(place, refusal, "approver-1"))["deal_id"] in path
    ended = await desk.end(proposed["request"]["deal_id"])
    assert (ended.status, ended.steps) == (DealStatus.REJECTED, ())
    assert ended.problem is not None
    assert "not this bank" in ended.problem.message


async def test_a_dry_run_says_how_the_launch_is_then_decided(desk: Desk, api: Api) -> None:
    small = await api.done("/dry-runs", order(desk, "10"), "trader")
    assert small["prediction"]["steps"]
    outlook = small["outlook"]
    assert (outlook["allowed"], outlook["approvals_needed"]) == (True, 0)
    assert (outlook["owners_decide"], outlook["problem"]) == (False, None)

    body = order(desk, TWO_MILLION)
    outlook = (await api.done("/dry-runs", body, "trader"))["outlook"]
    assert (outlook["allowed"], outlook["approvals_needed"]) == (True, 1)
    assert outlook["owners_decide"] is True
    assert desk.books.rows("SELECT 1 FROM deals.deals WHERE deal_id = %s", body["deal_id"]) == []
    started = await api.done("/deals", body, "trader")
    assert started["desk_approval"]["needed"] == outlook["approvals_needed"]
    # The gas reserve, some thousandths of it, is priced by the newest block.
    assert int(started["desk_approval"]["value_usd8"]) == pytest.approx(
        int(outlook["value_usd8"]), rel=1e-5
    )
    assert started["policy_version"] == outlook["policy_version"]
    rule = desk.books.rows(
        "SELECT rule FROM control.admissions WHERE deal_id = %s", body["deal_id"]
    )
    assert rule == [(outlook["rule"],)]
    await api.done(f"/deals/{body['deal_id']}/cancel", WHY)

    huge = order(desk, "1700")
    outlook = (await api.done("/dry-runs", huge, "trader"))["outlook"]
    denied = await api.done("/deals", huge, "trader")
    assert (outlook["allowed"], denied["status"]) == (False, "DENIED")
    assert outlook["problem"]["code"] == denied["problem"]["code"] == Denial.SENIOR_TRADER
    assert outlook["problem"]["limit"] == denied["problem"]["limit"] == "5,000,000 USD"


async def test_a_halt_is_in_the_outlook_and_is_released_by_another(desk: Desk, api: Api) -> None:
    body = order(desk, "10")
    scope = f"bank={body['bank']}"
    with halts_of(desk):
        halted = await api.done("/halts", WHY | {"scope": scope}, "risk-1")
        assert (halted["state"], halted["set_by"], halted["changed"]) == (
            "HALTED",
            ["risk-1"],
            True,
        )
        outlook = (await api.done("/dry-runs", body))["outlook"]
        denied = await api.done("/deals", body)
        assert outlook["problem"] == denied["problem"]
        assert (outlook["allowed"], outlook["problem"]["code"]) == (False, "halted")
        release = f"/halts/{scope}/release"
        await api.refused(409, "not_allowed", release, WHY, "risk-1")
        assert (await api.done(release, WHY, "risk-2"))["state"] == "ACTIVE"
        assert (await api.done("/dry-runs", body))["outlook"]["allowed"] is True


async def test_a_transaction_is_bumped_once_sent_again_and_cancelled(desk: Desk, api: Api) -> None:
    node = desk.node()
    with node.held():
        deal_id = await walk_to(desk, Step.WRAP)
        place = f"/transactions/{wrap_of(desk, deal_id).intent_id}"
        (first,) = await in_the_pool(desk, deal_id, 1)
        key = str(uuid4())
        bumped = await api.post(f"{place}/bump", WHY, "desk", key)
        again = await api.post(f"{place}/bump", WHY, "desk", key)
        assert bumped.status_code == 200, bumped.text
        assert bumped.content == again.content
        hashes = await in_the_pool(desk, deal_id, 2)
        assert hashes == [first, bumped.json()["transaction_hash"]]
        sent = await api.done(f"/transactions/{first}/rebroadcast", WHY)
        assert (sent["action"], sent["transaction_hash"]) == ("rebroadcast", hashes[-1])
        assert (await api.done(f"{place}/cancel", WHY))["action"] == "cancel"
        hashes = await in_the_pool(desk, deal_id, 3)
        node.mine()
    view = await completed(desk, deal_id)
    wraps = [step.outcome for step in view.steps if step.outcome.key.step is Step.WRAP]
    assert [outcome.problem is None for outcome in wraps] == [False, True]
    await api.refused(409, "not_allowed", f"{place}/bump", WHY, "desk")
    shown = await api.get(place)
    assert [attempt["no_op"] for attempt in shown["attempts"]] == [False, False, True]
    assert shown["mined_hash"] == hashes[-1]


async def test_a_latched_chain_is_released_and_the_trail_says_by_whom(desk: Desk, api: Api) -> None:
    latched = OutcomeUnknown("block 7 is another now", next_action="look at it, then release")
    desk.books.rows(
        "INSERT INTO signing.latches (chain_id, problem) VALUES (%s, %s) RETURNING latch_id",
        desk.node().chain_id,
        Jsonb(latched.problem.model_dump()),
    )
    deal_id = (await desk.start()).request.deal_id
    await desk.prepared(deal_id, Step.FUND)
    body, key = {"reason": "it is right"}, str(uuid4())
    released = await api.post("/chains/138/release", body, "oncall-1", key)
    assert released.status_code == 200, released.text
    assert released.json()["cleared"] is True
    again = await api.post("/chains/138/release", body, "oncall-1", key)
    assert again.content == released.content
    await completed(desk, deal_id)
    query = "SELECT cleared_by, cleared_why FROM signing.latches ORDER BY latch_id DESC LIMIT 1"
    assert desk.books.rows(query) == [("oncall-1", "it is right")]
    trail = await api.get("/audit/events?who=oncall-1&limit=3", "compliance")
    assert sorted(row["subject_kind"] for row in trail["rows"]) == ["chain", "command", "command"]
    assert {row["why"] for row in trail["rows"]} == {"it is right"}
    assert len({row["subject"] for row in trail["rows"]} - {"138"}) == 1
    assert (await api.done("/chains/138/release", body, "oncall-1"))["cleared"] is False
