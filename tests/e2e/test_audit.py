"""The trail of a whole deal on a real stack, verified by a script that has nothing of ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from domain.deals import Command, DealStatus, Step
from domain.views import DealView
from tests.support.commands import deal
from tests.support.desk import Desk
from workers.runtime.settings import PROJECT_ROOT

SCRIPT = PROJECT_ROOT / "deploy" / "audit" / "verify.py"
Rows = list[dict[str, Any]]


async def audit(desk: Desk, *arguments: str) -> str:
    """What `deal audit` answers to somebody of compliance."""
    done = await deal(desk.stack, "--as", "compliance", "audit", *arguments)
    assert done.code == 0, done.err
    return done.out


def verified(file: Path, *options: str) -> tuple[int, str]:
    """The script's answer, in a Python that sees none of our packages."""
    command = [sys.executable, "-I", "-S", str(SCRIPT), str(file), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=file.parent)
    assert done.stderr == ""
    return done.returncode, done.stdout


async def paused_and_resumed(desk: Desk) -> DealView:
    """A deal that somebody paused and resumed, while another was cancelled beside it."""
    node = desk.node()
    with node.held():
        deal_id = (await desk.start()).request.deal_id
        await desk.sent(deal_id, Step.FUND)
        beside = (await desk.start()).request.deal_id
        await desk.command(deal_id, Command.PAUSE, f"pause-{deal_id}")
        node.mine()
        await desk.status(deal_id, DealStatus.PAUSED)
    await desk.command(beside, Command.CANCEL)
    await desk.command(deal_id, Command.RESUME, f"resume-{deal_id}")
    ended, _ = await desk.ends(deal_id, beside)
    assert ended.status is DealStatus.COMPLETED
    return ended


async def test_the_trail_of_a_whole_deal_verifies_outside(desk: Desk, tmp_path: Path) -> None:
    kept = json.loads(await audit(desk, "verify", "-o", "json"))["head"]
    ended = await paused_and_resumed(desk)
    deal_id = ended.request.deal_id
    file = tmp_path / "deal.jsonl"
    await audit(
        desk, *("export", "--deal", deal_id, "--head", kept, "--reason", "x", "--file", str(file))
    )
    lines = file.read_text().splitlines()
    rows = [json.loads(line) for line in lines[1:]]
    own = [row for row in rows if "change" in row]
    code, said = verified(file, "--head", kept)
    assert (code, f"whole: {len(own)} rows of deal {deal_id}" in said) == (0, True), said
    assert len(own) < len(rows), "the other deal's rows are between them"
    await check_facts(desk, ended, own)

    place = next(place for place, row in enumerate(rows, start=1) if "change" in row)
    lines[place] = json.dumps(rows[place - 1] | {"why": "another reason"})
    file.write_text("\n".join(lines))
    code, said = verified(file)
    assert (code, f"row {rows[place - 1]['sequence']} was changed" in said) == (1, True)


async def check_facts(desk: Desk, ended: DealView, own: Rows) -> None:
    """Hold the rows against the deal, its workflow, and who gave the commands."""
    deal_id = ended.request.deal_id
    records = [row for row in own if row["run_id"] is not None]
    described = await desk.handle(deal_id).describe()
    assert {row["workflow_id"] for row in records} == {described.id}
    assert {row["run_id"] for row in records} == {described.run_id}
    assert {row["request_digest"] for row in records} == {ended.request.digest()}
    events = [row["event"] for row in records]
    assert events == sorted(events)
    assert 0 < events[0] < events[-1] <= described.history_length
    assert isinstance(records[-1]["policy_version"], int)

    mined = [name for row in own for name in row["transaction_hashes"] or ()]
    steps = [step.outcome.inclusions for step in ended.steps]
    assert mined == [each.transaction_hash for inclusions in steps for each in inclusions]
    assert len(mined) >= 8

    actions = [row["action"] for row in own]
    assert {"deal.step", "deal.completed", "key.added", "key.retired", "command.added"} <= set(
        actions
    )
    caller = (str(desk.caller.who), "human", "cli")
    started = next(row for row in own if row["action"] == "deal.requested")
    assert (started["actor"], started["actor_kind"], started["via"]) == caller
    for action, name in [("deal.paused", "pause"), ("deal.executing", "resume")]:
        made = [
            row
            for row in own
            if row["command_id"] == f"{name}-{deal_id}" and row["subject_kind"] == "deal"
        ]
        assert [row["action"] for row in made] == [action]
        assert {(row["actor"], row["actor_kind"], row["via"]) for row in made} == {caller}
        assert {row["why"] for row in made} == {"a test"}
