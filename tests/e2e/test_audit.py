"""The trail of a whole deal on a real stack, verified by a script that has nothing of ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from domain.deals import Command, DealStatus, Step
from domain.identity import Caller, Principal, PrincipalId, Role, Via
from starters.control.audit import AuditTrail
from starters.control.database import ControlDatabase
from starters.deals.database import single_connection
from starters.local import postgres
from tests.e2e.test_commands import walk_to
from tests.support.desk import Desk
from workers.runtime.settings import PROJECT_ROOT

SCRIPT = PROJECT_ROOT / "deploy" / "audit" / "verify.py"
COMPLIANCE = Caller(
    principal=Principal(
        principal_id=PrincipalId("compliance"),
        roles=frozenset({Role.COMPLIANCE}),
        banks=frozenset({"*"}),
    ),
    via=Via.CLI,
)


def verified(file: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The script's answer, in a Python that sees none of our packages."""
    command = [sys.executable, "-I", "-S", str(SCRIPT), str(file), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=file.parent)


async def test_the_trail_of_a_whole_deal_verifies_outside(desk: Desk, tmp_path: Path) -> None:
    folder = desk.stack.folder
    reading = single_connection(postgres.url(folder, "deal_reader"))
    trail = AuditTrail(reading, ControlDatabase.at(postgres.url(folder, "deal_control")))
    kept = (await trail.verify(COMPLIANCE)).head
    node = desk.node()
    with node.held():
        deal_id = await walk_to(desk, Step.WRAP)
        beside = await desk.start()
        await desk.command(deal_id, Command.PAUSE, f"pause-{deal_id}")
        node.mine()
        await desk.status(deal_id, DealStatus.PAUSED)
    await desk.command(beside.request.deal_id, Command.CANCEL)
    await desk.command(deal_id, Command.RESUME, f"resume-{deal_id}")
    ended = await desk.end(deal_id)
    assert ended.status is DealStatus.COMPLETED
    await desk.end(beside.request.deal_id)

    lines = [line async for line in trail.export(COMPLIANCE, "an audit", deal_id, kept)]
    file = tmp_path / "deal.jsonl"
    file.write_text("\n".join(lines) + "\n")
    checked = verified(file, "--head", kept)
    assert (checked.returncode, checked.stderr) == (0, "")
    rows = [json.loads(line) for line in lines[1:]]
    own = [row for row in rows if "change" in row]
    assert f"whole: {len(own)} rows of deal {deal_id}" in checked.stdout
    assert len(own) < len(rows), "the other deal's rows are between them"

    told = [row for row in own if row["workflow_id"] is not None]
    described = await desk.handle(deal_id).describe()
    assert {row["workflow_id"] for row in told} == {described.id}
    assert {row["run_id"] for row in told} == {described.run_id}
    assert {row["request_digest"] for row in told} == {ended.request.digest()}
    assert all(0 < row["event"] <= described.history_length for row in told)
    events = [row["event"] for row in told]
    assert events == sorted(events)

    mined = [hash_ for row in own for hash_ in row["transaction_hashes"] or ()]
    assert mined == [
        each.transaction_hash for step in ended.steps for each in step.outcome.inclusions
    ]
    assert len(mined) >= 8

    actions = [row["action"] for row in own]
    assert actions[0] == "deal.requested"
    assert [each for each in actions if each in {"deal.paused", "deal.completed"}] == [
        "deal.paused",
        "deal.completed",
    ]
    assert {"key.added", "key.retired", "deal.step", "deal.added"} <= set(actions)
    for action, name in [("deal.paused", "pause"), ("deal.executing", "resume")]:
        by_command = [row for row in own if row["command_id"] == f"{name}-{deal_id}"]
        assert [row["action"] for row in by_command] == [action]
        assert {(row["actor"], row["why"]) for row in by_command} == {("on-call", "a test")}

    place = next(place for place, row in enumerate(rows, start=1) if "change" in row)
    lines[place] = json.dumps(rows[place - 1] | {"why": "another reason"})
    file.write_text("\n".join(lines))
    broken = verified(file)
    assert broken.returncode == 1
    assert f"row {rows[place - 1]['sequence']} was changed" in broken.stdout
