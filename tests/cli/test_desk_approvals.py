"""`deal approvals`, `deal approve`, and `deal reject` for the desk: asked, said and refused."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from domain.approvals import Approval, GivenSignature, Proposal
from domain.deals import DealStatus
from domain.denials import Denial
from domain.desk_approvals import DeskApproval, Given, binding_digest, check_binding, not_awaited
from domain.errors import OutcomeUnknown, PolicyDenied
from domain.identifiers import BankId, ChainId, DealId
from domain.identity import Caller, PrincipalId, Role
from domain.safe import SafeTransaction
from domain.views import DealView
from starters.cli import desk_approvals
from starters.control.commands import CommandStore
from starters.control.database import ControlDatabase
from starters.control.desk import DealDesk
from starters.deals.database import single_connection
from starters.deals.failures import not_found
from starters.deals.reading import RecordsReader
from tests.activities.deals import samples
from tests.api.deals import record
from tests.cli.conftest import MIA, Deal
from tests.control.people import add_principal, caller
from tests.support.answers import Answer
from tests.support.postgres import Database
from workflows.deal.messages import ApprovalMessage

BINDING = binding_digest("a" * 64, 4, "b" * 64)
WHY = ("--reason", "looked at it", "--yes")
JOE = Given(approver=PrincipalId("joe"), at=samples.BEGAN, why="small enough")


def desk_approval(**changes: Any) -> DeskApproval:
    """Two of a group have to approve; one has."""
    fields = {
        "needed": 2,
        "group": "seniors",
        "initiator": "trader",
        "value_usd8": 600_000_000_000_000,
        "request_digest": "a" * 64,
        "policy_version": 4,
        "prediction_digest": "b" * 64,
        "binding_digest": BINDING,
        "expires_at": datetime.now(UTC) + timedelta(hours=4),
        "given": (JOE,),
    }
    return DeskApproval.model_validate(fields | changes)


def owners_approval(deal_id: DealId) -> Approval:
    """One of two owners has signed."""
    transaction = SafeTransaction(
        chain_id=ChainId(138),
        safe=samples.TREASURY,
        to=samples.ACCOUNT,
        value=10**18,
        nonce=3,
    )
    proposal = Proposal(
        deal_id=deal_id,
        bank=BankId("bank-one"),
        request_digest="a" * 64,
        number=1,
        transaction=transaction,
        transaction_hash=transaction.hash(),
        threshold=2,
        owners=(samples.ACCOUNT, samples.TREASURY),
        value_usd8=120_000_000_000_000,
        together_usd8=120_000_000_000_000,
        since_block=9,
        expires_at=datetime.now(UTC) + timedelta(hours=4),
    )
    signed = GivenSignature(owner=samples.ACCOUNT, who="ann", at=samples.BEGAN)
    return Approval(proposal=proposal, signed=(signed,))


def recorded() -> list[DealView]:
    """A deal that waits for the desk, one that waits for owners, one that waits for nobody."""
    waiting = DealStatus.AWAITING_APPROVAL
    owners = DealId("owners-asked")
    later = {
        "created_at": samples.BEGAN + timedelta(minutes=1),
        "updated_at": samples.BEGAN + timedelta(minutes=1),
    }
    return [
        samples.view("desk-asked", status=waiting, desk_approval=desk_approval()),
        samples.view(owners, status=waiting, approval=owners_approval(owners), **later),
        samples.view("free", status=DealStatus.EXECUTING),
        samples.view(
            "elsewhere",
            request=samples.request("elsewhere", bank="bank-two"),
            status=waiting,
            desk_approval=desk_approval(),
        ),
    ]


@pytest.fixture(scope="module")
def records(database: Database) -> Database:
    async def record_all() -> None:
        for view in recorded():
            await record(database, view)

    asyncio.run(record_all())
    add_principal(database, MIA.who, *MIA.principal.roles)
    return database


@pytest.fixture(autouse=True)
def _named(deal: Deal, records: Database, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - clears the environment first
    """The databases are there; Temporal is not."""
    monkeypatch.setenv("DEAL_DATABASE_URL", records.role("deal_reader"))
    monkeypatch.setenv("DEAL_CONTROL_DATABASE_URL", records.role("deal_control"))
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")


class Workflows:
    """Stands in for Temporal: the deals as recorded, and what they were told."""

    def __init__(self) -> None:
        self.views = {view.request.deal_id: view for view in recorded()}
        self.told: list[tuple[ApprovalMessage, str, bool]] = []
        self.error: Exception | None = None

    async def view(self, deal_id: DealId) -> DealView:
        if deal_id not in self.views:
            raise not_found(deal_id)
        return self.views[deal_id]

    async def decide(
        self, deal_id: DealId, message: ApprovalMessage, command_id: str, *, reject: bool = False
    ) -> DeskApproval:
        asked = (await self.view(deal_id)).desk_approval
        if asked is None:
            raise not_awaited(self.views[deal_id].status)
        check_binding(asked, message.binding_digest)
        if self.error is not None:
            raise self.error
        self.told.append((message, command_id, reject))
        given = Given(approver=PrincipalId(message.who), at=samples.BEGAN, why=message.why)
        change = {"rejected": given} if reject else {"given": (*asked.given, given)}
        return asked.model_copy(update=change)


@pytest.fixture
def workflows(records: Database, monkeypatch: pytest.MonkeyPatch) -> Workflows:
    """Temporal answers: the commands talk to this stand-in by the real desk."""
    stand_in = Workflows()

    async def connect() -> Any:
        return stand_in

    reading = single_connection(records.role("deal_reader"))
    store = CommandStore(ControlDatabase.at(records.role("deal_control")), reading)
    desk = DealDesk(connect, RecordsReader(reading), store)
    monkeypatch.setattr(desk_approvals, "open_desk", lambda _: desk)
    return stand_in


def state_of(records: Database, command_id: str) -> tuple[Any, ...]:
    with psycopg.connect(records.owner) as connection:
        row = connection.execute(
            "SELECT kind, principal_id, why, state, problem ->> 'code' FROM control.commands"
            " WHERE command_id = %s",
            (command_id,),
        ).fetchone()
    assert row is not None
    return tuple(row)


# -- deal approvals -----------------------------------------------------------------------------


def test_while_temporal_is_away_the_records_answer_with_their_age(deal: Deal) -> None:
    document = deal("approvals", "desk-asked").document
    assert (document["source"], document["status"]) == ("records", "AWAITING_APPROVAL")
    assert document["as_of"] == samples.BEGAN.isoformat().replace("+00:00", "Z")
    age = (datetime.now(UTC) - samples.BEGAN).total_seconds()
    assert document["age_seconds"] == pytest.approx(age, abs=120)
    told = deal("approvals", "desk-asked", "-o", "table").out
    assert "from the records, last changed" in told


@pytest.mark.usefixtures("workflows")
def test_with_temporal_the_deal_itself_answers(deal: Deal) -> None:
    document = deal("approvals", "desk-asked").document
    assert document["source"] == "workflow"
    assert document["age_seconds"] == 0
    assert (document["desk"]["missing"], document["desk"]["binding_digest"]) == (1, BINDING)
    assert document["approval"] is None
    told = deal("approvals", "desk-asked", "-o", "table").out
    assert "from the records" not in told
    for text in ("6,000,000", "trader", "version 4", BINDING, "1 of 2 needed", "seniors", "joe"):
        assert text in told


@pytest.mark.usefixtures("workflows")
def test_what_owners_are_asked_for_is_shown(deal: Deal) -> None:
    document = deal("approvals", "owners-asked").document
    assert (document["needed"], document["missing"]) == (1, [samples.TREASURY])
    assert document["desk"] is None
    assert samples.TREASURY in deal("approvals", "owners-asked", "-o", "table").out


@pytest.mark.parametrize(
    ("name", "exit_code", "field"),
    [("free", 4, "approval"), ("nothing", 2, "deal_id"), ("Not An Id", 2, "deal_id")],
)
def test_what_nobody_is_asked_for_is_named(
    deal: Deal, name: str, exit_code: int, field: str
) -> None:
    answer = deal("approvals", name)
    assert (answer.code, answer.problem["field"]) == (exit_code, field)
    assert answer.problem["next_action"]


def test_without_an_id_all_that_waits_is_listed(deal: Deal) -> None:
    first = deal("approvals", "--limit", "1").document
    assert [each["deal_id"] for each in first["approvals"]] == ["owners-asked"]
    assert first["source"] == "records"
    assert first["age_seconds"] > 0
    rest = deal("approvals", "--cursor", first["next_cursor"]).document
    assert {each["deal_id"] for each in rest["approvals"]} == {"desk-asked", "elsewhere"}
    assert rest["next_cursor"] is None
    told = deal("approvals", "-o", "table").out
    for text in ("desk-asked", "owners-asked", "1 of 2", "6,000,000", "3 deals wait, as of"):
        assert text in told
    assert "go on with --cursor" in deal("approvals", "--limit", "1", "-o", "table").out


@pytest.mark.parametrize(
    ("options", "field"),
    [(("--limit", "0"), "limit"), (("--limit", "501"), "limit"), (("--cursor", "x"), "cursor")],
)
def test_a_list_that_cannot_be_is_refused(deal: Deal, options: tuple[str, ...], field: str) -> None:
    answer = deal("approvals", *options)
    assert (answer.code, answer.problem["field"]) == (2, field)


def test_another_banks_deals_are_not_there(deal: Deal, monkeypatch: pytest.MonkeyPatch) -> None:
    acting(monkeypatch, caller("otto", *Role, banks=("bank-two",)))
    listed = deal("approvals").document["approvals"]
    assert [each["deal_id"] for each in listed] == ["elsewhere"]
    for command in (("approvals",), ("approve", *WHY), ("reject", *WHY)):
        answer = deal(command[0], "desk-asked", *command[1:])
        assert (answer.code, answer.problem["code"]) == (2, "not_found"), command


def acting(monkeypatch: pytest.MonkeyPatch, who: Caller) -> None:
    """Have the next commands given by somebody else."""

    async def known() -> Caller:
        return who

    monkeypatch.setattr("starters.cli.session.known_caller", known)


# -- deal approve and deal reject ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["approve", "reject"])
def test_it_is_said_of_exactly_what_the_deal_waits_for(
    deal: Deal, workflows: Workflows, records: Database, name: str
) -> None:
    answer = deal(name, "desk-asked", *WHY, "--command-id", f"json-{name}")
    assert answer.code == 0, answer.err
    ((message, command_id, rejects),) = workflows.told
    assert (message.who, message.why, message.via) == ("mia", "looked at it", "cli")
    assert (message.binding_digest, command_id) == (BINDING, f"json-{name}")
    assert rejects is (name == "reject")
    document = answer.document
    if rejects:
        assert document["rejected"]["approver"] == "mia"
        assert document["missing"] == 1
    else:
        assert [each["approver"] for each in document["given"]] == ["joe", "mia"]
        assert document["missing"] == 0
    told = (f"deal.{name}", "mia", "looked at it", "APPLIED", None)
    assert state_of(records, f"json-{name}") == told
    assert deal(name, "desk-asked", *WHY, "--command-id", f"json-{name}").document == document
    assert len(workflows.told) == 1  # the same command is given once
    words = deal(name, "desk-asked", *WHY, "-o", "table").out
    assert "mia" in words
    assert ("rejected" if rejects else "2 of 2 needed") in words


@pytest.mark.parametrize("name", ["approve", "reject"])
def test_of_anything_else_it_does_not_count(
    deal: Deal, workflows: Workflows, records: Database, name: str
) -> None:
    other = ("--binding", "0" * 64, "--command-id", f"other-{name}")
    answer = deal(name, "desk-asked", *WHY, *other)
    assert (answer.code, answer.problem["code"]) == (5, Denial.APPROVAL_OTHER)
    assert (answer.problem["actual"], answer.problem["limit"]) == ("0" * 64, BINDING)
    assert workflows.told == []
    assert state_of(records, f"other-{name}")[3:] == ("REFUSED", Denial.APPROVAL_OTHER)
    given = deal(name, "desk-asked", *WHY, "--binding", BINDING)
    assert given.code == 0


@pytest.mark.parametrize("name", ["approve", "reject"])
@pytest.mark.parametrize(
    ("options", "field"),
    [
        (("--reason", "x"), "yes"),
        (("--reason", " ", "--yes"), "reason"),
        (("--reason", "x" * 501, "--yes"), "reason"),
    ],
)
def test_what_is_wrong_is_named_before_anything_is_said(
    deal: Deal, workflows: Workflows, name: str, options: tuple[str, ...], field: str
) -> None:
    answer = deal(name, "desk-asked", *options)
    assert (answer.code, answer.problem["field"]) == (2, field)
    assert deal(name, "desk-asked", "--yes").code == 2  # without a reason
    assert workflows.told == []


@pytest.mark.parametrize("name", ["approve", "reject"])
def test_what_waits_for_nobody_of_the_desk_is_not_decided(
    deal: Deal, workflows: Workflows, name: str
) -> None:
    for deal_id in ("free", "owners-asked"):
        answer = deal(name, deal_id, *WHY)
        assert (answer.code, answer.problem["code"]) == (5, Denial.APPROVAL_NOT_AWAITED)
    never = deal(name, "nothing", *WHY)
    assert (never.code, never.problem["value"]) == (2, "nothing")
    assert workflows.told == []


@pytest.mark.parametrize(("typed", "told"), [("y", 1), ("n", 0), ("", 0)])
def test_a_person_sees_what_he_is_asked_about(
    deal: Deal,
    workflows: Workflows,
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    told: int,
) -> None:
    monkeypatch.setattr(desk_approvals, "require_terminal", lambda *_: None)
    answer: Answer = deal("approve", "desk-asked", "--reason", "x", stdin=f"{typed}\n")
    assert BINDING in answer.err
    assert "6,000,000" in answer.err
    assert (len(workflows.told), answer.code) == (told, 0 if told else 1)
    assert (BINDING in answer.out) is bool(told)


@pytest.mark.parametrize(
    ("error", "exit_code", "state"),
    [
        (PolicyDenied.because(Denial.APPROVAL_OWN_DEAL, field="approval"), 5, "REFUSED"),
        (OutcomeUnknown("no answer", next_action="give it again"), 7, "RECORDED"),
    ],
)
def test_what_comes_of_it_is_told_by_the_exit_code(  # noqa: PLR0913, PLR0917 - fixtures and cases
    deal: Deal,
    workflows: Workflows,
    records: Database,
    error: Exception,
    exit_code: int,
    state: str,
) -> None:
    workflows.error = error
    command_id = f"comes-{exit_code}"
    answer = deal("approve", "desk-asked", *WHY, "--command-id", command_id)
    assert answer.code == exit_code
    assert state_of(records, command_id)[3] == state


def test_while_temporal_is_away_it_is_refused_and_not_kept_for_later(
    deal: Deal, records: Database
) -> None:
    answer = deal("approve", "desk-asked", *WHY, "--command-id", "away-1")
    assert (answer.code, answer.problem["code"]) == (1, "unavailable")
    assert state_of(records, "away-1")[3:] == ("REFUSED", "unavailable")
