"""The command line as people run it: every command in a process of its own, on a real stack.

The processes are forked from one that has loaded everything before: loading is most of what a short
command takes, and tests give hundreds. `tests/cli/test_process.py` runs the program itself.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Final

import starters.cli
from starters.local.identities import key_file
from starters.local.stack import Stack
from starters.local.state import load_environment
from tests.support.answers import Answer
from tests.support.desk import WITHIN
from tests.support.stacks import not_of_ours

_PROCESSES: Final = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(
    [__name__, *(f"starters.cli.{module.name}" for module in iter_modules(starters.cli.__path__))]
)


async def deal(stack: Stack, *arguments: str, who: str | None = None) -> Answer:
    """Run ``deal`` to its end, as one of the stack's people if it says which."""
    return await asyncio.to_thread(run, stack, *arguments, who=who)


async def answer(stack: Stack, *arguments: str) -> Any:
    """What a command answers that must succeed."""
    ended = await deal(stack, *arguments, "-o", "json")
    assert ended.code == 0, ended.err
    return ended.document


def run(stack: Stack, *arguments: str, who: str | None = None) -> Answer:
    """As `deal`, for those who may wait."""
    with tempfile.TemporaryDirectory() as folder:
        printed = Path(folder, "out"), Path(folder, "err")
        process = _PROCESSES.Process(
            target=_command, args=(arguments, environment_of(stack, who), printed)
        )
        process.start()
        process.join(WITHIN)
        if process.exitcode is None:
            process.kill()
            process.join()
        assert process.exitcode is not None
        return Answer(process.exitcode, *(file.read_text(encoding="utf-8") for file in printed))


def environment_of(stack: Stack, who: str | None = None) -> dict[str, str]:
    """The environment of a command: of ours only what names the stack, and who gives it."""
    environment = not_of_ours() | load_environment(stack.folder)
    environment |= {"COLUMNS": "200", "DEAL_LOCAL_DIR": str(stack.folder)}
    if who is not None:
        environment["DEAL_CREDENTIAL_FILE"] = str(key_file(who, stack.folder))
    return environment


def _command(
    arguments: tuple[str, ...], environment: Mapping[str, str], printed: tuple[Path, Path]
) -> None:
    """Be the command: in the process that was forked for it."""
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, file in zip((1, 2), printed, strict=True):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), descriptor)
    sys.argv = ["deal", *arguments]
    from starters.cli.main import main

    main()
