"""Every error says what to do, and is the same on both sides of every boundary."""

import pytest
from pydantic import BaseModel, ValidationError, field_validator

from domain import errors
from domain.errors import DealError, InvalidInput, Problem, error_from, errors_by_code

EXIT_CODES = {
    "failed": 1,
    "conflict": 1,
    "outdated": 1,
    "policy_denied": 5,
    "redemption_frozen": 1,
    "no_prediction": 1,
    "simulation_failed": 1,
    "transaction_replaced": 1,
    "transaction_reverted": 1,
    "post_condition_failed": 1,
    "unavailable": 1,
    "invalid_input": 2,
    "invalid_configuration": 2,
    "not_found": 2,
    "not_allowed": 4,
    "unauthenticated": 4,
    "forbidden": 4,
    "limit_exceeded": 5,
    "halted": 5,
    "sizing_refused": 5,
    "signing_refused": 5,
    "approval_needed": 6,
    "outcome_unknown": 7,
    "timed_out": 124,
}
"""1 failed, 2 usage, 4 not allowed, 5 denied by policy, 6 needs approval, 7 outcome
unknown, 124 timed out."""

KINDS = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, DealError)
]


def test_each_code_belongs_to_one_class() -> None:
    codes = [kind.code for kind in KINDS]
    assert len(set(codes)) == len(codes)
    assert all("code" in vars(kind) for kind in KINDS)


def test_every_class_is_found_by_its_code() -> None:
    found = errors_by_code()
    assert {kind.code: found.get(kind.code) for kind in KINDS} == {k.code: k for k in KINDS}


def test_exit_codes_are_those_of_the_command_line() -> None:
    assert {kind.code: kind.exit_code for kind in KINDS} == EXIT_CODES


def test_only_what_may_be_answered_next_time_is_tried_again() -> None:
    assert {kind.code for kind in KINDS if kind.retryable} == {"unavailable", "outcome_unknown"}


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_survives_a_boundary_with_all_its_facts(kind: type[DealError]) -> None:
    error = kind(
        "it broke",
        next_action="mend it",
        field="f",
        value=1,
        limit=2,
        actual=3,
        headroom=-1,
    )
    problem = Problem.model_validate_json(error.problem.model_dump_json())
    again = error_from(problem)
    assert type(again) is kind
    assert str(again) == str(error) == "it broke"
    assert again.problem == error.problem
    assert error.problem == Problem(
        code=kind.code,
        message="it broke",
        next_action="mend it",
        field="f",
        value="1",
        limit="2",
        actual="3",
        headroom="-1",
    )


def test_facts_that_are_not_given_stay_unknown() -> None:
    assert DealError("it broke", next_action="mend it").problem == Problem(
        code="failed", message="it broke", next_action="mend it"
    )


def test_zero_and_false_are_facts() -> None:
    problem = DealError("it broke", next_action="mend it", value=0, limit=False).problem
    assert (problem.value, problem.limit) == ("0", "False")


def test_an_unknown_code_is_still_an_error_with_its_facts() -> None:
    problem = Problem(code="of_a_newer_version", message="m", next_action="n", field="f", value="v")
    error = error_from(problem)
    assert type(error) is DealError
    assert error.problem == problem
    assert (str(error), error.exit_code) == ("m", 1)


def test_an_error_that_is_made_from_other_arguments_is_told_as_a_plain_one() -> None:
    class Odd(DealError):
        code = "odd"

        def __init__(self, *, what: str) -> None:
            super().__init__(what, next_action="look")

    problem = Odd(what="it broke").problem
    assert problem.code == "odd"
    error = error_from(problem)
    assert type(error) is DealError
    assert error.problem == problem


def test_a_class_without_a_code_of_its_own_does_not_take_its_parents() -> None:
    class Narrower(InvalidInput):
        pass

    problem = Narrower("no", next_action="another").problem
    assert type(error_from(problem)) is InvalidInput


def test_refused_input_is_a_finding_of_a_models_validation() -> None:
    class Model(BaseModel):
        name: str

        @field_validator("name")
        @classmethod
        def _refuse(cls, value: str) -> str:
            raise InvalidInput("no", next_action="another", field="name", value=value)

    with pytest.raises(ValidationError) as caught:
        Model(name="x")
    assert isinstance(caught.value.errors()[0]["ctx"]["error"], InvalidInput)
