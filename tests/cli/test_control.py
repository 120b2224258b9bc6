"""`deal pause`, `resume` and `cancel`: nothing is changed without a yes, a name and a reason."""

import pytest

from domain.deals import Command, DealStatus, check_command
from domain.errors import NotFound
from domain.identifiers import DealId
from domain.identity import Via
from domain.views import DealView
from starters.cli import control
from starters.deals.failures import not_found
from tests.activities.deals import samples
from tests.cli.conftest import Deal, StandInDesk
from workflows.deal.messages import CommandMessage, UnwindMessage

COMMANDS = [str(command) for command in Command]


class OneDeal:
    """Stands in for Temporal: one deal that is executing, and what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[Command, CommandMessage, str]] = []

    async def view(self, deal_id: DealId) -> DealView:
        if deal_id != "alpha":
            raise not_found(deal_id)
        return samples.view(status=DealStatus.EXECUTING, doing="swapping")

    async def command(
        self, deal_id: DealId, command: Command, message: CommandMessage, command_id: str
    ) -> DealView:
        view = await self.view(deal_id)
        check_command(command, view.status)
        self.told.append((command, message, command_id))
        return samples.later(view, doing=f"{command} was taken")


@pytest.fixture
def one_deal(deal: Deal, monkeypatch: pytest.MonkeyPatch) -> OneDeal:  # noqa: ARG001 - clears the environment first
    """The commands talk to this deal."""
    stand_in = OneDeal()

    monkeypatch.setattr(control, "open_desk", lambda _: StandInDesk(stand_in))
    monkeypatch.setenv("DEAL_DATABASE_URL", "postgresql://127.0.0.1:1/none")
    return stand_in


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_terminal_a_change_needs_yes(deal: Deal, one_deal: OneDeal, command: str) -> None:
    answer = deal(command, "alpha", "--reason", "x")
    assert (answer.code, answer.problem["field"]) == (2, "yes")
    assert answer.problem["next_action"] == "add --yes"
    assert one_deal.told == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reason_is_needed(deal: Deal, one_deal: OneDeal, command: str) -> None:
    answer = deal(command, "alpha", "--yes")
    assert answer.code == 2
    assert "--reason" in answer.err
    assert one_deal.told == []


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (["--reason", ""], "reason"),
        (["--reason", "   "], "reason"),
        (["--reason", "x" * 501], "reason"),
    ],
)
def test_why_has_a_form(deal: Deal, one_deal: OneDeal, options: list[str], field: str) -> None:
    answer = deal("cancel", "alpha", "--yes", *options)
    assert (answer.code, answer.problem["field"]) == (2, field)
    assert "character" in answer.problem["limit"]
    assert one_deal.told == []


def test_a_command_carries_who_why_and_its_id(deal: Deal, one_deal: OneDeal) -> None:
    answer = deal("pause", "alpha", "--reason", "news", "--command-id", "p-1", "--yes")
    assert answer.code == 0
    assert answer.document["doing"] == "pause was taken"
    assert one_deal.told == [
        (Command.PAUSE, CommandMessage(who="mia", why="news", via=Via.CLI), "p-1")
    ]


def test_each_command_is_a_new_one_unless_it_is_named(deal: Deal, one_deal: OneDeal) -> None:
    for _ in range(2):
        deal("pause", "alpha", "--reason", "x", "-y", "-o", "table")
    (_, _, first), (_, _, second) = one_deal.told
    assert first != second


@pytest.mark.parametrize(("typed", "told"), [("y", 1), ("n", 0), ("", 0)])
def test_a_person_is_asked(
    deal: Deal,
    one_deal: OneDeal,
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    told: int,
) -> None:
    monkeypatch.setattr(control, "require_terminal", lambda *_: None)
    answer = deal("cancel", "alpha", "--reason", "x", stdin=f"{typed}\n")
    assert "alpha of bank-one on chain 138 is EXECUTING: swapping" in answer.err
    assert len(one_deal.told) == told
    assert answer.code == (0 if told else 1)
    assert ("nothing was changed" in answer.err) == (not told)


@pytest.mark.usefixtures("one_deal")
def test_a_command_the_state_does_not_allow_exits_4(deal: Deal) -> None:
    answer = deal("resume", "alpha", "--reason", "x", "--yes")
    assert (answer.code, answer.problem["code"]) == (4, "not_allowed")
    assert answer.problem["actual"] == "EXECUTING"
    assert "pause, cancel" in answer.problem["next_action"]


@pytest.mark.usefixtures("one_deal")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_deal_that_is_not_there_is_named(deal: Deal, command: str) -> None:
    answer = deal(command, "beta", "--reason", "x", "--yes")
    assert (answer.code, answer.problem["value"]) == (NotFound.exit_code, "beta")


@pytest.mark.parametrize("command", [*COMMANDS, "show", "watch", "wait"])
def test_an_id_that_cannot_be_is_refused(deal: Deal, one_deal: OneDeal, command: str) -> None:
    options = ["--reason", "x", "--yes"] if command in COMMANDS else []
    answer = deal(command, "Not An Id", *options)
    assert (answer.code, answer.problem["field"]) == (2, "deal_id")
    assert one_deal.told == []


def test_a_part_to_unwind_is_a_ratio(deal: Deal, one_deal: OneDeal) -> None:
    for part in ("0.25", "1", None):
        options = [] if part is None else ["--part", part]
        assert deal("unwind", "alpha", "--reason", "x", "--yes", *options).code == 0
    parts = [
        message.part_bps if isinstance(message, UnwindMessage) else None
        for _, message, _ in one_deal.told
    ]
    assert parts == [2_500, None, None]


@pytest.mark.parametrize("part", ["0", "1.01", "-0.5", "0.00001", "half"])
def test_another_part_is_refused(deal: Deal, one_deal: OneDeal, part: str) -> None:
    answer = deal("unwind", "alpha", "--reason", "x", "--yes", "--part", part)
    assert (answer.code, answer.problem["field"]) == (2, "part")
    assert one_deal.told == []
