"""A deal while it runs, as a table that changes in place."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from domain.deals import SETTLED, DealStatus, ExecutionMode, Step
from domain.views import DealView, StepView
from starters.cli import formats
from starters.cli.tables import status_text

_ENTRY: Final = (Step.FUND, Step.WRAP, Step.COLLATERALIZE, Step.BORROW)
_CYCLE: Final = (Step.SWAP, Step.REDEEM)
_EXIT: Final = (Step.SETTLE, Step.SWEEP)
_JOINED: Final = (Step.FUND, Step.RUN, Step.SWEEP)
"""A pipelined deal settles within its run."""
_LEAVING: Final = frozenset({DealStatus.UNWINDING, DealStatus.UNWOUND, DealStatus.STUCK})
_BAR_WIDTH: Final = 40


def steps_ahead(view: DealView) -> list[Step]:
    """Return the steps that are still to come, as far as the deal's plan tells.

    Nothing once it has ended; while it unwinds, only what an exit always ends with.
    """
    if view.status in SETTLED:
        return []
    done = Counter(step.outcome.key.step for step in view.steps if step.outcome.problem is None)
    return list(_without(_plan(view), done))


def _plan(view: DealView) -> tuple[Step, ...]:
    if view.status in _LEAVING:
        return _EXIT
    if view.request.mode is ExecutionMode.PIPELINED:
        ran = next((step for step in view.steps if step.outcome.key.step is Step.RUN), None)
        return _JOINED if ran is None or ran.outcome.problem is None else _EXIT
    cycles = view.sizing.cycles if view.sizing else view.request.cycles
    return (*_ENTRY, *_CYCLE * cycles, *_EXIT)


def _without(plan: tuple[Step, ...], done: Counter[Step]) -> Iterator[Step]:
    for step in plan:
        if done[step]:
            done[step] -= 1
        else:
            yield step


class LiveDeal:
    """Shows the newest view until it is left; the last one stays on the screen."""

    def __init__(self, console: Console) -> None:
        """Draw on this terminal."""
        self._view: DealView | None = None
        self._spinner = Spinner("dots")
        self._live = Live(self, console=console, refresh_per_second=8)

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._live.start(refresh=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Draw once more and stop."""
        self._live.stop()

    def show(self, view: DealView) -> None:
        """Draw this view from now on."""
        self._view = view
        self._live.refresh()

    def __rich__(self) -> Group:
        """Draw the view at this moment."""
        view = self._view
        if view is None:
            self._spinner.update(text=Text("asking where the deal stands"))
            return Group(self._spinner)
        ahead = steps_ahead(view)
        return Group(_header(view), _steps(view, ahead), self._progress(view, ahead))

    def _progress(self, view: DealView, ahead: list[Step]) -> Table:
        done = len(view.steps)
        bar = ProgressBar(total=max(1, done + len(ahead)), completed=done, width=_BAR_WIDTH)
        line = Table.grid(padding=(0, 1))
        line.add_row(bar, self._doing(view))
        return line

    def _doing(self, view: DealView) -> Text | Spinner:
        if view.status in SETTLED:
            return Text(view.doing)
        since = formats.age(datetime.now(UTC) - view.updated_at)
        self._spinner.update(text=Text(f"{view.doing} ({since})"))
        return self._spinner


def _header(view: DealView) -> Text:
    request = view.request
    place = f" for {request.bank} on chain {request.chain_id}: {request.working_liquidity} ETH  "
    return Text.assemble((request.deal_id, "bold"), place, status_text(view.status))


def _steps(view: DealView, ahead: list[Step]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("step", min_width=14)
    for name in ("transactions", "block", "gas", "LTV", "time"):
        table.add_column(name, justify="right")
    for step in view.steps:
        table.add_row(*_finished(step))
    for kind in ahead:
        table.add_row("", Text(kind.replace("_", " "), style="dim"))
    return table


def _finished(step: StepView) -> list[str | Text]:
    outcome = step.outcome
    mark = Text("✓", style="green") if outcome.problem is None else Text("✗", style="red")
    blocks = [mined.block_number for mined in outcome.inclusions]
    return [
        mark,
        formats.step_name(outcome.key),
        str(len(outcome.inclusions)),
        str(max(blocks, default="")),
        f"{outcome.gas_used:,}",
        formats.percent(outcome.position.ltv_bps),
        formats.seconds(step.finished_at - step.started_at),
    ]
