"""After whole deals no key is anywhere but in the keystore: not in a log, a history, a table or a
file, in no command and no environment, and in no memory dump, the signer's own included.

What is promised of the signer: what is derived or lent is overwritten when it has been used, and
what is kept (the seeds of the local provider, the passphrase) is in pages that dumps leave out. One
thing is not promised: Vault's last answers, the seed in Base64, in buffers of the HTTP library.
Each place is searched once more for what is planted there, so that the search cannot find nothing
because it does not look.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import redis

from domain.deals import DealStatus
from domain.identifiers import DealId
from starters.local.processes import run_as
from starters.local.stack import Stack
from starters.local.state import load_environment, load_state
from starters.local.workers import keystore_file, passphrase_file
from tests.activities.signing.test_vault_keys import seed_of
from tests.security import places
from tests.security.needles import Needles, accounts_of, secrets_of, secrets_of_keystore
from tests.support.desk import Desk
from tests.support.postgres import Database
from tests.support.stacks import running_stack
from tests.support.vault import PROJECT, VaultServer
from workflows.deal.workflow import workflow_id

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="reads processes as Linux shows them"),
    pytest.mark.timeout(600),
]
PLANTED = secrets.token_bytes(32)
PLANT = Needles({"planted": PLANTED})


@contextmanager
def command(stack: Stack, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A `deal` command that runs beside the deal."""
    process = subprocess.Popen(
        [sys.executable, "-m", "starters.cli.main", *arguments],
        env=os.environ | load_environment(stack.folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def everything_of(
    stack: Stack, desk: Desk, needles: Needles, folder: Path, *deals: DealId
) -> set[str]:
    """Each place and what was found there, the histories of these deals among them."""
    found: set[str] = set()
    kept = {keystore_file(stack.folder), passphrase_file(stack.folder)}
    for place, content in [
        *places.files(stack.folder, apart_from=kept),
        *places.tables(places.owner_url(stack.folder)),
        *await places.histories(desk.client, *map(workflow_id, deals)),
        ("Redis", places.cache(stack.port("redis"))),
    ]:
        found |= {f"{place}: {name}" for name in needles.found_in(content)}
    processes = load_state(stack.folder).processes
    for name, record in processes.items():
        for part, content in places.told_of(record.pid):
            found |= {f"{part} of {name}: {what}" for what in needles.found_in(content)}
    for name in ("deals", "chain", "signer", "codec"):
        with places.core_of(processes[name].pid, folder) as core:
            assert core.stat().st_size > 2**24, f"{name} was not dumped"
            found |= {f"core of {name}: {what}" for what in needles.found_in(core)}
    return found


async def full_run(
    stack: Stack, known: dict[str, bytes], folder: Path, *, allowed: str | None = None
) -> None:
    """A deal from its start to its end, with a command that follows it; then look everywhere.

    `allowed` is how what may be found begins.
    """
    desk, needles = await Desk.open(stack), Needles(known)
    with desk.node().held():
        deal_id = (await desk.start()).request.deal_id
        await desk.sent(deal_id, "fund")
        with command(stack, "watch", deal_id) as watching:
            assert watching.stdout is not None
            assert await asyncio.to_thread(watching.stdout.readline)
            with places.core_of(watching.pid, folder) as core:
                assert needles.found_in(core) == set()
    views = (await desk.end(deal_id), await desk.run(mode="pipelined"))
    for view in views:
        assert view.status is DealStatus.COMPLETED
        assert {view.account, view.treasury} < accounts_of(known)
    deals = [view.request.deal_id for view in views]
    found = await everything_of(stack, desk, needles, folder, *deals)
    assert {each for each in found if allowed is None or not each.startswith(allowed)} == set()


async def test_keys_of_the_keystore_are_nowhere_else(tmp_path: Path) -> None:
    with running_stack(block_time=None, chains=(138,)) as stack:
        await full_run(stack, secrets_of_keystore(stack.folder, deals=4), tmp_path)


async def test_keys_of_vault_are_nowhere_else(vault: VaultServer, tmp_path: Path) -> None:
    role = vault.role()
    with running_stack(block_time=None, chains=(138,), keys=role.environment) as stack:
        known = secrets_of(seed_of(vault, role), None, deals=4)
        # Vault's answer as text may stay in a buffer of the HTTP library until the next one.
        await full_run(stack, known, tmp_path, allowed="core of signer: seed, base64")


# -- that the search would find something --------------------------------------------------------

HOLDING = """
import os, sys
held = bytes(bytearray.fromhex(sys.stdin.readline().strip()))
print("holding", flush=True)
sys.stdin.readline()
"""


@contextmanager
def holding(*arguments: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has the planted key in its memory."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, *arguments],
        env={"PATH": os.environ["PATH"]} | variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(PLANTED.hex().encode() + b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"holding\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_planted_key_is_found_in_memory_in_a_command_and_in_an_environment(
    tmp_path: Path,
) -> None:
    with holding(PLANTED.hex(), KEY=b64encode(PLANTED).decode()) as process:
        told = dict(places.told_of(process.pid))
        with places.core_of(process.pid, tmp_path) as core:
            found = PLANT.found_in(core)
    assert "planted, hex" in PLANT.found_in(told["cmdline"])
    assert "planted, base64 0" in PLANT.found_in(told["environ"])
    assert "planted, raw" in found


@pytest.mark.parametrize("form", list(PLANT.forms))
def test_a_planted_key_is_found_in_a_file_in_every_form(tmp_path: Path, form: str) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "log").write_bytes(b"x" * 100_001 + PLANT.forms[form] + b"y")
    ((name, content),) = places.files(tmp_path, apart_from=())
    assert name == "deep/log"
    assert form in PLANT.found_in(content)
    assert list(places.files(tmp_path, apart_from=[tmp_path / "deep" / "log"])) == []


@pytest.mark.parametrize("before", [b"", b"a", b"ab"])
def test_a_planted_key_is_found_inside_other_base64(before: bytes) -> None:
    assert PLANT.found_in(b64encode(before + PLANTED + b"tail"))


def test_a_planted_key_is_found_in_a_table(database: Database) -> None:
    with psycopg.connect(database.owner) as connection:
        connection.execute("CREATE TABLE deals.planted AS SELECT %s::bytea AS key", (PLANTED,))
    found = {name for name, content in places.tables(database.owner) if PLANT.found_in(content)}
    assert found == {"deals.planted"}


async def test_a_planted_key_is_found_in_the_cache_and_in_histories(
    stack: Stack, desk: Desk
) -> None:
    with redis.Redis(port=stack.port("redis")) as connection:
        connection.set("planted", PLANTED)
        try:
            assert "planted, raw" in PLANT.found_in(places.cache(stack.port("redis")))
        finally:
            connection.delete("planted")
    name = f"planted-{uuid4().hex}"
    handle = await desk.client.start_workflow(name, PLANTED.hex(), id=name, task_queue=name)
    try:
        found = await places.histories(desk.client, name)
    finally:
        await handle.terminate()
    told = {place: PLANT.found_in(content) for place, content in found}
    assert told[f"history of {name}"] == set()  # it is encrypted there
    assert "planted, hex" in told[f"payloads of {name}"]


# -- the signer's own walls ----------------------------------------------------------------------

REFUSING = """
import os, sys
from workers.runtime.memory import refuse_dumps
os.setgid(65534)
os.setuid(65534)
refuse_dumps()
print("refusing", flush=True)
sys.stdin.readline()
"""


def test_the_signer_writes_no_core_and_nobody_but_root_reads_its_memory(stack: Stack) -> None:
    pid = load_state(stack.folder).processes["signer"].pid
    limits = Path(f"/proc/{pid}/limits").read_text()
    (cores,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
    assert cores.split()[4:6] == ["0", "0"]
    assert Path(f"/proc/{pid}/mem").stat().st_uid == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_another_process_of_the_same_user_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    process = subprocess.Popen(
        [sys.executable, "-c", REFUSING],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"refusing\n"
            tried = subprocess.run(
                [places.needed_gcore(), "-o", str(tmp_path / "core"), str(process.pid)],
                capture_output=True,
                text=True,
                check=False,
                **run_as("nobody"),
            )
        finally:
            process.kill()
    assert tried.returncode != 0
    assert "not permitted" in tried.stderr + tried.stdout
    assert list(tmp_path.iterdir()) == []
