"""What `deal start --dry-run` prints."""

from typing import Any

import typer
from rich.text import Text

from activities.dryrun.interface import DryRunResult
from domain.deals import DealRequest
from starters.cli.output import Output, print_json, show
from starters.cli.predictions import prediction_facts, steps_table


def print_dry_run(request: DealRequest, result: DryRunResult, output: Output) -> None:
    """Print what the deal would do; leaves with exit code 0."""
    if output is Output.JSON:
        print_json(dry_run_document(request, result))
    else:
        show(
            steps_table(result.prediction.steps),
            prediction_facts(result.prediction),
            Text("a dry run: nothing was recorded, signed or sent", style="dim"),
        )
    raise typer.Exit(0)


def dry_run_document(request: DealRequest, result: DryRunResult) -> dict[str, Any]:
    """The request, its sizes and what it would do, for programs."""
    return {
        "dry_run": True,
        "request": request.model_dump(mode="json"),
        "sizing": result.sizing.model_dump(mode="json"),
        "prediction": result.prediction.model_dump(mode="json"),
        "prediction_digest": result.prediction.digest(),
    }
