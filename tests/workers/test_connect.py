"""The one way to connect to Temporal."""

import os
import socket
import subprocess
import sys
from uuid import uuid4

import pytest
from temporalio import workflow
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from domain.errors import InvalidConfiguration, LimitExceeded, Unavailable
from domain.identifiers import DealId
from starters.deals.failures import domain_errors
from workers.runtime.codec import ENCODING
from workers.runtime.connect import connect
from workers.runtime.failures import application_error

pytestmark = pytest.mark.usefixtures("encrypted")
REFUSED = LimitExceeded(
    "the loan is too large", next_action="ask for less", field="ltv", value=1, limit="0.30"
)


@workflow.defn
class Refusing:
    """Fails with a problem, as a deal does."""

    @workflow.run
    async def run(self, _: str) -> None:
        raise application_error(REFUSED)


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No profile of the user's own."""
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", "/dev/null")
    for name in ("TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "TEMPORAL_PROFILE"):
        monkeypatch.delenv(name, raising=False)


async def test_it_connects_to_where_the_environment_says(
    temporal_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_address)
    client = await connect()
    assert client.service_client.config.target_host == temporal_address
    assert client.namespace == "default"
    assert await client.service_client.check_health()


async def test_temporal_keeps_no_word_of_a_failure_and_gives_the_same_problem_back(
    temporal_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_address)
    client = await connect()
    runner, queue = UnsandboxedWorkflowRunner(), uuid4().hex
    async with Worker(client, task_queue=queue, workflows=[Refusing], workflow_runner=runner):
        handle = await client.start_workflow(
            Refusing.run, "for bank-one", id=queue, task_queue=queue, static_summary="10 ETH"
        )
        with pytest.raises(LimitExceeded) as caught, domain_errors(DealId("x")):
            await handle.result()
    assert caught.value.problem == REFUSED.problem
    history = await handle.fetch_history()
    begun, failed = history.events[0], history.events[-1]
    (sent,) = begun.workflow_execution_started_event_attributes.input.payloads
    failure = failed.workflow_execution_failed_event_attributes.failure
    (details,) = failure.application_failure_info.details.payloads
    payloads = (sent, details, begun.user_metadata.summary, failure.encoded_attributes)
    assert {payload.metadata["encoding"] for payload in payloads} == {ENCODING}
    assert (failure.message, failure.stack_trace) == ("Encoded failure", "")
    kept = b"".join(event.SerializeToString() for event in history.events)
    assert not [word for word in (b"bank-one", b"loan", b"10 ETH", b"0.30") if word in kept]


async def test_without_keys_nobody_connects(
    temporal_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_address)
    monkeypatch.setenv("DEAL_CODEC_KEYS_FILE", "/nowhere/keys.json")
    with pytest.raises(InvalidConfiguration) as caught:
        await connect()
    assert caught.value.problem.field == "DEAL_CODEC_KEYS_FILE"


async def test_the_namespace_is_the_environments_too(
    temporal_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_address)
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "desk")
    assert (await connect()).namespace == "desk"


async def test_to_connect_to_nowhere_is_unavailable_and_says_where(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.setenv("TEMPORAL_ADDRESS", address)
    with pytest.raises(Unavailable) as caught:
        await connect()
    problem = caught.value.problem
    assert (problem.field, problem.value) == ("TEMPORAL_ADDRESS", address)
    assert problem.actual is not None
    assert "\n" not in problem.actual
    assert caught.value.retryable


@pytest.mark.parametrize("address", ["not an address", "localhost:99999", "host:port"])
async def test_an_address_that_is_none_is_refused_and_named(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", address)
    with pytest.raises(InvalidConfiguration) as caught:
        await connect()
    assert (caught.value.problem.field, caught.value.problem.value) == ("TEMPORAL_ADDRESS", address)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TEMPORAL_PROFILE", "nobodys"),
        ("TEMPORAL_TLS_SERVER_CA_CERT_PATH", "nowhere.pem"),
        ("TEMPORAL_CONFIG_FILE", "workers/runtime/connect.py"),
    ],
)
async def test_settings_that_cannot_be_read_are_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "localhost:1")
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidConfiguration) as caught:
        await connect()
    problem = caught.value.problem
    assert problem.field is not None
    assert variable[:12] in problem.field
    assert problem.actual


LOSING_TEMPORAL = """
import asyncio, os
from temporalio.service import RPCError
from workers.runtime.connect import connect, silent_runtime

connections = []

async def relay(reader, writer):
    host, port = os.environ["REAL"].split(":")
    far_reader, far_writer = await asyncio.open_connection(host, int(port))
    connections.extend((writer, far_writer))
    async def pump(source, target):
        while data := await source.read(65536):
            target.write(data)
    await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

async def main():
    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    os.environ["TEMPORAL_ADDRESS"] = "127.0.0.1:%d" % server.sockets[0].getsockname()[1]
    client = await connect(runtime=silent_runtime())
    server.close()
    for connection in connections:
        connection.transport.abort()
    try:
        await client.count_workflows()
    except RPCError:
        print("answer", flush=True)
    os._exit(0)

asyncio.run(main())
"""


def test_a_command_that_loses_temporal_prints_nothing_but_its_answer(
    temporal_address: str,
) -> None:
    ended = subprocess.run(
        (sys.executable, "-c", LOSING_TEMPORAL),
        env=os.environ | {"REAL": temporal_address, "TEMPORAL_CONFIG_FILE": "/dev/null"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stdout == "answer\n"
