"""What is measured, as one document: every figure beside its aim."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.deals import ExecutionMode


@dataclass(frozen=True)
class Aim:
    """What is aimed at: at most, or at least, `value`.

    `of_ratio`: of the ratio, where there is something to compare with.
    """

    value: float
    at_most: bool = True
    of_ratio: bool = True

    def met_by(self, value: float) -> bool:
        """Whether a figure reaches it."""
        return value <= self.value if self.at_most else value >= self.value

    def __str__(self) -> str:
        """As people write it."""
        return f"{'at most' if self.at_most else 'at least'} {self.value:g}"


RATIO_INSTANT = Aim(1.5)
RATIO_BLOCKS = Aim(0.6)
RATIO_PIPELINED = Aim(0.2)
DEALS_PER_SECOND = Aim(2.0, at_most=False)


@dataclass(frozen=True)
class Figure:
    """One measured thing, of a deal and of the script where the script has it.

    The aim is for `ratio` where there is a script to compare with, unless it is an absolute one,
    and for `deal` otherwise. `samples` are the single measurements that `deal` and `script` are the
    medians of.
    """

    name: str
    unit: str
    deal: float
    script: float | None = None
    aim: Aim | None = None
    samples: dict[str, list[float]] | None = None

    @property
    def ratio(self) -> float | None:
        """The deal's over the script's."""
        return self.deal / self.script if self.script else None

    @property
    def met(self) -> bool | None:
        """Whether the aim is reached; None if nothing is aimed at."""
        if self.aim is None:
            return None
        ratio = self.ratio if self.aim.of_ratio else None
        return self.aim.met_by(self.deal if ratio is None else ratio)

    def document(self) -> dict[str, Any]:
        """The figure for programs."""
        return {
            "name": self.name,
            "unit": self.unit,
            "deal": self.deal,
            "script": self.script,
            "ratio": self.ratio,
            "aim": None if self.aim is None else str(self.aim),
            "met": self.met,
            "samples": self.samples,
        }


@dataclass(frozen=True)
class Spent:
    """Processor seconds by process while `deals` deals of a mode ran at once for `seconds`."""

    mode: ExecutionMode
    deals: int
    seconds: float
    by_process: dict[str, float]
    others: float
    """What everything else on the machine took meanwhile: above 0, the figures are too bad."""

    @property
    def total(self) -> float:
        """Processor seconds of everything together."""
        return sum(self.by_process.values())

    def document(self) -> dict[str, Any]:
        """The account for programs."""
        return {
            "deals": self.deals,
            "seconds": self.seconds,
            "by_process": self.by_process,
            "total": self.total,
            "processors_busy": self.total / self.seconds,
            "processors_busy_with_others": self.others / self.seconds,
        }


@dataclass(frozen=True)
class Results:
    """Everything one run of the bench found."""

    settings: dict[str, Any]
    figures: list[Figure]
    spent: list[Spent]
    memory: dict[str, int]
    """Resident bytes of each component after the deals that ran at once."""
    calls: dict[str, list[str]]
    """What the transactions of a deal and of the script call, in their order."""

    def document(self) -> dict[str, Any]:
        """Everything for programs; figures by their names."""
        return {
            "settings": self.settings,
            "figures": {figure.name: figure.document() for figure in self.figures},
            "processor_seconds": {each.mode.lower(): each.document() for each in self.spent},
            "memory_bytes": self.memory,
            "calls": self.calls,
        }


def compared(
    name: str, unit: str, deal: Sequence[float], script: Sequence[float], aim: Aim | None = None
) -> Figure:
    """The medians of interleaved measurements, side by side."""
    samples = {"deal": list(deal), "script": list(script)}
    return Figure(name, unit, median(deal), median(script), aim, samples)
