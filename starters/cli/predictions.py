"""Predictions as tables."""

from typing import Final

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from domain.amounts import format_units
from domain.predictions import Comparison, Difference, Prediction, StepFigures
from starters.cli import formats
from starters.cli.tables import facts

_NAMES: Final = {
    "gas": "gas",
    "gas_cost_wei": "gas cost",
    "max_slippage_bps": "largest slippage",
    "max_ltv_bps": "highest LTV",
    "max_exposure_bps": "highest exposure",
    "duration_seconds": "duration",
    "profit_usd8": "profit",
}


def steps_table(steps: tuple[StepFigures, ...]) -> Table:
    """Each step with its gas, the LTV after it and the slippage of its swap."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("step", no_wrap=True)
    for name in ("transactions", "gas", "gas cost (ETH)", "LTV after", "slippage"):
        table.add_column(name, justify="right", no_wrap=True)
    for step in steps:
        name = step.step.replace("_", " ")
        table.add_row(
            f"{name} {step.round}" if step.round > 1 else name,
            str(step.transactions),
            f"{step.gas:,}" + (" (estimate)" if step.estimated else ""),
            format_units(step.gas_cost_wei, 18),
            formats.percent(step.ltv_bps),
            "" if step.slippage_bps is None else _signed_percent(step.slippage_bps),
        )
    return table


def prediction_facts(prediction: Prediction) -> Table:
    """The totals, and what they are predicted from."""
    table = facts()
    for name, label in _NAMES.items():
        value = getattr(prediction, name)
        if value is not None:
            text = _written(name, value)
            table.add_row(label, Text(text, style="bold") if name == "profit_usd8" else text)
    table.add_row("gas price", f"{formats.gwei(prediction.gas_price_wei)} gwei")
    table.add_row("at block", f"{prediction.block_number} of chain {prediction.chain_id}")
    return table


def comparison_table(comparison: Comparison) -> Table:
    """Predicted against realised, figure by figure."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in ("predicted", "realised", "difference", "ratio"):
        table.add_column(name, justify="right", overflow="fold")
    for each in comparison.differences:
        table.add_row(*_row(each))
    return table


def _row(difference: Difference) -> tuple[str, ...]:
    name = difference.name
    return (
        _NAMES[name],
        _written(name, difference.predicted),
        _written(name, difference.realised),
        formats.signed(_written(name, difference.difference)),
        "" if difference.ratio is None else str(difference.ratio),
    )


def _written(name: str, value: int) -> str:
    if name == "gas_cost_wei":
        return formats.ether(value)
    if name == "profit_usd8":
        return formats.usd(value)
    if name == "duration_seconds":
        return f"{value} s"
    return f"{value:,}" if name == "gas" else _signed_percent(value)


def _signed_percent(basis_points: int) -> str:
    text = formats.percent(abs(basis_points))
    return f"-{text}" if basis_points < 0 else text
