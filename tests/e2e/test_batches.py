"""One command for many deals, on a real stack: exactly the list that was shown, and no other."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import psycopg

from domain.deals import DealStatus, Step
from domain.identifiers import DealId
from starters.local import postgres
from tests.support.asking import asking
from tests.support.commands import deal
from tests.support.desk import Desk

WHY = {"reason": "a drill"}


async def started(desk: Desk, bank: str, count: int) -> list[DealId]:
    """Start deals of a bank on a chain that mines nothing; each waits for its first block."""
    ids = [(await desk.start(bank=bank)).request.deal_id for _ in range(count)]
    for deal_id in ids:
        await desk.sent(deal_id, Step.FUND)
    return ids


def batches(desk: Desk, batch_id: str) -> list[tuple[Any, ...]]:
    """What the batch's rows say: the list in its order, and each deal's command."""
    with psycopg.connect(postgres.url(desk.stack.folder, "deal_reader")) as connection:
        kept = connection.execute(
            "SELECT command, deals, principal_id FROM control.batches WHERE batch_id = %s",
            (batch_id,),
        ).fetchall()
        given = connection.execute(
            "SELECT deal_id, kind, state FROM control.commands WHERE command_id LIKE %s"
            " ORDER BY created_at",
            (f"{batch_id}/%",),
        ).fetchall()
    return [*kept, *sorted(given)]


async def test_what_was_previewed_by_http_is_paused_and_what_began_meanwhile_is_not(
    desk: Desk,
) -> None:
    bank = f"bank-{uuid4().hex[:8]}"
    where = f"bank={bank} status=EXECUTING"
    async with asking(desk.stack) as api:
        with desk.node().held():
            ids = await started(desk, bank, 3)
            previewed = await api.post("oncall-1", "/batches/pause/preview", {"where": where})
            assert previewed.status_code == 201, previewed.text
            shown = previewed.json()
            (meanwhile,) = await started(desk, bank, 1)
            yes = {"preview_id": shown["preview_id"], "digest": shown["digest"]} | WHY
            key = str(uuid4())
            acted = await api.post("oncall-1", "/batches/pause", yes, key)
            again = await api.post("oncall-1", "/batches/pause", yes, key)
        for deal_id in ids:
            await desk.status(deal_id, DealStatus.PAUSED)
        untouched = await desk.end(meanwhile)

        assert [each["deal_id"] for each in shown["deals"]] == ids
        assert acted.status_code == 200, acted.text
        told = acted.json()
        assert [(each["deal_id"], each["outcome"]) for each in told["deals"]] == [
            (deal_id, "applied") for deal_id in ids
        ]
        assert told["counts"] == {"applied": 3, "queued": 0, "refused": 0}
        assert again.content == acted.content
        assert untouched.status is DealStatus.COMPLETED
        assert batches(desk, told["batch_id"]) == [
            ("pause", ids, "oncall-1"),
            *sorted((deal_id, "deal.pause", "APPLIED") for deal_id in ids),
        ]

        # The list says nothing of what may be done by now: each deal answers for itself.
        where = f"id={','.join(ids)} status=PAUSED"
        shown = (await api.post("oncall-1", "/batches/resume/preview", {"where": where})).json()
        (first, *others) = ids
        one = await api.post("oncall-1", f"/deals/{first}/resume", WHY)
        assert one.status_code == 200, one.text
        await desk.end(first)
        yes = {"preview_id": shown["preview_id"], "digest": shown["digest"]} | WHY
        resumed = (await api.post("oncall-1", "/batches/resume", yes)).json()
        outcomes = {each["deal_id"]: each for each in resumed["deals"]}
        assert resumed["counts"] == {"applied": 2, "queued": 0, "refused": 1}
        assert outcomes[first]["problem"]["code"] == "not_allowed"
        assert {outcomes[deal_id]["outcome"] for deal_id in others} == {"applied"}
    ended = await desk.ends(*ids)
    assert {view.status for view in ended} == {DealStatus.COMPLETED}


async def test_the_command_line_shows_the_list_and_acts_on_it_deal_by_deal(desk: Desk) -> None:
    bank = f"bank-{uuid4().hex[:8]}"
    with desk.node().held():
        ids = await started(desk, bank, 2)
        elsewhere = (await started(desk, f"{bank}-2", 1))[0]
        why = ("--reason", "a drill", "--yes", "-o", "json")
        where = ("--where", f"bank={bank} status=EXECUTING")
        cancelled = await deal(desk.stack, "--as", "oncall-1", "cancel", *where, *why)
    assert cancelled.code == 0, cancelled.err
    told = cancelled.document
    assert [(each["deal_id"], each["outcome"]) for each in told["deals"]] == [
        (deal_id, "applied") for deal_id in ids
    ]
    ended = await desk.ends(*ids, elsewhere)
    assert [view.status for view in ended] == [
        DealStatus.UNWOUND,
        DealStatus.UNWOUND,
        DealStatus.COMPLETED,
    ]
    assert batches(desk, told["batch_id"])[0] == ("cancel", ids, "oncall-1")
    over = await deal(
        desk.stack, "--as", "oncall-1", "pause", "--where", f"id={ids[0]} status=UNWOUND", *why
    )
    assert over.code == 4, over.err
    (refused,) = over.document["deals"]
    assert (refused["outcome"], refused["problem"]["code"]) == ("refused", "not_allowed")
