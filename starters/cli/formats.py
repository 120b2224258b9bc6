"""Figures as people read them: exact, with their units."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

from domain.amounts import ETHER_DECIMALS, USD_DECIMALS, format_units
from domain.chains import find_chain
from domain.errors import DealError
from domain.identifiers import ModuleId
from domain.transactions import BatchKey
from domain.views import DealView
from workers.runtime.profiles import load_profiles
from workers.runtime.settings import Settings

_HUNDRED: Final = 100
GWEI_DECIMALS: Final = 9


class ParToken(NamedTuple):
    """What the deal borrows: its name and its decimals."""

    name: str
    decimals: int

    def amount(self, units: int) -> str:
        """Write an amount with the token's name."""
        return f"{format_units(units, self.decimals)} {self.name}"


def par_token(view: DealView) -> ParToken:
    """Return the deal's par token; without a sizing there is no amount of it to write."""
    decimals = view.sizing.par_decimals if view.sizing else 0
    return ParToken(_par_name(view.request.chain_id, view.request.module), decimals)


@lru_cache(maxsize=64)
def _par_name(chain_id: int, module: ModuleId) -> str:
    """The name in the chain's profile; a reader without the profiles sees a general word."""
    try:
        chain = find_chain(load_profiles(Settings.load().config_dir), chain_id)
        return chain.module(module).par_token.upper()
    except DealError:
        return "par token"


def ether(wei: int) -> str:
    """Wei as ETH, to the last digit."""
    return f"{format_units(wei, ETHER_DECIMALS)} ETH"


def gwei(wei: int) -> str:
    """Wei per gas in gwei, to the last digit."""
    return format_units(wei, GWEI_DECIMALS)


def signed(amount: str) -> str:
    """Mark a change that is not negative as a gain."""
    return amount if amount.startswith("-") else f"+{amount}"


def usd(usd8: int) -> str:
    """US dollars with all eight decimals, such as ``1,234.00000001 USD``."""
    sign = "-" if usd8 < 0 else ""
    whole, rest = divmod(abs(usd8), 10**USD_DECIMALS)
    return f"{sign}{whole:,}.{rest:0{USD_DECIMALS}d} USD"


def percent(basis_points: int) -> str:
    """Basis points as percent, such as ``29.87 %``."""
    whole, rest = divmod(basis_points, _HUNDRED)
    return f"{whole}.{rest:02} %"


def moment(when: datetime) -> str:
    """A time in UTC to the second."""
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def seconds(duration: timedelta) -> str:
    """A step's duration, such as ``2.15 s``."""
    return f"{duration.total_seconds():.2f} s"


def age(duration: timedelta) -> str:
    """How long ago, in the largest two units, such as ``3 min 20 s``."""
    total = max(0, int(duration.total_seconds()))
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    parts: list[str] = []
    for name, size in units:
        count, total = divmod(total, size)
        if count or (name == "s" and not parts):
            parts.append(f"{count} {name}")
    return " ".join(parts[:2])


def step_name(key: BatchKey) -> str:
    """A step's name, with its round and attempt where they are not the first."""
    name = key.step.replace("_", " ")
    if key.round > 1:
        name += f" {key.round}"
    if key.attempt > 1:
        name += f", attempt {key.attempt}"
    return name
