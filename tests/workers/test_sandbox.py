"""The sandbox of workflows: as strict as the SDK's, and asked for no context of payloads."""

from __future__ import annotations

from uuid import uuid4

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import WithSerializationContext
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from tests.support.codec import encrypting_converter
from tests.support.sandboxed import Gambling, Greeting
from workers.deals import WORKFLOW_RUNNER
from workers.runtime.connect import connect

pytestmark = pytest.mark.usefixtures("encrypted")


@pytest.fixture(autouse=True)
def _here(temporal_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_address)


async def test_what_is_not_deterministic_is_refused() -> None:
    client, queue = await connect(), uuid4().hex
    async with Worker(
        client, task_queue=queue, workflows=[Gambling], workflow_runner=WORKFLOW_RUNNER
    ):
        with pytest.raises(WorkflowFailureError) as caught:
            await client.execute_workflow(Gambling.run, "hello", id=uuid4().hex, task_queue=queue)
    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.type == "RestrictedWorkflowAccessError"


async def test_encrypted_payloads_go_in_and_out() -> None:
    client, queue = await connect(), uuid4().hex
    async with Worker(
        client, task_queue=queue, workflows=[Greeting], workflow_runner=WORKFLOW_RUNNER
    ):
        answer = await client.execute_workflow(
            Greeting.run, "hello", id=uuid4().hex, task_queue=queue
        )
    assert answer == "hello, hello"


def test_neither_the_converters_nor_the_codec_ask_for_a_context() -> None:
    """The runner answers for all of them that there is none."""
    converter = encrypting_converter()
    assert isinstance(converter.payload_converter_class(), PydanticPayloadConverter)
    parts = PydanticPayloadConverter().converters.values()
    for part in (*parts, converter.payload_codec, converter.failure_converter_class()):
        assert not isinstance(part, WithSerializationContext)
