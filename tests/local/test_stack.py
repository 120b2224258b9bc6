"""The stack's promises: healthy when `up` returns, nothing lost by a restart, nothing left over."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from temporalio.client import Client

from starters.local import postgres
from starters.local.errors import ComponentFailedError, LocalStackError
from starters.local.ports import is_free
from starters.local.probes import answers, rpc
from starters.local.processes import identity, marked, wait_until
from starters.local.stack import Stack
from starters.local.state import load_environment, load_state, project_dir, save_state
from starters.local.workers import WorkerSpec
from tests.local.conftest import StackMaker

HOLDER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
WORKER = WorkerSpec("stand-in", "tests.local.stand_in", role="deal_engine", chains=True)


def pay(port: int) -> tuple[str, str]:
    """Send 1 wei to somebody; return the hashes of the transaction and of its block."""
    sender = rpc(port, "eth_accounts")[0]
    payment = {"from": sender, "to": HOLDER, "value": "0x1"}
    transaction: str = rpc(port, "eth_sendTransaction", payment)
    assert wait_until(lambda: receipt(port, transaction) is not None, timeout=10)
    return transaction, receipt(port, transaction)["blockHash"]


def receipt(port: int, transaction: str) -> Any:
    """Return the receipt; None where there is none."""
    return rpc(port, "eth_getTransactionReceipt", transaction)


async def start_workflow(address: str) -> None:
    """Leave a workflow that waits for a worker."""
    client = await Client.connect(address)
    await client.start_workflow("Waiting", id="kept", task_queue="nobody")


async def workflow_status(address: str) -> str:
    """Return the status of that workflow."""
    description = await (await Client.connect(address)).get_workflow_handle("kept").describe()
    assert description.status is not None
    return description.status.name


def test_a_restart_loses_nothing(make: StackMaker, folder: Path) -> None:
    stack = make()
    address = stack.up()["TEMPORAL_ADDRESS"]
    chain, cache = stack.port("chain-138"), redis.Redis(port=stack.port("redis"))
    with psycopg.connect(postgres.url(folder, postgres.OWNER)) as database:
        database.execute("CREATE TABLE kept AS SELECT 42 AS value")
    cache.set("kept", "42")
    transaction, block = pay(chain)
    asyncio.run(start_workflow(address))
    time_before = rpc(chain, "eth_getBlockByNumber", "latest", False)["timestamp"]  # noqa: FBT003

    stack.down()
    assert stack.up()["TEMPORAL_ADDRESS"] == address

    with psycopg.connect(postgres.url(folder, postgres.OWNER)) as database:
        assert database.execute("SELECT value FROM kept").fetchone() == (42,)
    assert cache.get("kept") == b"42"
    assert receipt(chain, transaction)["blockHash"] == block
    assert rpc(chain, "eth_getBlockByHash", block, False)["hash"] == block  # noqa: FBT003
    assert rpc(chain, "eth_getBlockByNumber", "latest", False)["timestamp"] >= time_before  # noqa: FBT003
    assert asyncio.run(workflow_status(address)) == "RUNNING"


def test_down_leaves_no_process_and_no_port(make: StackMaker, folder: Path) -> None:
    stack = make(chains=(138, 651940))
    stack.up()
    ports = load_state(folder).ports.values()
    pids = [component.pid for component in stack.status()]
    assert len(pids) == len(stack.status()) == 7
    assert not any(is_free(port) for port in ports)

    stack.down()

    assert marked(folder) == []
    # One that has ended and that init has not collected yet is gone, too.
    assert not any(identity(pid) for pid in pids if pid)
    assert all(is_free(port) for port in ports)
    assert load_environment(folder) == {}
    stack.down()


def test_up_again_keeps_what_runs(make: StackMaker) -> None:
    make().up()
    before = {component.name: component.pid for component in make().status()}
    make().up()
    assert {component.name: component.pid for component in make().status()} == before


def test_two_ups_at_once_make_one_stack(make: StackMaker, folder: Path) -> None:
    with ThreadPoolExecutor() as pool:
        environments = list(pool.map(Stack.up, (make(), make())))
    assert environments[0] == environments[1]
    assert {process.pid for process in marked(folder)} == {c.pid for c in make().status()}


def test_another_block_time_restarts_only_the_chain(make: StackMaker) -> None:
    make().up()
    before = {component.name: component.pid for component in make().status()}
    instant = make(block_time=None)
    instant.up()
    after = {component.name: component.pid for component in make().status()}
    assert {name for name, pid in after.items() if pid != before[name]} == {"chain-138"}
    pay(instant.port("chain-138"))
    pay(instant.port("chain-138"))


def test_up_brings_back_what_was_killed_and_nothing_else(make: StackMaker) -> None:
    stack = make()
    stack.up()
    for name in ("temporal", "codec", "postgres", "redis", "chain-138", "keeper"):
        before = {component.name: component.pid for component in stack.status()}
        stack.kill(name)
        assert [c.name for c in stack.status() if not c.healthy] == [name]

        stack.up()

        after = {component.name: component for component in stack.status()}
        assert all(component.healthy for component in after.values())
        assert [one for one in after if after[one].pid != before[one]] == [name]


def test_a_killed_node_keeps_what_was_saved(make: StackMaker, folder: Path) -> None:
    stack = make()
    stack.up()
    port = stack.port("chain-138")
    transaction, block = pay(port)
    kept = folder / "chain-138" / "kept.json"
    assert wait_until(lambda: transaction in kept.read_text(), timeout=15)
    # What a node killed in the middle of writing leaves behind, newer than the whole copy.
    (folder / "chain-138" / "state.json").write_text('{"block": {"number"')

    stack.kill("chain-138")
    stack.up()

    assert receipt(port, transaction)["blockHash"] == block


def test_a_chain_without_any_whole_state_is_named(make: StackMaker, folder: Path) -> None:
    stack = make()
    stack.up()
    stack.down()
    for file in (folder / "chain-138").glob("*.json"):
        file.write_text("{")
    with pytest.raises(LocalStackError, match="cannot be gone on with"):
        stack.up()
    assert marked(folder) == []


def test_a_chain_of_other_contracts_is_refused(make: StackMaker, folder: Path) -> None:
    stack = make()
    stack.up()
    stack.down()
    (folder / "chain-138" / "origin").write_text("another manifest")
    with pytest.raises(LocalStackError, match="does not fit this version"):
        stack.up()


def test_a_hanging_server_is_started_anew(
    make: StackMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("starters.local.stack._HUNG_SECONDS", 0.5)
    monkeypatch.setattr("starters.local.probes._TIMEOUT_SECONDS", 0.5)
    stack = make()
    stack.up()
    record = load_state(stack.folder).processes["redis"]
    os.kill(record.pid, signal.SIGSTOP)
    shorter = load_state(stack.folder)
    shorter.processes["redis"] = type(record)(**vars(record) | {"grace": 0.5})
    save_state(stack.folder, shorter)

    stack.up()

    assert not record.alive()
    assert all(component.healthy for component in stack.status())


def test_taken_ports_are_avoided_and_the_choice_is_remembered(make: StackMaker) -> None:
    stack = make()
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        taken = other.getsockname()[1]
        state = load_state(stack.folder)
        state.ports = {"redis": taken, "chain-138": taken}
        save_state(stack.folder, state)
        stack.up()
        chosen = dict(load_state(stack.folder).ports)
    assert taken not in chosen.values()
    assert len(set(chosen.values())) == len(chosen)
    stack.down()
    stack.up()
    assert load_state(stack.folder).ports == chosen


def test_two_stacks_start_side_by_side(make: StackMaker, tmp_path: Path) -> None:
    # Below pytest's folder, whose path is longer: the second socket is somewhere else.
    deep = tmp_path / ("deep" * 25)
    first, second = make(), Stack(deep, 1, (138,), worker_specs=(), migrate=None)
    try:
        with ThreadPoolExecutor() as pool:
            environments = list(pool.map(Stack.up, (first, second)))
        assert environments[0]["TEMPORAL_ADDRESS"] != environments[1]["TEMPORAL_ADDRESS"]
        assert all(component.healthy for component in [*first.status(), *second.status()])
        with psycopg.connect(postgres.url(deep, postgres.OWNER)) as database:
            assert database.execute("SHOW fsync").fetchone() == ("on",)
    finally:
        second.down()
    assert marked(deep) == []


def test_a_recycled_pid_is_not_killed(make: StackMaker, folder: Path) -> None:
    stack = make()
    stack.up()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as bystander:
        try:
            stack.kill("redis")
            state = load_state(folder)
            record = state.processes["redis"]
            # As if the system had given the number of the dead server to somebody else since.
            state.processes["redis"] = type(record)(**vars(record) | {"pid": bystander.pid})
            save_state(folder, state)
            stack.kill("redis")
            stack.stop("redis")
            stack.down()
            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_servers_of_a_killed_start_are_found(make: StackMaker, folder: Path) -> None:
    stack = make()
    stack.up()
    (folder / "stack.json").unlink()  # as if the starter had died before it could write it
    assert len(marked(folder)) == 6
    stack.up()
    assert {process.pid for process in marked(folder)} == {c.pid for c in stack.status()}
    (folder / "stack.json").unlink()
    stack.down()
    assert marked(folder) == []


def test_a_worker_gets_its_own_environment_and_no_more(
    make: StackMaker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOMEBODYS_SECRET", "must not be passed on")
    keyless = WorkerSpec("keyless", WORKER.module, role="deal_signer")
    make(worker_specs=(WORKER, keyless)).up()
    chain, signer = (
        json.loads((folder / "workers" / f"{name}.ready").read_text())
        for name in ("stand-in", "keyless")
    )
    assert "SOMEBODYS_SECRET" not in chain
    assert chain["DEAL_DATABASE_URL"].startswith("postgresql://deal_engine@")
    assert chain["DEAL_CHAIN_138_ENDPOINTS"] == f"http://127.0.0.1:{make().port('chain-138')}"
    assert signer["DEAL_DATABASE_URL"].startswith("postgresql://deal_signer@")
    assert not [name for name in signer if "ENDPOINTS" in name or "REDIS" in name]
    assert "DEAL_KEYSTORE_FILE" not in signer
    assert chain["DEAL_METRICS_ADDRESS"] != signer["DEAL_METRICS_ADDRESS"]


def test_a_failing_worker_is_named_with_its_log_and_nothing_stays(
    make: StackMaker, folder: Path
) -> None:
    failing = WorkerSpec("failing", WORKER.module, ("fail",))
    with pytest.raises(ComponentFailedError) as caught:
        make(worker_specs=(WORKER, failing)).up()
    assert caught.value.name == "failing"
    assert "the stand-in was told to fail" in str(caught.value)
    assert marked(folder) == []
    assert make().status() == []


def test_a_failing_worker_does_not_take_down_what_ran_before(make: StackMaker) -> None:
    make().up()
    failing = WorkerSpec("failing", WORKER.module, ("fail",))
    with pytest.raises(ComponentFailedError):
        make(worker_specs=(failing,)).up()
    assert len(make().status()) == 6
    assert all(component.healthy for component in make().status())


def test_a_stubborn_worker_is_killed_after_its_grace(make: StackMaker, folder: Path) -> None:
    events: list[tuple[str, str]] = []
    stubborn = WorkerSpec("stubborn", WORKER.module, ("stubborn",))
    stack = make(worker_specs=(stubborn,), progress=lambda *event: events.append(event))
    stack.up()
    state = load_state(folder)
    record = state.processes["stubborn"]
    state.processes["stubborn"] = type(record)(**vars(record) | {"grace": 0.5})
    save_state(folder, state)
    stack.down()
    assert ("stubborn", "killed") in events
    assert events.index(("stubborn", "killed")) < events.index(("chain-138", "stopping"))
    assert not record.alive()


def test_restart_replaces_one_process(make: StackMaker) -> None:
    stack = make(worker_specs=(WORKER,))
    stack.up()
    before = {component.name: component.pid for component in stack.status()}
    stack.restart("stand-in")
    after = {component.name: component.pid for component in stack.status()}
    assert {name for name in after if after[name] != before[name]} == {"stand-in"}


@pytest.mark.parametrize("act", [Stack.start, Stack.stop, Stack.kill, Stack.restart, Stack.port])
def test_an_unknown_component_is_refused_with_the_known_ones(make: StackMaker, act: Any) -> None:
    with pytest.raises(LocalStackError, match="has no 'typo'"):
        act(make(), "typo")


STARTER = """
    import sys
    from pathlib import Path
    from starters.local.stack import Stack
    from starters.local.workers import WorkerSpec
    silent = WorkerSpec("silent", "tests.local.stand_in", ("hide",))
    def say(*event):
        print(*event, flush=True)
    Stack(Path(sys.argv[1]), worker_specs=(silent,), migrate=None, progress=say).up()
"""


def start_in_process(folder: Path) -> subprocess.Popen[str]:
    """Begin an `up` that waits for ever for its last component; return once it does."""
    starter = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(STARTER), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=project_dir(),
    )
    assert starter.stdout is not None
    assert any(line == "silent starting\n" for line in starter.stdout)
    assert wait_until(lambda: "silent" in load_state(folder).processes, timeout=10)
    return starter


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_up_leaves_nothing_half_started(
    make: StackMaker, folder: Path, number: signal.Signals
) -> None:
    with start_in_process(folder) as starter:
        running = len(marked(folder))
        starter.send_signal(number)
        starter.send_signal(number)  # an impatient user
        starter.communicate(timeout=60)
    assert running == 8
    assert starter.returncode != 0
    assert marked(folder) == []
    assert make().status() == []


def test_a_killed_up_can_be_gone_on_with(make: StackMaker, folder: Path) -> None:
    with start_in_process(folder) as starter:
        starter.kill()
    stack = make()
    stack.up()
    assert [c.name for c in stack.status() if not c.healthy] == ["silent"]
    stack.down()
    assert marked(folder) == []


def test_a_server_of_somebody_else_is_used(
    make: StackMaker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("TEMPORAL_ADDRESS", address)
        monkeypatch.setenv("TEMPORAL_NAMESPACE", "desk")
        monkeypatch.setenv("TEMPORAL_API_KEY", "for the workers only")
        monkeypatch.setenv("TEMPORAL_POSTGRES_PASSWORD", "for nobody")
        stack = make(worker_specs=(WORKER,))
        environment = stack.up()
        worker = (folder / "workers" / "stand-in.ready").read_text()
        assert "for the workers only" in worker
        assert "for nobody" not in worker
        assert "for the workers only" not in (folder / "stack.json").read_text()
        assert environment["TEMPORAL_ADDRESS"] == address
        assert environment["TEMPORAL_NAMESPACE"] == "desk"
        assert "DEAL_WEB_UI" not in environment
        assert [c.pid for c in stack.status() if c.name == "temporal"] == [None]
        assert all(component.healthy for component in stack.status())
    with pytest.raises(LocalStackError, match="nothing answers there"):
        stack.up()


def test_its_own_address_does_not_make_it_somebody_elses(
    make: StackMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = make()
    monkeypatch.setenv("TEMPORAL_ADDRESS", stack.up()["TEMPORAL_ADDRESS"])
    stack.kill("temporal")
    stack.up()
    assert answers(f"tcp://{os.environ['TEMPORAL_ADDRESS']}")


def test_files_with_secrets_are_for_the_owner_only(make: StackMaker, folder: Path) -> None:
    make().up()
    assert (folder / "stack.json").stat().st_mode & 0o077 == 0
    assert (folder / "postgres").stat().st_mode & 0o077 == 0
    assert (folder / "temporal" / "temporal.sqlite").stat().st_mode & 0o077 == 0


def test_a_warm_up_takes_seconds(make: StackMaker) -> None:
    stack = make(chains=(138, 651940))
    stack.up()
    stack.down()
    began = time.monotonic()
    stack.up()
    assert time.monotonic() - began < 15  # 1.2 s on two idle cores
