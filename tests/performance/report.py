"""How far the bench is, on standard error, and what it found, as tables."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rich.status import Status

    from tests.performance.figures import Figure, Results, Spent
    from tests.performance.load_figures import LoadResults

_LABELS = {
    "wall_time_1s_blocks": "Wall time at 1-second blocks",
    "wall_time_1s_blocks_pipelined": "The same, pipelined",
    "wall_time_instant": "Wall time at instant mining",
    "wall_time_instant_script_tuned": "The same, script polling every 20 ms",
    "wall_time_instant_pipelined": "The same, pipelined",
    "deals_per_second_stepwise": "Deals a second, many at once",
    "deals_per_second_pipelined": "The same, pipelined",
    "transactions": "Transactions",
    "blocks": "Blocks used",
    "blocks_pipelined": "Blocks used, pipelined",
    "node_requests_instant": "Requests to the node, instant mining",
    "node_calls_instant": "JSON-RPC calls, instant mining",
    "node_requests_1s_blocks": "Requests to the node, 1-second blocks",
    "node_calls_1s_blocks": "JSON-RPC calls, 1-second blocks",
    "history_events": "Temporal history, events",
    "history_bytes": "Temporal history, size",
    "memory_of_workers": "Memory of the three workers",
}
_MEBIBYTE = 1024 * 1024
_KIBIBYTE = 1024


class Progress:
    """Says what is being done: one changing line on a terminal, lines elsewhere."""

    def __init__(self, status: Status | None) -> None:
        """Use this line, or write lines if there is none."""
        self._status = status
        self._began = time.monotonic()

    def say(self, what: str) -> None:
        """Tell what is done now or has just been done."""
        line = f"{time.monotonic() - self._began:5.0f} s  {what}"
        if self._status is None:
            sys.stderr.write(f"{line}\n")
        else:
            self._status.update(line)

    def components(self, what: str) -> Callable[[str, str], None]:
        """What a stack may tell its own progress to."""
        return lambda name, event: self.say(f"{what}: {name} {event}")


@contextmanager
def progress() -> Iterator[Progress]:
    """Show progress on standard error for as long as this lasts."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Progress(None)
        return
    with console.status("starting") as status:
        yield Progress(status)


def show(results: Results) -> None:
    """Print the tables."""
    console = Console() if sys.stdout.isatty() else Console(width=120)
    console.print(_figures(results))
    for spent in results.spent:
        console.print(_spent(spent, results.memory))
    settings = results.settings
    polls = settings["script_poll_latency_seconds"]
    same = "the same" if results.calls["deal"] == results.calls["script"] else "NOT the same"
    console.print(
        f"On-chain calls of deal and script are {same}. Medians of {settings['rounds_instant']} "
        f"rounds at instant mining and {settings['rounds_blocks']} at 1-second blocks, taken in "
        f"turns; the script polls every {polls['instant']:g} s and {polls['1s_blocks']:g} s. "
        f"{settings['processors']} processors, Python {settings['python']}."
    )


def show_load(results: LoadResults) -> None:
    """Print the table of the load."""
    console = Console() if sys.stdout.isatty() else Console(width=120)
    table = Table(title="\nThe engine under load and plain web3.py", box=None, pad_edge=False)
    for heading in ("", "engine", "plain", "ratio", "aim"):
        table.add_column(heading, justify="right" if heading in {"engine", "plain"} else "left")
    for figure in results.figures():
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        plain = "" if figure.script is None else _amount(figure.script, figure.unit)
        name = figure.name.removeprefix("load_").replace("_", " ")
        table.add_row(name, _amount(figure.deal, figure.unit), plain, ratio, _aim(figure))
    console.print(table)
    settings = results.settings
    busy = ", ".join(f"{load.engine.others_busy:.2f}" for load in results.loads)
    console.print(
        f"{settings['intents']} intents in batches of up to {settings['batch']}, blocks of one "
        f"second. Everything else on the machine kept {busy} processors busy meanwhile; load "
        f"average {settings['load_average']:.1f}. {settings['processors']} processors, Python "
        f"{settings['python']}."
    )


def show_halts(document: dict[str, Any]) -> None:
    """Print the table of the halts."""
    console = Console() if sys.stdout.isatty() else Console(width=120)
    table = Table(title="From a halt to the last that adds risk", box=None, pad_edge=False)
    for heading in ("", "halts", "p50", "p99", "max", "aim", "later", "exits meanwhile"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, row in document["halts"].items():
        seconds = (f"{row[f'{which}_seconds']:.2f} s" for which in ("p50", "p99", "max"))
        aim = f"{row['aim_seconds']:g} s " + ("[green]met[/]" if row["met"] else "[red]not met[/]")
        late, exits = str(len(row["later_than_the_aim"])), str(row["exits_while_halted"])
        table.add_row(name, str(row["halts"]), *seconds, aim, late, exits)
    console.print(table)
    settings, deals = document["settings"], document["deals"]
    ended = ", ".join(f"{count} {status}" for status, count in sorted(deals["ended"].items()))
    console.print(
        f"{settings['deals_at_once']} deals at once, blocks of one second; they ended {ended}, "
        f"{deals['under_way']} were under way at the end. Looked at the node's pool every "
        f"{settings['longest_gap_between_looks']:.2f} s at least. {settings['processors']} "
        f"processors, load average {settings['load_average']:.1f}."
    )
    for each in document["halts"]["all"]["later_than_the_aim"]:
        console.print(f"Later than the aim: {each}.")


def show_api(document: dict[str, Any]) -> None:
    """Print the table of the API."""
    settings = document["settings"]
    console = Console() if sys.stdout.isatty() else Console(width=120)
    table = Table(
        title=f"The API, {settings['at_once']} requests at once, {settings['deals']} deals",
        box=None,
        pad_edge=False,
    )
    for heading in ("", "requests", "refused", "p50", "p99", "a second", "its processor", "others"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, row in document["requests"].items():
        table.add_row(
            name,
            str(row["requests"]),
            str(row["refused"]),
            f"{row['p50_ms']:.0f} ms",
            f"{row['p99_ms']:.0f} ms",
            f"{row['per_second']:.0f}",
            f"{row['api_processor_ms']:.1f} ms each",
            f"{row['others_busy']:.2f} busy",
        )
    console.print(table)
    console.print(
        "One API process, and its processor time for each request; whoever asks runs on the same "
        f"{settings['processors']} processors. Load average {settings['load_average']:.1f}, "
        f"Python {settings['python']}."
    )


def _figures(results: Results) -> Table:
    table = Table(title="A deal and a straight script", box=None, pad_edge=False)
    table.add_column("")
    for heading in ("deal", "script", "ratio"):
        table.add_column(heading, justify="right")
    table.add_column("aim")
    for figure in results.figures:
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        script = "" if figure.script is None else _amount(figure.script, figure.unit)
        deal = _amount(figure.deal, figure.unit)
        table.add_row(_LABELS[figure.name], deal, script, ratio, _aim(figure))
    return table


def _aim(figure: Figure) -> str:
    if figure.met is None:
        return ""
    return f"{figure.aim} " + ("[green]met[/]" if figure.met else "[red]not met[/]")


def _spent(spent: Spent, held: Mapping[str, int]) -> Table:
    title = f"\n{spent.deals} {spent.mode.lower()} deals at once took {spent.seconds:.1f} s"
    table = Table(title=title, box=None, pad_edge=False)
    table.add_column("process")
    for heading in ("processor time", "a deal", "share", "memory"):
        table.add_column(heading, justify="right")
    for name, seconds in spent.by_process.items():
        memory = held.get(name)
        table.add_row(
            name,
            f"{seconds:.2f} s",
            f"{seconds / spent.deals * 1000:.0f} ms",
            f"{seconds / spent.total:.0%}",
            "" if memory is None else f"{memory / _MEBIBYTE:.0f} MiB",
        )
    busy = f"{spent.total / spent.seconds:.2f} processors busy"
    each = f"{spent.total / spent.deals * 1000:.0f} ms"
    table.add_row("together", f"{spent.total:.2f} s", each, busy, "")
    others = f"{spent.others / spent.seconds:.2f} processors busy"
    table.add_row("everything else", f"{spent.others:.2f} s", "", others, "")
    return table


def _amount(value: float, unit: str) -> str:
    if unit == "B":
        if value < _MEBIBYTE:
            return f"{value / _KIBIBYTE:.0f} KiB"
        return f"{value / _MEBIBYTE:.0f} MiB"
    if not unit:
        return f"{value:.0f}"
    return f"{value:.2f} {unit}"
