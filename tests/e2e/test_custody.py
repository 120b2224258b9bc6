"""Keys over the life of whole deals: rotated, retired, in an HSM, and never outside the signer."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from domain.deals import Command, DealStatus, Step
from domain.identifiers import DealId
from starters.local import postgres
from starters.local.stack import Stack
from starters.local.state import load_state, project_dir
from starters.schedules import ROTATION_PERIOD, ROTATION_SCHEDULE
from tests.e2e.test_commands import walk_to
from tests.e2e.test_kills import check_all
from tests.support.commands import answer
from tests.support.desk import Desk, eventually
from tests.support.softhsm import SoftHsm, new_token
from tests.support.stacks import running_stack
from tests.support.treasury import Treasury


async def test_an_old_deal_unwinds_after_its_seed_and_wrapping_key_were_rotated(
    desk: Desk,
) -> None:
    with desk.node().held():
        old = await walk_to(desk, Step.BORROW)
        await desk.command(DealId(old), Command.PAUSE)
        desk.node().mine()
    await desk.status(DealId(old), DealStatus.PAUSED)
    before = (await answer(desk.stack, "keys", "list", "--deal", old))["generation"]

    asked = ("--seed", "--wrapping", "--why", "drill", "--yes")
    done = await answer(desk.stack, "keys", "rotate", *asked)
    assert [(each["rotation"], each["generation"]) for each in done] == [
        ("seed", before + 1),
        ("wrapping", before + 1),
    ]
    await asyncio.to_thread(desk.stack.restart, "signer")  # it has nothing but the rotated keystore

    new = await desk.run()
    assert new.status is DealStatus.COMPLETED
    await desk.command(DealId(old), Command.CANCEL)
    ended = await desk.end(DealId(old))
    assert ended.status is DealStatus.UNWOUND
    assert ended.account is not None
    assert desk.node().holdings(ended.account) == {}

    for deal_id, generation, status in (
        (old, before, "UNWOUND"),
        (new.request.deal_id, before + 1, "COMPLETED"),
    ):
        (key,) = (await answer(desk.stack, "keys", "list", "--deal", deal_id))["keys"]
        assert (key["generation"], key["retired_why"]) == (generation, f"the deal is {status}")
    checked = await answer(desk.stack, "keys", "verify-journal")
    assert checked["intact"]
    assert checked["rows"] > 0


async def test_nothing_more_is_signed_for_a_deal_that_has_ended(desk: Desk) -> None:
    """Not even with the records of its batches in hand; until a person reinstates the key."""
    view = await desk.run()
    deal_id = view.request.deal_id
    reinstated = await answer(desk.stack, "keys", "reinstate", deal_id, "--why", "drill", "--yes")
    assert reinstated["retired_at"] is None
    retired = await answer(desk.stack, "keys", "retire", deal_id, "--why", "drill", "--yes")
    assert (retired["retired_why"], retired["address"]) == ("drill", view.account)
    with (
        psycopg.connect(postgres.url(desk.stack.folder, "deal_signer")) as connection,
        pytest.raises(psycopg.IntegrityError, match="retired"),
    ):
        connection.execute(
            "INSERT INTO signing.journal SELECT (jsonb_populate_record(known, %s)).*"
            " FROM signing.journal AS known WHERE batch LIKE %s AND decision = 'signed' LIMIT 1",
            (json.dumps({"sequence": None, "transaction_hash": "0x" + "ab" * 32}), f"{deal_id}/%"),
        )


async def test_the_stack_rotates_its_keys_every_90_days(desk: Desk) -> None:
    found = await desk.client.get_schedule_handle(ROTATION_SCHEDULE).describe()
    assert [each.every for each in found.schedule.spec.intervals] == [ROTATION_PERIOD]
    again = await answer(desk.stack, "schedules", "apply")
    assert {"schedule": ROTATION_SCHEDULE, "every_days": 90, "created": False} in again


def test_the_signer_has_no_way_to_a_node_and_a_database_role_of_its_own(desk: Desk) -> None:
    processes = load_state(desk.stack.folder).processes
    signer = psutil.Process(processes["signer"].pid)
    environment = signer.environ()
    chains = {
        port
        for name, record in processes.items()
        for port in record.ports.values()
        if name.startswith("chain-")
    }
    assert len(chains) == len(desk.stack.chains)
    assert not [name for name in environment if "ENDPOINT" in name]
    for port in chains:
        assert not [name for name, value in environment.items() if str(port) in value]
    peers = {each.raddr.port for each in signer.net_connections("inet") if each.raddr}
    assert processes["temporal"].ports["temporal"] in peers
    assert not peers & chains
    assert "user=deal_signer" in environment["DEAL_DATABASE_URL"].replace("://", "://user=")
    for name in ("chain", "deals"):
        others = psutil.Process(processes[name].pid).environ()
        assert not [key for key in others if "KEYSTORE" in key or "KEY_PROVIDER" in key]


async def test_deal_worker_signer_is_the_same_signer_as_a_process_of_its_own(
    desk: Desk, tmp_path: Path
) -> None:
    given = psutil.Process(load_state(desk.stack.folder).processes["signer"].pid).environ()
    ready = tmp_path / "ready"
    own = given | {"DEAL_READY_FILE": str(ready)}
    del own["DEAL_METRICS_ADDRESS"]
    await asyncio.to_thread(desk.stack.stop, "signer")
    try:
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "starters.cli.main", "worker", "signer"),
            cwd=project_dir(),
            env=own,
            stdout=asyncio.subprocess.DEVNULL,
        )
        await eventually(ready.exists, "the signer polls")
        assert (await desk.run()).status is DealStatus.COMPLETED
        running.terminate()
        assert await running.wait() == 0
    finally:
        await asyncio.to_thread(desk.stack.start, "signer")


@pytest.fixture(scope="module")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> SoftHsm:
    return new_token(tmp_path_factory.mktemp("softhsm") / "hsm")


@pytest.fixture(scope="module")
def hsm_stack(hsm: SoftHsm) -> Iterator[Stack]:
    """A stack whose signer has its keys in an HSM."""
    with running_stack(block_time=1, chains=(138,), keys=hsm.environment) as stack:
        yield stack


async def test_a_deal_completes_though_the_hsm_is_lost_and_the_signer_restarted_in_the_middle(
    hsm: SoftHsm, hsm_stack: Stack
) -> None:
    desk = await Desk.open(hsm_stack)
    before = Treasury.of(desk.node(), desk)
    with desk.node().held():
        deal_id = (await desk.start()).request.deal_id
        await desk.sent(deal_id, Step.FUND)
        for step in (Step.WRAP, Step.BORROW, Step.SETTLE):
            for each in _up_to(step):
                desk.node().mine()
                await desk.sent(deal_id, each)
            hsm.take_away()
            desk.node().mine()
            await desk.prepared(deal_id, _after(step))  # numbered, and nobody can sign it
            hsm.put_back()
            await desk.sent(deal_id, _after(step))
            if step is Step.BORROW:
                await asyncio.to_thread(hsm_stack.restart, "signer")
    await desk.end(deal_id)
    await eventually(
        lambda: {intent.state for intent in desk.books.intents(deal_id)} == {"FINALIZED"},
        f"the books have every transaction of {deal_id} as final",
    )
    await check_all(desk, [deal_id], before)
    (key,) = (await answer(hsm_stack, "keys", "list", "--deal", deal_id))["keys"]
    assert (key["provider"], key["label"]) == ("pkcs11", "deal-1-0")
    assert key["retired_why"] == "the deal is COMPLETED"


_STEPS = (
    Step.FUND,
    Step.WRAP,
    Step.COLLATERALIZE,
    Step.BORROW,
    Step.SWAP,
    Step.REDEEM,
    Step.SETTLE,
    Step.SWEEP,
)
_SENT_BEFORE = {Step.WRAP: Step.FUND, Step.BORROW: Step.COLLATERALIZE, Step.SETTLE: Step.SWAP}


def _after(step: Step) -> Step:
    return _STEPS[_STEPS.index(step) + 1]


def _up_to(step: Step) -> tuple[Step, ...]:
    """The steps from the one after what has been sent to this one."""
    return _STEPS[_STEPS.index(_SENT_BEFORE[step]) + 1 : _STEPS.index(step) + 1]


async def test_two_deals_at_once_have_pairs_of_their_own_in_the_hsm(hsm_stack: Stack) -> None:
    desk = await Desk.open(hsm_stack)
    started = [await desk.start() for _ in range(2)]
    ended = await desk.ends(*(view.request.deal_id for view in started))
    assert {view.status for view in ended} == {DealStatus.COMPLETED}
    assert len({view.account for view in ended}) == 2
