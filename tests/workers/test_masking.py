"""Masking of what a process writes: logs of ours and of libraries, failures, tracebacks."""

from __future__ import annotations

import json

import pytest
from eth_account.hdaccount.mnemonic import Mnemonic
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from domain.masking import MASK
from tests.workers.processes import running
from workers.runtime.masking import mask_text, mask_value

SECRET = "hunter-22-hunter"
LOGGING = f"""
import logging, structlog
from pydantic import SecretStr
from domain.masking import remember_address
from workers.runtime.telemetry import set_up_logging
set_up_logging()
address = "postgresql://engine:{SECRET}@db/deal"
log = structlog.get_logger("ours")
log.info("connecting to " + address, settings={{"url": address, "in": [address, (1, address)]}})
given = "{SECRET}"
log.info("fields", password=given, private_key=given.encode(), token=SecretStr(given), count=7)
log.warning("an object", thing=ValueError(address))
remember_address(address)
logging.getLogger("theirs").warning("%s said %r", "driver", "{SECRET}")
try:
    raise RuntimeError(address)
except RuntimeError:
    log.exception("broken")
with structlog.contextvars.bound_contextvars(dsn=address):
    log.info("bound")
raise RuntimeError("the end: " + address)
"""
CORE = """
import asyncio, os
from workers.runtime.telemetry import set_up_logging, worker_runtime
from temporalio.client import Client
from temporalio.worker import Worker
from temporalio import activity
set_up_logging()

@activity.defn
async def nothing() -> None: ...

async def main():
    address, runtime = os.environ["ADDRESS"], worker_runtime()
    client = await Client.connect(address, namespace="not-there", runtime=runtime)
    worker = Worker(client, task_queue="q", activities=[nothing])
    try:
        await asyncio.wait_for(worker.run(), 5)
    except Exception as error:
        print(type(error).__name__)
    await asyncio.sleep(0.5)

asyncio.run(main())
os._exit(0)
"""


def test_a_process_writes_no_secret_whatever_it_logs_and_however_it_ends() -> None:
    with running(LOGGING) as process:
        _, written = process.communicate(timeout=30)
    assert process.returncode == 1
    assert SECRET not in written
    lines = [json.loads(line) for line in written.splitlines() if line.startswith("{")]
    assert [line["event"].partition(" postgresql")[0] for line in lines] == [
        "connecting to", "fields", "an object", f"driver said '{MASK}'", "broken", "bound",
    ]  # fmt: skip
    fields = lines[1]
    assert (fields["password"], fields["private_key"], fields["token"]) == (MASK, MASK, MASK)
    assert fields["count"] == 7
    assert "RuntimeError: postgresql://engine:***@db/deal" in lines[4]["exception"]
    assert "RuntimeError: the end: postgresql://engine:***@db/deal" in written.splitlines()[-1]


def test_what_the_sdks_core_says_is_in_the_same_log(temporal_address: str) -> None:
    with running(CORE, ADDRESS=temporal_address) as process:
        _, written = process.communicate(timeout=60)
    lines = [json.loads(line) for line in written.splitlines()]
    assert {line["logger"].partition("-")[0] for line in lines} <= {"temporalio.core", "temporalio"}


@given(st.sampled_from([12, 15, 18, 21, 24]), st.sampled_from([" ", ", ", "\n"]))
def test_a_mnemonic_is_masked_and_the_words_around_it_stay(count: int, between: str) -> None:
    mnemonic = Mnemonic().generate(count)
    text = f"I wrote down: {between.join(mnemonic.split())} .. and hid it"
    assert mask_text(text) == f"I wrote down: {MASK} .. and hid it"


@pytest.mark.parametrize(
    "prose",
    [
        "the chain takes back what was final and nothing more gets signed until someone looks",
        "wait until every transaction is final then start again with the same request body",
        "abandon ability able about above absent absorb abstract absurd abuse access",
    ],
)
def test_prose_and_eleven_words_of_the_list_stay(prose: str) -> None:
    assert mask_text(prose) == prose


def test_values_of_all_kinds_are_told_without_secrets() -> None:
    told = mask_value(
        {
            "seed": 7, "mnemonic": ["a"], "has_secret": True, "secret": None, "reseed": 4,
            "bytes": b"password=abc", "nested": ({"api_key": "x"},), "s": SecretStr("x"), 5: 6.5,
        }
    )  # fmt: skip
    assert told == {
        "seed": MASK, "mnemonic": MASK, "has_secret": True, "secret": None, "reseed": 4,
        "bytes": "b'password=***'", "nested": [{"api_key": MASK}], "s": MASK, 5: 6.5,
    }  # fmt: skip
