"""Keeps the history of a story: ``python -m tests.replay.export NAME``.

A history that is kept stands for deals that run somewhere: it is never exported anew. A story told
by a newer workflow is added under a name of its own.
"""

import argparse
import asyncio
import json
from base64 import b64encode
from pathlib import Path
from typing import Any, Final

from google.protobuf.json_format import MessageToDict, ParseDict
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.converter import PayloadCodec

from tests.replay.stories import OPERATIONS, STORIES
from tests.support.desk import Desk
from tests.support.stacks import running_stack
from tests.support.timelocks import Office, operations_stack
from workers.runtime.codec import ENCODING
from workflows.deal import workflow as deals
from workflows.operations import workflow as operations

HISTORIES: Final = Path(__file__).with_name("histories")
_ENCRYPTED: Final = b64encode(ENCODING).decode()


async def _told(story: str) -> str:
    """The history of the story, told on a stack of its own, as JSON."""
    if story in OPERATIONS:
        with operations_stack() as stack:
            office = await Office.open(stack)
            operation_id = await OPERATIONS[story](office)
            return await _kept(office.desk.client, operations.workflow_id(operation_id))
    with running_stack(block_time=None, chains=(138,)) as stack:
        desk = await Desk.open(stack)
        return await _kept(desk.client, deals.workflow_id(await STORIES[story](desk)))


async def _kept(client: Client, workflow_id: str) -> str:
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    await asyncio.sleep(0.25)  # the SDK's own threads have to be done with the last answer
    codec = client.data_converter.payload_codec
    assert codec is not None
    return json.dumps(await _readable(json.loads(history.to_json()), codec))


async def _readable(told: Any, codec: PayloadCodec) -> Any:
    """Decrypt payloads: the stack's key ends with it. Leave out stack traces.

    No replay reads those, and they name this machine's folders.
    """
    if isinstance(told, dict):
        if told.get("metadata", {}).get("encoding") == _ENCRYPTED:
            (payload,) = await codec.decode([ParseDict(told, Payload())])
            return MessageToDict(payload)
        return {k: await _readable(v, codec) for k, v in told.items() if k != "stackTrace"}
    if isinstance(told, list):
        return [await _readable(each, codec) for each in told]
    return told


def main() -> None:
    """Tell the story on a stack of its own and write its history."""
    parser = argparse.ArgumentParser(prog="python -m tests.replay.export", description=__doc__)
    parser.add_argument("story", choices=sorted({**STORIES, **OPERATIONS}))
    parser.add_argument("--name", help="the file's name without .json; the story's by default")
    options = parser.parse_args()
    file = HISTORIES / f"{options.name or options.story}.json"
    if file.exists():
        parser.error(f"{file.name} is kept already: choose another --name")
    file.write_text(asyncio.run(_told(options.story)) + "\n")


if __name__ == "__main__":
    main()
