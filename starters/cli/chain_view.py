"""A chain as it is shown: its profile, what its watcher saw, and whether that is stale."""

from dataclasses import dataclass
from typing import Any, Final, Self

from domain.chains import ChainProfile
from starters.deals.chains import ChainReport

STALE_BLOCKS: Final = 10
_BLOCK_SECONDS: Final = 12
"""Where no profile says how long a block takes."""


@dataclass(frozen=True)
class ChainView:
    """One chain. `max_fee_per_gas_wei` is the cap of its profile, None without one."""

    report: ChainReport
    name: str | None
    max_fee_per_gas_wei: int | None
    stale_after_seconds: int

    @classmethod
    def of(cls, chain_id: int, profile: ChainProfile | None, report: ChainReport | None) -> Self:
        """Put together what there is."""
        block_seconds = profile.block_time_seconds if profile else _BLOCK_SECONDS
        return cls(
            report=report or ChainReport(chain_id=chain_id),
            name=profile.name if profile else None,
            max_fee_per_gas_wei=profile.fees.max_fee_per_gas_wei if profile else None,
            stale_after_seconds=STALE_BLOCKS * block_seconds,
        )

    @property
    def stale(self) -> bool:
        """Whether nobody has looked for ten blocks, or ever."""
        age = self.report.age_seconds
        return age is None or age > self.stale_after_seconds

    @property
    def above_cap(self) -> bool:
        """Whether the base fee alone is more than the engine may bid."""
        observed, cap = self.report.observed, self.max_fee_per_gas_wei
        base = observed.base_fee_wei if observed else None
        return base is not None and cap is not None and base > cap

    def identity(self) -> tuple[object, ...]:
        """What makes two looks at a chain differ: everything but when each was."""
        timeless = {"age_seconds": None, "updated_at": None}
        return (self.report.model_copy(update=timeless), self.stale)

    def document(self) -> dict[str, Any]:
        """As JSON; fees are text, in wei."""
        cap = self.max_fee_per_gas_wei
        return {
            "chain_id": self.report.chain_id,
            "name": self.name,
            "stale": self.stale,
            "stale_after_seconds": self.stale_after_seconds,
            "max_fee_per_gas_wei": None if cap is None else str(cap),
            "above_cap": self.above_cap,
            **self.report.model_dump(mode="json", exclude={"chain_id"}),
        }
