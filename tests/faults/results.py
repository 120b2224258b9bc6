"""What a run of faults found, by group: cases, the chain's verdict, and how long recovery took."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.faults.verdict import Verdict

AIM_P99_SECONDS = 5.0


@dataclass
class Group:
    """Cases that belong together: one row of the table."""

    name: str
    cases: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    recoveries: list[float] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return self.verdict.clean

    def document(self) -> dict[str, Any]:
        """The row for programs; seconds, None where nothing had to recover."""
        return {
            "group": self.name,
            "cases": self.cases,
            "executions": self.verdict.executions,
            "duplicates": self.verdict.duplicates,
            "lost": self.verdict.lost,
            "gaps": self.verdict.gaps,
            "recovery_seconds": spread(self.recoveries),
            "problems": self.verdict.notes,
        }


@dataclass
class Results:
    """A whole run."""

    seed: int
    groups: list[Group] = field(default_factory=list)
    by_boundary: dict[str, list[float]] = field(default_factory=dict)
    """Recoveries after SIGKILL by the activity that was interrupted."""
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong anywhere."""
        return all(group.clean for group in self.groups)

    def total(self) -> Group:
        """All groups as one."""
        whole = Group("all")
        for group in self.groups:
            whole.cases += group.cases
            whole.verdict += group.verdict
            whole.recoveries += group.recoveries
        return whole

    def document(self) -> dict[str, Any]:
        """Everything for programs."""
        return {
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "clean": self.clean,
            "total": self.total().document(),
            "groups": [group.document() for group in self.groups],
            "recovery_seconds_after_sigkill": {
                name: spread(found) for name, found in sorted(self.by_boundary.items())
            },
        }


def spread(seconds: Sequence[float]) -> dict[str, float] | None:
    """Median, 99th percentile (the smallest value that so many do not exceed) and maximum."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    p99 = ordered[-(-99 * len(ordered) // 100) - 1]
    values = {"median": median(ordered), "p99": p99, "max": ordered[-1]}
    return {name: round(value, 2) for name, value in values.items()}


def tell(results: Results, *, table: bool) -> None:
    """Print what was found: tables, or JSON."""
    if not table:
        sys.stdout.write(json.dumps(results.document(), indent=2) + "\n")
        return
    console = Console() if sys.stdout.isatty() else Console(width=140)
    console.print(_groups([*results.groups, results.total()]))
    if results.by_boundary:
        console.print(_boundaries(results))
    for note in results.total().verdict.notes:
        console.print(f"[red]wrong:[/] {note}", highlight=False)
    console.print(f"seed {results.seed}, {results.seconds:.0f} s")


def _groups(groups: Iterable[Group]) -> Table:
    table = Table(title="Faults, and what the chain says", box=None, pad_edge=False)
    table.add_column("")
    headings = ("cases", "executions", "duplicates", "lost", "gaps", "median", "p99", "max")
    for heading in headings:
        table.add_column(heading, justify="right")
    table.add_column("")
    for group in groups:
        verdict = group.verdict
        counts = (
            group.cases,
            verdict.executions,
            verdict.duplicates,
            verdict.lost,
            verdict.gaps,
        )
        said = "[green]ok[/]" if group.clean else "[red]WRONG[/]"
        table.add_row(group.name, *map(str, counts), *_seconds(group.recoveries), said)
    return table


def _boundaries(results: Results) -> Table:
    table = Table(title="\nRecovery after SIGKILL", box=None, pad_edge=False)
    table.add_column("interrupted")
    for heading in ("cases", "median", "p99", "max"):
        table.add_column(heading, justify="right")
    everything = [each for found in results.by_boundary.values() for each in found]
    for name, found in [*sorted(results.by_boundary.items()), ("any", everything)]:
        table.add_row(name, str(len(found)), *_seconds(found))
    return table


def _seconds(found: Sequence[float]) -> tuple[str, str, str]:
    values = spread(found)
    if values is None:
        return "", "", ""
    return f"{values['median']:.2f} s", f"{values['p99']:.2f} s", f"{values['max']:.2f} s"
