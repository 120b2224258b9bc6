"""Keeps the history of a story: ``python -m tests.replay.export NAME``.

A history that is kept stands for deals that run somewhere: it is never exported anew. A story told
by a newer workflow is added under a name of its own.
"""

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any, Final

from tests.replay.stories import STORIES
from tests.support.desk import Desk
from tests.support.stacks import running_stack

HISTORIES: Final = Path(__file__).with_name("histories")


async def _told(story: str) -> str:
    """The history of the story, told on a stack of its own, as JSON."""
    with running_stack(block_time=None, chains=(138,)) as stack:
        desk = await Desk.open(stack)
        deal_id = await STORIES[story](desk)
        history = await desk.handle(deal_id).fetch_history()
        await asyncio.sleep(0.25)  # the SDK's own threads have to be done with the last answer
        return json.dumps(_without_traces(json.loads(history.to_json())))


def _without_traces(told: Any) -> Any:
    """Leave out stack traces: no replay reads them, and they name this machine's folders."""
    if isinstance(told, dict):
        return {k: _without_traces(v) for k, v in told.items() if k != "stackTrace"}
    if isinstance(told, list):
        return [_without_traces(each) for each in told]
    return told


def main() -> None:
    """Tell the story on a stack of its own and write its history."""
    parser = argparse.ArgumentParser(prog="python -m tests.replay.export", description=__doc__)
    parser.add_argument("story", choices=sorted(STORIES))
    parser.add_argument("--name", help="the file's name without .json; the story's by default")
    options = parser.parse_args()
    file = HISTORIES / f"{options.name or options.story}.json"
    if file.exists():
        parser.error(f"{file.name} is kept already: choose another --name")
    file.write_text(asyncio.run(_told(options.story)) + "\n")


if __name__ == "__main__":
    main()
