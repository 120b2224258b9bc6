"""Stacks in folders of their own, ended whatever a test does."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from starters.local.processes import end_marked
from starters.local.stack import Stack

StackMaker = Callable[..., Stack]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder whose path is short enough for a socket, and leave nothing running in it."""
    path = Path(tempfile.mkdtemp(prefix="deal-local-"))
    yield path
    left = end_marked(path)
    shutil.rmtree(path)
    assert left == [], "the test left processes behind"


@pytest.fixture
def make(folder: Path) -> Iterator[StackMaker]:
    """Give what makes a stack of one chain without workers, unless told otherwise."""

    def maker(**choices: object) -> Stack:
        usual = {"chains": (138,), "worker_specs": (), "migrate": None}
        return Stack(folder, **(usual | choices))  # type: ignore[arg-type]

    yield maker
    maker().down()
