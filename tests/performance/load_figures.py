"""What is measured under load, as one document: every figure beside its aim."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Self

from tests.performance.figures import Aim, Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

BROADCAST: Final = Aim(0.3)
RATE: Final = Aim(300.0, at_most=False, of_ratio=False)
RATE_TO_PLAIN: Final = Aim(0.5, at_most=False)
REQUESTS: Final = Aim(3.0, of_ratio=False)
GROWTH: Final = Aim(1.1)
"""Of the workers' memory over the long part, after its first tenths have filled the caches."""
_WARM_PARTS: Final = 2


@dataclass(frozen=True)
class Side:
    """What one load was like on one side; what a side does not have is left at zero.

    Seconds are from the first order; percentiles are the 50th and the 99th; processor seconds and
    resident bytes are by process.
    """

    seconds_known: float = 0.0
    """Until the sender knew of all."""
    seconds_included: float = 0.0
    in_flight: int = 0
    intents: int = 0
    once: int = 0
    """Intents that the Ledger counted exactly once."""
    waited: tuple[float, float] = (0.0, 0.0)
    """Seconds from accepted to broadcast."""
    since_order: tuple[float, float] = (0.0, 0.0)
    """Seconds from ordered to broadcast."""
    requests: float = 0.0
    calls: float = 0.0
    processor_seconds: dict[str, float] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    others_busy: float = 0.0
    """Processors that everything else took: well above 0, the figures are too bad."""

    def __or__(self, other: Self) -> Side:
        """Both together: what the other one has, and the rest of this."""
        empty, both = Side(), {}
        for each in fields(self):
            mine, theirs = getattr(self, each.name), getattr(other, each.name)
            both[each.name] = mine if theirs == getattr(empty, each.name) else theirs
        return Side(**both)

    @property
    def rate(self) -> float:
        """Included a second."""
        return self.intents / self.seconds_included

    def each(self, value: float) -> float:
        """The share of one intent."""
        return value / self.intents


@dataclass(frozen=True)
class Load:
    """The same load on both sides. `hurried` is one of which nobody waits for a single intent."""

    name: str
    engine: Side
    plain: Side
    hurried: bool = False

    def figures(self) -> Iterator[Figure]:
        """All that is compared, and what only the engine has."""
        at = f"load_{self.name}_"
        engine, plain = self.engine, self.plain
        soon, fast = (None, RATE) if self.hurried else (BROADCAST, None)
        yield Figure(f"{at}accepted_to_broadcast_p50", "s", engine.waited[0], aim=soon)
        yield Figure(f"{at}accepted_to_broadcast_p99", "s", engine.waited[1])
        yield Figure(
            f"{at}ordered_to_broadcast_p50", "s", engine.since_order[0], plain.since_order[0]
        )
        yield Figure(f"{at}included_per_second", "1/s", engine.rate, aim=fast)
        yield Figure(
            f"{at}included_per_second_to_plain", "1/s", engine.rate, plain.rate, RATE_TO_PLAIN
        )
        yield Figure(f"{at}all_known", "s", engine.seconds_known, plain.seconds_known)
        yield Figure(f"{at}in_flight", "", engine.in_flight, plain.in_flight)
        yield Figure(
            f"{at}node_requests_each",
            "each",
            engine.each(engine.requests),
            plain.each(plain.requests),
            REQUESTS,
        )
        yield Figure(
            f"{at}node_calls_each", "each", engine.each(engine.calls), plain.each(plain.calls)
        )
        yield Figure(
            f"{at}processor_time_each",
            "ms",
            1000 * engine.each(sum(engine.processor_seconds.values())),
            1000 * plain.each(sum(plain.processor_seconds.values())),
        )
        yield Figure(f"{at}memory", "B", sum(engine.memory.values()), sum(plain.memory.values()))
        yield Figure(
            f"{at}executed_once",
            "",
            engine.once,
            plain.once,
            Aim(engine.intents, at_most=False, of_ratio=False),
        )


@dataclass(frozen=True)
class LoadResults:
    """Everything one run found; `held` is the workers' memory after parts of the long run."""

    settings: dict[str, Any]
    loads: list[Load]
    held: list[int]

    def figures(self) -> Iterator[Figure]:
        """Everything that is measured."""
        for load in self.loads:
            yield from load.figures()
        if len(self.held) > _WARM_PARTS:
            yield Figure("load_long_memory", "B", self.held[-1], self.held[_WARM_PARTS - 1], GROWTH)

    def document(self) -> dict[str, Any]:
        """Everything for programs; figures by their names."""
        return {
            "settings": self.settings,
            "figures": {figure.name: figure.document() for figure in self.figures()},
            "processor_seconds": {load.name: load.engine.processor_seconds for load in self.loads},
            "processors_busy_with_others": {
                load.name: load.engine.others_busy for load in self.loads
            },
            "memory_bytes": {load.name: load.engine.memory for load in self.loads},
            "long_memory_bytes": self.held,
        }
