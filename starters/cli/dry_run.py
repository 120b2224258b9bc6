"""What `deal start --dry-run` prints."""

import typer
from rich.table import Table
from rich.text import Text

from domain.errors import error_from
from domain.outlooks import Outlook
from domain.policy_decision import usd
from starters.cli import tables
from starters.cli.output import Output, print_json, show
from starters.cli.predictions import prediction_facts, steps_table
from starters.control.dry_runs import DryRunReport


def print_dry_run(report: DryRunReport, output: Output) -> None:
    """Print what the deal would do; raises what it would be denied for, else leaves with 0."""
    if output is Output.JSON:
        print_json(report.model_dump(mode="json"))
    else:
        show(
            steps_table(report.prediction.steps),
            prediction_facts(report.prediction),
            outlook_facts(report.outlook),
            Text("a dry run: nothing was recorded, signed or sent", style="dim"),
        )
    if report.outlook.problem is not None:
        raise error_from(report.outlook.problem)
    raise typer.Exit(0)


def outlook_facts(outlook: Outlook) -> Table:
    """How a launch would be decided now, and who would have to approve it."""
    table = tables.facts()
    colour = "green" if outlook.allowed else "red"
    table.add_row("launch", Text("allowed" if outlook.allowed else "denied", style=colour))
    if outlook.policy_version is not None:
        table.add_row("policy", f"version {outlook.policy_version}")
    table.add_row("rule", outlook.rule or "none")
    table.add_row("value", usd(outlook.value_usd8))
    table.add_row("together", f"{usd(outlook.together_usd8)} with what else its bank moves")
    if outlook.allowed:
        group = f" of {outlook.approver_group}" if outlook.approver_group else ""
        table.add_row("approvals", f"{outlook.approvals_needed} needed{group}")
        table.add_row("owners", "have to sign" if outlook.owners_decide else "are not asked")
    return table
