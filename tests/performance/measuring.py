"""What every benchmark's command does alike: tell how far it is, measure, print what was found."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import TYPE_CHECKING, Any, Final, TypeVar

from starters.local.errors import LocalStackError
from tests.performance import report
from tests.performance.deals import BenchError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Coroutine

T = TypeVar("T")
_INTERRUPTED: Final = 130


def add_output(parser: argparse.ArgumentParser) -> None:
    """Let people choose a table or JSON."""
    parser.add_argument(
        "-o", "--output", choices=("json", "table"), help="default: a table on a terminal"
    )


def measure_and_print(
    measure: Callable[[report.Progress], Coroutine[Any, Any, T]],
    *,
    output: str | None,
    table: Callable[[T], None],
    document: Callable[[T], dict[str, Any]],
) -> int:
    """Measure, and print what was found.

    Returns 0 if it could be measured, whether or not the aims are met, and 1 if it could not.
    """
    signal.signal(signal.SIGTERM, _terminated)
    try:
        with report.progress() as progress:
            found = asyncio.run(measure(progress))
    except (BenchError, LocalStackError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    if output == "table" or (output is None and sys.stdout.isatty()):
        table(found)
    else:
        sys.stdout.write(json.dumps(document(found), indent=2) + "\n")
    return 0


def _terminated(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt  # so that the stacks are brought down
