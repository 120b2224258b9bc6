"""Bad input to `deal start`: refused before anything is started, saying what to do."""

import json
from pathlib import Path
from typing import Any

import pytest

from domain.deals import DealStatus
from domain.errors import Problem, SizingRefused
from domain.views import DealView
from starters.cli import start as start_module
from starters.cli.start import parse_request
from tests.activities.deals import samples
from tests.cli.conftest import Deal

GOOD = {
    "--id": "alpha",
    "--bank": "bank-one",
    "--module": "usdtz",
    "--chain": "138",
    "--liquidity": "10",
}


def arguments(**changes: str | None) -> list[str]:
    """The arguments of a good start, with options changed or, where None, left out."""
    options = GOOD | {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
    return ["start", *(part for pair in options.items() if pair[1] is not None for part in pair)]


@pytest.fixture(autouse=True)
def _nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test if the command goes as far as Temporal."""

    async def connect() -> None:
        pytest.fail("it went on to Temporal")

    monkeypatch.setattr(start_module, "open_client", connect)


BAD_INPUT = [
    # changed option, field, value, part of the limit, part of what to do
    ("chain", "999", "chain_id", "138, 651940", "choose one of the chains"),
    ("chain", "138.5", "chain_id", "a whole number", "correct the field"),
    ("chain", "-138", "chain_id", "greater than 0", "correct the field"),
    ("chain", "main", "chain_id", "a whole number", "correct the field"),
    ("module", "usdc", "module", "usdtz", "choose one of the modules"),
    ("module", "USDTZ", "module", "a-z, 0-9", "choose another name"),
    ("mode", "quick", "mode", "'stepwise' or 'pipelined'", "correct the field"),
    ("id", "Alpha!", "deal_id", "a-z, 0-9", "choose another name"),
    ("id", "", "deal_id", "a-z, 0-9", "choose another name"),
    ("id", "x" * 64, "deal_id", "1 to 63", "choose another name"),
    ("bank", "bank one", "bank", "a-z, 0-9", "choose another name"),
    ("liquidity", "-1", "working_liquidity", "0 or more", "positive amount"),
    ("liquidity", "0", "working_liquidity", "above 0", "in ETH"),
    ("liquidity", "NaN", "working_liquidity", "finite", "write it like"),
    ("liquidity", "Infinity", "working_liquidity", "finite", "write it like"),
    ("liquidity", "ten", "working_liquidity", "finite", "write it like"),
    ("liquidity", "1000000.1", "working_liquidity", "1,000,000 ETH", "in ETH"),
    ("liquidity", "1.0000000000000000001", "working_liquidity", "18 decimal", "round"),
    ("max_ltv", "0.31", "max_ltv", "at most 0.3", "within the limit"),
    ("max_ltv", "0", "max_ltv", "above 0", "within the limit"),
    ("max_ltv", "-0.1", "max_ltv", "above 0", "within the limit"),
    ("max_ltv", "NaN", "max_ltv", "finite", "write it like"),
    ("max_ltv", "0.12345", "max_ltv", "4 decimal", "round it down"),
    ("max_slippage", "0.051", "max_slippage", "at most 0.05", "within the limit"),
    ("max_slippage", "0", "max_slippage", "above 0", "within the limit"),
    ("max_slippage", "1%", "max_slippage", "finite", "write it like"),
    ("cycles", "0", "cycles", "greater than or equal to 1", "correct the field"),
    ("cycles", "21", "cycles", "less than or equal to 20", "correct the field"),
    ("cycles", "1.5", "cycles", "a whole number", "correct the field"),
    ("max_fee_gwei", "0", "max_fee_per_gas_wei", "greater than 0", "correct the field"),
    ("max_fee_gwei", "-1", "max_fee_gwei", "0 or more", "positive amount"),
    ("max_fee_gwei", "cheap", "max_fee_gwei", "finite", "write it like"),
    ("max_fee_gwei", "1.0000000001", "max_fee_gwei", "9 decimal", "round"),
]


@pytest.mark.parametrize(("option", "value", "field", "limit", "next_action"), BAD_INPUT)
def test_bad_input_names_field_value_limit_and_what_to_do(  # noqa: PLR0913, PLR0917 - a table's columns
    deal: Deal, option: str, value: str, field: str, limit: str, next_action: str
) -> None:
    answer = deal(*arguments(**{option: value}))
    problem = answer.problem
    assert answer.code == 2
    assert answer.out == ""
    assert (problem["field"], problem["value"]) == (field, value)
    assert limit in problem["limit"]
    assert next_action in problem["next_action"]


def test_a_pipelined_deal_with_too_many_cycles_is_told_how_many_there_may_be(deal: Deal) -> None:
    answer = deal(*arguments(mode="pipelined", cycles="11"))
    assert (answer.code, answer.problem["field"], answer.problem["limit"]) == (2, "cycles", "10")


@pytest.mark.parametrize(("option", "value", "field", "limit", "next_action"), BAD_INPUT)
def test_people_read_the_same_in_words(  # noqa: PLR0913, PLR0917 - a table's columns
    deal: Deal, option: str, value: str, field: str, limit: str, next_action: str
) -> None:
    answer = deal(*arguments(**{option: value}), "-o", "table")
    assert answer.code == 2
    assert answer.err.startswith("error: ")
    for part in (field, value, limit, next_action):
        assert part in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("option", "field"),
    [
        ("id", "deal_id"),
        ("bank", "bank"),
        ("module", "module"),
        ("chain", "chain_id"),
        ("liquidity", "working_liquidity"),
    ],
)
def test_what_is_missing_is_named(deal: Deal, option: str, field: str) -> None:
    answer = deal(*arguments(**{option: None}))
    assert (answer.code, answer.problem["field"]) == (2, field)
    assert answer.problem["message"] == f"{field} is missing"


def test_a_request_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_text(samples.request(max_ltv="0.25").model_dump_json())
    assert parse_request({}, file) == samples.request(max_ltv="0.25")


def test_an_option_goes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_text(samples.request().model_dump_json())
    options = {"working_liquidity": "11", "chain_id": "651940", "mode": None}
    expected = samples.request(working_liquidity="11", chain_id=651940)
    assert parse_request(options, file) == expected


def test_a_bare_number_in_a_file_keeps_its_digits(tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    fields = json.loads(samples.request().model_dump_json())
    text = json.dumps(fields | {"working_liquidity": 0, "max_ltv": 0})
    text = text.replace('"working_liquidity": 0', '"working_liquidity": 0.100000000000000001')
    file.write_text(text.replace('"max_ltv": 0', '"max_ltv": 0.07'))
    expected = samples.request(working_liquidity="0.100000000000000001", max_ltv="0.07")
    assert parse_request({}, file) == expected


@pytest.mark.parametrize("content", ["", "[]", '"x"', "{", "null", None])
def test_a_file_that_is_no_request_is_refused(
    deal: Deal, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "request.json"
    if content is not None:
        file.write_text(content)
    answer = deal("start", "--file", str(file))
    assert (answer.code, answer.problem["field"]) == (2, "file")
    assert answer.problem["value"] == str(file)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"colour": "red"}, "colour"),
        ({"working_liquidity": float("nan")}, "working_liquidity"),
        ({"working_liquidity": True}, "working_liquidity"),
        ({"chain_id": 138.0}, "chain_id"),
        ({"chain_id": True}, "chain_id"),
        ({"bank": 7}, "bank"),
        ({"working_liquidity": {"units": "1", "decimals": 6}}, "working_liquidity"),
    ],
)
def test_a_wrong_field_in_a_file_is_named(
    deal: Deal, tmp_path: Path, fields: dict[str, Any], field: str
) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps(json.loads(samples.request().model_dump_json()) | fields))
    answer = deal("start", "--file", str(file))
    assert (answer.code, answer.problem["field"]) == (2, field)


@pytest.mark.parametrize(
    ("variable", "value"), [("DEAL_CONFIG_DIR", "/nowhere"), ("DEAL_ENVIRONMENT", "moon")]
)
def test_a_wrong_setting_is_named(
    deal: Deal, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    answer = deal(*arguments())
    assert answer.code == 2
    assert (answer.problem["code"], answer.problem["field"]) == ("invalid_configuration", variable)
    assert answer.problem["value"] == value


def test_a_good_request_needs_the_records(deal: Deal) -> None:
    answer = deal(*arguments())
    assert (answer.code, answer.problem["field"]) == (2, "DEAL_DATABASE_URL")
    assert "deal local up" in answer.problem["next_action"]


@pytest.fixture
def admits(deal: Deal, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Deal:
    """A stack that answers with the view given as the test's parameter."""

    async def connect() -> None:
        """Connect to nothing."""

    class Admitting:
        async def start(self, *_: object, **__: object) -> DealView:
            return request.param

    monkeypatch.setattr(start_module, "open_client", connect)
    monkeypatch.setattr(start_module, "open_desk", lambda _: Admitting())
    monkeypatch.setenv("DEAL_DATABASE_URL", "postgresql://127.0.0.1:1/none")
    monkeypatch.setenv("DEAL_WEB_UI", "http://127.0.0.1:8233/")
    return deal


LINK = "http://127.0.0.1:8233/namespaces/default/workflows/deal-alpha"
REFUSAL = SizingRefused("no size", next_action="wait", field="profit", limit="> 0", actual=-1)


@pytest.mark.parametrize(
    "admits", [samples.view(status=DealStatus.EXECUTING, sizing=samples.SIZING)], indirect=True
)
def test_an_admission_shows_the_sizing(admits: Deal) -> None:
    answer = admits(*arguments())
    assert answer.code == 0
    assert answer.document["sizing"]["borrow"] == "5000000001"
    assert answer.document["web_ui"] == LINK
    words = admits(*arguments(), "-o", "table")
    assert words.code == 0
    for part in ("5000.000001 USDT", "exposure", "123.45678901 USD", "25.00 %", LINK):
        assert part in words.out


@pytest.mark.parametrize(
    "admits", [samples.view(status=DealStatus.DENIED, problem=REFUSAL.problem)], indirect=True
)
@pytest.mark.parametrize("wait", [[], ["--wait"]])
def test_a_denial_is_told_with_its_exit_code(admits: Deal, wait: list[str]) -> None:
    answer = admits(*arguments(), *wait)
    assert (answer.code, answer.document["status"]) == (5, "DENIED")
    assert Problem.model_validate(answer.problem) == REFUSAL.problem


@pytest.mark.parametrize(
    "admits", [samples.view(status=DealStatus.AWAITING_APPROVAL)], indirect=True
)
def test_a_deal_that_needs_approval_is_told_with_its_exit_code(admits: Deal) -> None:
    answer = admits(*arguments())
    assert (answer.code, answer.document["status"]) == (6, "AWAITING_APPROVAL")
    assert (answer.problem["code"], answer.problem["field"]) == ("approval_needed", "status")


def test_a_cap_in_gwei_is_kept_in_wei() -> None:
    options = {"deal_id": "alpha", "bank": "b", "module": "usdtz", "chain_id": "138"}
    capped = options | {"working_liquidity": "10", "max_fee_gwei": "1.500000001"}
    assert parse_request(capped, None).max_fee_per_gas_wei == 1_500_000_001
    assert parse_request(capped | {"max_fee_gwei": None}, None).max_fee_per_gas_wei is None


@pytest.mark.parametrize(
    "admits",
    [samples.view(request=samples.request(max_fee_per_gas_wei=1_500_000_001))],
    indirect=True,
)
def test_a_cap_is_shown_with_the_deal(admits: Deal) -> None:
    answer = admits(*arguments(), "--max-fee-gwei", "1.500000001", "-o", "table")
    assert "slippage 0.50 %, fee 1.500000001 gwei" in answer.out
