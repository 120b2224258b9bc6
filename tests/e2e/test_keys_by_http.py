"""The signer's keys and the schedules over HTTP, on a real stack: once, recorded, and proved."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import psycopg
from psycopg.rows import dict_row

from domain.deals import DealStatus
from starters.local import postgres
from tests.support.asking import asking
from tests.support.desk import Desk

WHY = {"reason": "a drill"}


def rows(desk: Desk, statement: str, *parameters: object) -> list[dict[str, Any]]:
    url = postgres.url(desk.stack.folder, "deal_reader")
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return connection.execute(statement.encode(), parameters).fetchall()


def trail(desk: Desk, action: str) -> dict[str, Any]:
    """The newest row of the audit trail with this action."""
    (row,) = rows(
        desk,
        "SELECT actor, actor_kind, via, why, deal, command_id FROM audit.events"
        " WHERE action = %s ORDER BY sequence DESC LIMIT 1",
        action,
    )
    return row


def command(desk: Desk, kind: str) -> dict[str, Any]:
    """The newest command of a kind."""
    (row,) = rows(
        desk,
        "SELECT command_id, principal_id, via, state FROM control.commands WHERE kind = %s"
        " ORDER BY created_at DESC LIMIT 1",
        kind,
    )
    return row


async def test_a_rotation_is_done_once_and_is_in_the_trail_in_its_callers_name(desk: Desk) -> None:
    assert (await desk.run()).status is DealStatus.COMPLETED  # so that something was signed
    async with asking(desk.stack) as api:
        before = (await api.get("viewer", "/keys", limit=1)).json()["generation"]
        body, key = {"rotations": ["seed", "wrapping"]} | WHY, str(uuid4())
        refused = await api.post("viewer", "/keys/rotate", body)
        rotated = await api.post("admin-1", "/keys/rotate", body, key)
        with psycopg.connect(postgres.url(desk.stack.folder, "deal_control")) as connection:
            # As after a process that died before it could answer.
            connection.execute(
                "UPDATE control.requests SET status = NULL, answer = NULL"
                " WHERE principal_id = 'admin-1'"
            )
        again = await api.post("admin-1", "/keys/rotate", body, key)
        after = (await api.get("viewer", "/keys", limit=1)).json()["generation"]
        journal = (await api.get("viewer", "/keys/journal")).json()
        noted = (await api.get("viewer", "/keys/journal", head=journal["head"])).json()
        missing = (await api.get("viewer", "/keys/journal", head="ab" * 32)).json()
    assert refused.status_code == 403
    assert rotated.status_code == 200, rotated.text
    assert [each["generation"] for each in rotated.json()["rotated"]] == [before + 1] * 2
    assert "Idempotency-Replayed" not in again.headers
    assert again.json() == rotated.json()
    assert after == before + 1
    given = command(desk, "keys.rotate")
    assert (given["principal_id"], given["via"], given["state"]) == ("admin-1", "api", "APPLIED")
    for action in ("key.seed_rotated", "key.wrapping_rotated"):
        assert trail(desk, action) == {
            "actor": "admin-1",
            "actor_kind": "human",
            "via": "api",
            "why": "a drill",
            "deal": None,
            "command_id": given["command_id"],
        }
    assert (journal["intact"], noted["head_found"]) == (True, True)
    assert (missing["intact"], missing["head_found"]) == (False, False)


async def test_a_key_is_reinstated_and_retired_again(desk: Desk) -> None:
    view = await desk.run()
    assert view.status is DealStatus.COMPLETED
    deal_id, goes_on = view.request.deal_id, desk.request()
    async with asking(desk.stack) as api:
        path, key = f"/deals/{deal_id}/key", str(uuid4())
        reinstated = await api.post("admin-1", f"{path}/reinstate", WHY)
        retired = await api.post("admin-1", f"{path}/retire", WHY, key)
        again = await api.post("admin-1", f"{path}/retire", WHY, key)
        (shown,) = (await api.get("viewer", "/keys", deal_id=deal_id)).json()["keys"]
        with desk.node().held():
            await desk.begin(goes_on)
            early = await api.post("admin-1", f"/deals/{goes_on.deal_id}/key/retire", WHY)
        nowhere = await api.post("admin-1", "/deals/nothing/key/retire", WHY)
    assert (reinstated.status_code, reinstated.json()["retired_at"]) == (200, None)
    assert (retired.status_code, retired.json()["retired_by"]) == (200, "admin-1")
    assert (again.headers["Idempotency-Replayed"], again.content) == ("true", retired.content)
    assert shown == retired.json()
    assert (early.status_code, early.json()["code"]) == (409, "not_allowed")
    assert nowhere.status_code == 404
    told = rows(
        desk,
        "SELECT action, actor, actor_kind, via FROM audit.events WHERE deal = %s"
        " AND action LIKE 'key.re%%' ORDER BY sequence",
        deal_id,
    )
    assert [tuple(row.values()) for row in told] == [
        ("key.retired", f"deal {deal_id}", "system", "worker"),
        ("key.reinstated", "admin-1", "human", "api"),
        ("key.retired", "admin-1", "human", "api"),
    ]
    assert (await desk.end(goes_on.deal_id)).status is DealStatus.COMPLETED


async def test_the_schedules_are_applied_and_that_is_recorded(desk: Desk) -> None:
    async with asking(desk.stack) as api:
        trader = await api.post("trader", "/schedules/apply", WHY)
        applied = await api.post("oncall-1", "/schedules/apply", WHY)
    assert trader.status_code == 403
    assert applied.status_code == 200, applied.text
    assert {"schedule": "rotate-keys", "every_days": 90, "created": False} in applied.json()[
        "schedules"
    ]
    given = command(desk, "schedules.apply")
    assert (given["principal_id"], given["via"], given["state"]) == ("oncall-1", "api", "APPLIED")
