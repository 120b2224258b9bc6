"""What a deal may ask for, how it may move on, and what a person may tell it."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from domain.amounts import Amount
from domain.deals import (
    ALLOWED_TRANSITIONS,
    CLOSED,
    COMMAND_STATES,
    SETTLED,
    Command,
    DealRequest,
    DealStatus,
    ExecutionMode,
    check_command,
    check_transition,
    commands_for,
    digest_of,
    ensure_same_request,
    invalid_input_from,
)
from domain.errors import Conflict, InvalidInput, NotAllowed
from domain.identifiers import Address, BankId, DealId, ModuleId

REQUEST: dict[str, Any] = {
    "deal_id": "alpha",
    "bank": "first-bank",
    "module": "usdtz",
    "chain_id": 138,
    "working_liquidity": "10",
}


def request(**changes: Any) -> DealRequest:
    return DealRequest.parse(**{**REQUEST, **changes})


def refusal(**fields: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        DealRequest.parse(**fields)
    return caught.value


# --- the request -----------------------------------------------------------------------------


def test_a_request_has_the_hard_ltv_limit_and_one_stepwise_cycle_unless_told_otherwise() -> None:
    asked = request()
    assert asked.working_liquidity == Amount(units=10 * 10**18, decimals=18)
    assert (asked.max_ltv, asked.max_ltv_bps) == (Decimal("0.30"), 3_000)
    assert (asked.max_slippage, asked.max_slippage_bps) == (Decimal("0.005"), 50)
    assert (asked.cycles, asked.mode) == (1, ExecutionMode.STEPWISE)
    kinds = (type(asked.deal_id), type(asked.bank), type(asked.module))
    assert kinds == (DealId, BankId, ModuleId)


BAD_INPUT = [
    ("deal_id", "Alpha", "1 to 63 of a-z"),
    ("deal_id", "", "1 to 63 of a-z"),
    ("deal_id", 7, "valid string"),
    ("bank", "bank!", "1 to 63 of a-z"),
    ("module", "-", "1 to 63 of a-z"),
    ("chain_id", 0, "greater than 0"),
    ("chain_id", -138, "greater than 0"),
    ("chain_id", 2**63, "less than 9223372036854775808"),
    ("chain_id", "138", "valid integer"),
    ("chain_id", 138.0, "valid integer"),
    ("chain_id", True, "valid integer"),
    ("working_liquidity", "0", "above 0 and at most 1,000,000 ETH"),
    ("working_liquidity", "1000000.000000000000000001", "above 0 and at most 1,000,000 ETH"),
    ("working_liquidity", "-1", "0 or more"),
    ("working_liquidity", "NaN", "a finite decimal number"),
    ("working_liquidity", "Infinity", "a finite decimal number"),
    ("working_liquidity", "ten", "a finite decimal number"),
    ("working_liquidity", "0.0000000000000000001", "18 decimal places"),
    ("working_liquidity", "1e999999", "2^256 - 1 smallest units"),
    ("working_liquidity", 1.5, 'text such as "1.25"'),
    ("working_liquidity", True, 'text such as "1.25"'),
    ("working_liquidity", ["1"], 'text such as "1.25"'),
    ("working_liquidity", {"units": "-1", "decimals": 18}, 'text such as "1.25"'),
    ("working_liquidity", {"units": 1.0, "decimals": 18}, 'text such as "1.25"'),
    ("working_liquidity", {"units": "1"}, 'text such as "1.25"'),
    ("max_ltv", "0.3001", "above 0 and at most 0.3"),
    ("max_ltv", "0.30000000000000000000000000000000000001", "above 0 and at most 0.3"),
    ("max_ltv", "0", "above 0 and at most 0.3"),
    ("max_ltv", "-0.1", "above 0 and at most 0.3"),
    ("max_ltv", "30", "above 0 and at most 0.3"),
    ("max_ltv", "NaN", "a finite decimal number"),
    ("max_ltv", "-Infinity", "a finite decimal number"),
    ("max_ltv", 0.3, 'text such as "1.25"'),
    ("max_ltv", True, 'text such as "1.25"'),
    ("max_ltv", "0.25001", "4 decimal places"),
    ("max_ltv", "0.29999999999999999999999999999999999999", "4 decimal places"),
    ("max_ltv", "1e-2000000", "4 decimal places"),
    ("max_slippage", "0.0501", "above 0 and at most 0.05"),
    ("max_slippage", "0", "above 0 and at most 0.05"),
    ("max_slippage", "-0.001", "above 0 and at most 0.05"),
    ("max_slippage", "NaN", "a finite decimal number"),
    ("max_slippage", "0.00505", "4 decimal places"),
    ("cycles", 0, "greater than or equal to 1"),
    ("cycles", 21, "less than or equal to 20"),
    ("cycles", -1, "greater than or equal to 1"),
    ("cycles", 1.0, "valid integer"),
    ("cycles", True, "valid integer"),
    ("cycles", "2", "valid integer"),
    ("mode", "fast", "'stepwise' or 'pipelined'"),
    ("leverage", 3, "Extra inputs are not permitted"),
    ("cls", 1, "Extra inputs are not permitted"),
]


@pytest.mark.parametrize(("field", "value", "limit"), BAD_INPUT)
def test_bad_input_is_refused_with_field_value_limit_and_next_action(
    field: str, value: Any, limit: str
) -> None:
    error = refusal(**{**REQUEST, field: value})
    problem = error.problem
    assert problem.field == field
    assert problem.value == str(value)
    assert problem.limit is not None
    assert limit in problem.limit
    assert problem.next_action
    assert (problem.code, error.exit_code) == ("invalid_input", 2)


@pytest.mark.parametrize("field", REQUEST)
def test_a_missing_field_is_named(field: str) -> None:
    problem = refusal(**{name: value for name, value in REQUEST.items() if name != field}).problem
    assert (problem.field, problem.message) == (field, f"{field} is missing")
    assert problem.value is None


def test_an_amount_in_other_decimals_is_not_taken_for_ether() -> None:
    problem = refusal(**{**REQUEST, "working_liquidity": {"units": "5", "decimals": 6}}).problem
    assert problem.limit == "above 0 and at most 1,000,000 ETH"


@pytest.mark.parametrize(
    "changes",
    [
        {"working_liquidity": "1000000"},
        {"working_liquidity": "0.000000000000000001"},
        {"working_liquidity": 3},
        {"working_liquidity": Decimal("0.5")},
        {"working_liquidity": Amount(units=1, decimals=18)},
        {"working_liquidity": {"units": "1", "decimals": 18}},
        {"max_ltv": "0.0001"},
        {"max_ltv": "0.300000"},
        {"max_slippage": "0.05"},
        {"cycles": 20},
        {"mode": "pipelined"},
        {"chain_id": 651940},
    ],
)
def test_what_is_just_within_the_limits_is_accepted_and_survives_json(
    changes: dict[str, Any],
) -> None:
    asked = request(**changes)
    assert DealRequest.model_validate_json(asked.model_dump_json()) == asked
    assert DealRequest.parse(**asked.model_dump()) == asked


def test_a_request_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        request().cycles = 2  # type: ignore[misc]


@given(bps=st.integers(1, 3_000), zeros=st.integers(0, 40))
def test_a_ratio_is_kept_in_whole_basis_points(bps: int, zeros: int) -> None:
    text = f"0.{bps:04d}" + "0" * zeros
    asked = request(max_ltv=text)
    assert asked.max_ltv_bps == bps
    assert asked.digest() == request(max_ltv=Decimal(bps) / 10_000).digest()


# --- the digest ------------------------------------------------------------------------------


def test_equal_requests_have_equal_digests_however_they_are_written() -> None:
    one = request(max_ltv="0.3", working_liquidity="1.50", max_slippage="0.01")
    other = request(max_ltv="0.30", working_liquidity="1.5", max_slippage=Decimal("0.0100"))
    assert one.digest() == other.digest()
    again = DealRequest.model_validate_json(one.model_dump_json())
    assert again.digest() == one.digest()


OTHERS: dict[str, Any] = {
    "deal_id": "beta",
    "bank": "second-bank",
    "module": "other",
    "chain_id": 651940,
    "working_liquidity": "10.000000000000000001",
    "max_ltv": "0.29",
    "max_slippage": "0.01",
    "cycles": 2,
    "mode": "pipelined",
    "max_fee_per_gas_wei": "30000000000",
}


@pytest.mark.parametrize("field", DealRequest.model_fields)
def test_a_digest_changes_with_every_field(field: str) -> None:
    assert request(**{field: OTHERS[field]}).digest() != request().digest()


def test_a_request_without_a_fee_cap_of_its_own_has_the_digest_of_before_there_was_one() -> None:
    asked = DealRequest.parse(
        deal_id="alpha", bank="acme", module="usdtz", chain_id=138, working_liquidity="1.5"
    )
    assert asked.max_fee_per_gas_wei is None
    assert asked.digest() == "ff429af3eac611215772fe1a53cf509ef4f9e4c8bf5484522274e3fbf1154acb"


@pytest.mark.parametrize("bad", [0, -1, 1.5, "many", "0"])
def test_a_fee_cap_is_a_whole_number_of_wei_above_zero(bad: Any) -> None:
    assert refusal(**REQUEST, max_fee_per_gas_wei=bad).problem.field == "max_fee_per_gas_wei"


def test_a_digest_does_not_depend_on_the_order_of_a_mapping() -> None:
    class Bag(BaseModel):
        held: dict[str, int]

    one, other = Bag(held={"a": 1, "b": 2}), Bag(held={"b": 2, "a": 1})
    assert digest_of(one) == digest_of(other)
    assert digest_of(one) != digest_of(Bag(held={"a": 2, "b": 1}))


def test_the_same_deal_id_with_the_same_body_is_no_conflict() -> None:
    ensure_same_request(request(max_ltv="0.3"), request(max_ltv="0.30"))


@pytest.mark.parametrize("field", [f for f in DealRequest.model_fields if f != "deal_id"])
def test_the_same_deal_id_with_another_body_is_a_conflict_that_names_the_field(field: str) -> None:
    first, again = request(), request(**{field: OTHERS[field]})
    with pytest.raises(Conflict) as caught:
        ensure_same_request(first, again)
    problem = caught.value.problem
    assert problem.field == field
    assert problem.value == str(getattr(again, field))
    assert problem.limit == str(getattr(first, field)).replace("None", "none")
    assert "alpha" in problem.message


def test_a_conflict_names_every_field_that_differs() -> None:
    with pytest.raises(Conflict, match="bank, cycles"):
        ensure_same_request(request(), request(bank="other", cycles=3))


# --- findings of a validation -----------------------------------------------------------------


class Manifest(BaseModel):
    contracts: dict[str, Address]


def test_a_finding_inside_a_nested_model_is_named_by_its_path() -> None:
    lower = "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"
    with pytest.raises(ValidationError) as caught:
        Manifest.model_validate({"contracts": {"weth": lower}})
    problem = invalid_input_from(caught.value).problem
    assert (problem.field, problem.value) == ("contracts.weth", lower)
    assert problem.limit == "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed if every digit is right"


def test_a_finding_about_the_whole_is_a_finding_about_the_request() -> None:
    with pytest.raises(ValidationError) as caught:
        DealRequest.model_validate("alpha")
    problem = invalid_input_from(caught.value).problem
    assert (problem.field, problem.value) == ("request", "alpha")


# --- states ----------------------------------------------------------------------------------

TABLE = {
    DealStatus.REQUESTED: {"DENIED", "AWAITING_APPROVAL", "EXECUTING", "UNWINDING"},
    DealStatus.AWAITING_APPROVAL: {"REJECTED", "EXPIRED", "EXECUTING", "UNWINDING"},
    DealStatus.EXECUTING: {"PAUSED", "FROZEN", "UNWINDING", "COMPLETED"},
    DealStatus.PAUSED: {"EXECUTING", "UNWINDING"},
    DealStatus.FROZEN: {"EXECUTING", "UNWINDING"},
    DealStatus.UNWINDING: {"PAUSED", "UNWOUND", "STUCK"},
    DealStatus.STUCK: {"UNWINDING", "UNWOUND"},
}
"""The states of the design, written once more: whoever changes the table has to mean it."""


@pytest.mark.parametrize("before", DealStatus)
@pytest.mark.parametrize("after", DealStatus)
def test_a_deal_moves_only_as_the_table_says(before: DealStatus, after: DealStatus) -> None:
    if after in TABLE.get(before, set()):
        check_transition(before, after)
        return
    with pytest.raises(NotAllowed) as caught:
        check_transition(before, after)
    problem = caught.value.problem
    assert (problem.field, problem.value, caught.value.exit_code) == ("status", after, 4)
    expected = ", ".join(sorted(TABLE.get(before, ()))) or f"{before} is final"
    assert problem.limit == expected


def test_every_status_is_in_the_table() -> None:
    assert set(ALLOWED_TRANSITIONS) == set(DealStatus)


def test_closed_is_exactly_the_states_without_exits() -> None:
    assert {status for status in DealStatus if status not in TABLE} == CLOSED
    assert CLOSED | {DealStatus.STUCK} == SETTLED


@given(st.lists(st.sampled_from(DealStatus), max_size=200))
def test_no_walk_leaves_the_table_or_a_closed_state(wishes: Iterable[DealStatus]) -> None:
    status = DealStatus.REQUESTED
    for wish in wishes:
        try:
            check_transition(status, wish)
        except NotAllowed:
            assert wish not in TABLE.get(status, set())
        else:
            assert status not in CLOSED
            status = wish


def reachable(start: DealStatus) -> set[DealStatus]:
    seen, pending = {start}, [start]
    while pending:
        for after in ALLOWED_TRANSITIONS[pending.pop()] - seen:
            seen.add(after)
            pending.append(after)
    return seen


def test_every_status_can_be_reached_from_the_request() -> None:
    assert reachable(DealStatus.REQUESTED) == set(DealStatus)


@pytest.mark.parametrize("status", DealStatus)
def test_from_every_status_a_closed_one_can_be_reached(status: DealStatus) -> None:
    assert reachable(status) & CLOSED


@pytest.mark.parametrize("status", [s for s in DealStatus if s not in CLOSED])
def test_no_open_deal_is_without_a_way_on(status: DealStatus) -> None:
    by_command = [command for command, states in COMMAND_STATES.items() if status in states]
    by_itself = ALLOWED_TRANSITIONS[status]
    assert by_command or by_itself
    # What waits for a person has a command of a person; the rest moves by itself.
    if status in {DealStatus.PAUSED, DealStatus.STUCK, DealStatus.FROZEN}:
        assert {Command.CANCEL, Command.UNWIND} <= set(by_command)


# --- commands --------------------------------------------------------------------------------

COMMANDS = {
    Command.PAUSE: {"REQUESTED", "EXECUTING", "FROZEN"},
    Command.RESUME: {"PAUSED"},
    Command.CANCEL: {
        "REQUESTED",
        "AWAITING_APPROVAL",
        "EXECUTING",
        "PAUSED",
        "FROZEN",
        "STUCK",
    },
    Command.RETRY: {"FROZEN", "STUCK"},
    Command.UNWIND: {"REQUESTED", "EXECUTING", "PAUSED", "FROZEN", "STUCK"},
    Command.EXPIRE: {"AWAITING_APPROVAL", "FROZEN"},
    Command.ADOPT: {"STUCK"},
}


@pytest.mark.parametrize("command", Command)
@pytest.mark.parametrize("status", DealStatus)
def test_a_command_is_taken_only_where_it_makes_progress(
    command: Command, status: DealStatus
) -> None:
    if status in COMMANDS[command]:
        check_command(command, status)
        return
    with pytest.raises(NotAllowed) as caught:
        check_command(command, status)
    problem = caught.value.problem
    assert (problem.field, problem.value, problem.actual) == ("command", command, status)
    assert problem.limit == ", ".join(sorted(COMMANDS[command]))
    possible = [c for c, states in COMMANDS.items() if status in states]
    if possible:
        assert problem.next_action == f"possible now: {', '.join(possible)}"
    elif status in CLOSED:
        assert problem.next_action == "possible now: nothing, the deal has ended"
    else:
        assert problem.next_action == "possible now: nothing but to wait"


def test_no_command_is_taken_by_a_deal_that_has_ended() -> None:
    for command, states in COMMAND_STATES.items():
        assert not states & CLOSED, command


def test_cancel_leads_to_unwinding_wherever_it_is_taken_once_something_may_be_moved() -> None:
    for status in COMMAND_STATES[Command.CANCEL] - {DealStatus.AWAITING_APPROVAL}:
        check_transition(status, DealStatus.UNWINDING)
    check_transition(DealStatus.AWAITING_APPROVAL, DealStatus.REJECTED)


def test_unwind_leads_to_unwinding_and_expire_to_where_it_ends_without_approval() -> None:
    for status in COMMAND_STATES[Command.UNWIND] | {DealStatus.FROZEN}:
        check_transition(status, DealStatus.UNWINDING)
    check_transition(DealStatus.AWAITING_APPROVAL, DealStatus.EXPIRED)


def test_a_stuck_deal_can_be_tried_again_or_be_ended_by_a_person() -> None:
    assert {Command.RETRY, Command.ADOPT} <= set(commands_for(DealStatus.STUCK))
    check_transition(DealStatus.STUCK, DealStatus.UNWINDING)
    check_transition(DealStatus.STUCK, DealStatus.UNWOUND)


def test_resume_leads_back_to_executing() -> None:
    for status in COMMAND_STATES[Command.RESUME]:
        check_transition(status, DealStatus.EXECUTING)
