"""A chain's profile answers by name, and says what is missing."""

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from domain.chains import (
    PRICED_ONCE,
    PRICED_PER_CYCLE,
    ChainProfile,
    EndpointProfile,
    FeePolicy,
    Finality,
    ModuleProfile,
    SubmissionLimits,
    find_chain,
)
from domain.deals import DealRequest, Step, invalid_input_from
from domain.errors import InvalidInput, NotFound
from domain.identifiers import Address, ChainId, ModuleId
from domain.limits import MAX_PIPELINED_CYCLES

WETH = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
GAS = dict.fromkeys((*PRICED_ONCE, *PRICED_PER_CYCLE), 100_000)


def module(**changes: Any) -> dict[str, Any]:
    names = {
        name: name
        for name, field in ModuleProfile.model_fields.items()
        if field.is_required() and field.annotation is str
    }
    return {**names, "pool_fee": 100, "gas_units": GAS, **changes}


def profile(chain_id: int = 138, **changes: Any) -> ChainProfile:
    fields = {
        "chain_id": chain_id,
        "name": "test chain",
        "endpoints": ["http://127.0.0.1:8545"],
        "contracts": {"weth": WETH, "aave_pool": WETH},
        "block_time_seconds": 1,
        "confirmations": 1,
        "finality": {"kind": "depth", "depth": 2},
        "fees": {"max_fee_per_gas_wei": "100000000000"},
        "modules": {"usdtz": module(), "fast": module(pipelined=True)},
    }
    return ChainProfile.model_validate({**fields, **changes})


def request(**changes: Any) -> DealRequest:
    fields = {
        "deal_id": "alpha",
        "bank": "first-bank",
        "module": "usdtz",
        "chain_id": 138,
        "working_liquidity": "10",
    }
    return DealRequest.parse(**{**fields, **changes})


def test_a_contract_is_found_by_its_name() -> None:
    assert profile().contract("weth") == Address(WETH)


def test_a_contract_missing_from_the_manifest_is_named_with_those_there_are() -> None:
    with pytest.raises(NotFound) as caught:
        profile().contract("multicall3")
    problem = caught.value.problem
    assert (problem.field, problem.value) == ("contract", "multicall3")
    assert problem.limit == "aave_pool, weth"
    assert problem.next_action == "add multicall3 to the address manifest of chain 138"


def test_a_module_is_found_by_its_name() -> None:
    assert profile().module(ModuleId("fast")).pipelined


def test_an_unknown_module_is_refused_with_those_there_are() -> None:
    with pytest.raises(NotFound) as caught:
        profile().check_request(request(module="usdty"))
    problem = caught.value.problem
    assert (problem.field, problem.value, problem.limit) == ("module", "usdty", "fast, usdtz")
    assert problem.next_action == "choose one of the modules listed"


@pytest.mark.parametrize(
    ("module_id", "mode"), [("usdtz", "stepwise"), ("fast", "stepwise"), ("fast", "pipelined")]
)
def test_a_request_that_its_module_can_run_is_accepted(module_id: str, mode: str) -> None:
    profile().check_request(request(module=module_id, mode=mode))


def test_pipelined_deals_are_refused_where_the_module_does_not_run_them() -> None:
    with pytest.raises(InvalidInput) as caught:
        profile().check_request(request(mode="pipelined"))
    problem = caught.value.problem
    assert (problem.field, problem.value, problem.limit) == ("mode", "pipelined", "stepwise")
    assert problem.next_action == "start the deal in stepwise mode"


def test_a_pipelined_deal_has_no_more_cycles_than_a_node_takes_at_once() -> None:
    fast = profile()
    fast.check_request(request(module="fast", mode="pipelined", cycles=MAX_PIPELINED_CYCLES))
    fast.check_request(request(module="fast", cycles=MAX_PIPELINED_CYCLES + 1))
    with pytest.raises(InvalidInput) as caught:
        fast.check_request(
            request(module="fast", mode="pipelined", cycles=MAX_PIPELINED_CYCLES + 1)
        )
    problem = caught.value.problem
    assert (problem.field, problem.value, problem.limit) == ("cycles", "11", "10")
    assert "stepwise" in str(problem.next_action)


def test_a_chain_is_found_by_its_id() -> None:
    chain = profile(651940)
    assert find_chain({ChainId(138): profile(), ChainId(651940): chain}, 651940) is chain


def test_an_unknown_chain_is_refused_with_those_there_are() -> None:
    profiles = {ChainId(651940): profile(651940), ChainId(138): profile()}
    with pytest.raises(NotFound) as caught:
        find_chain(profiles, 1)
    problem = caught.value.problem
    assert (problem.field, problem.value, problem.limit) == ("chain_id", "1", "138, 651940")
    assert problem.next_action


def test_a_profile_survives_json_but_for_its_endpoints_which_nobody_is_shown() -> None:
    chain = profile(submission_endpoints=[{"url": "https://relay/key", "name": "relay"}])
    text = chain.model_dump_json()
    for shown in (text, repr(chain), str(chain)):
        assert "127.0.0.1" not in shown
        assert "relay/key" not in shown
    again = ChainProfile.model_validate_json(text)
    hidden = {"endpoints", "submission_endpoints"}
    assert again.model_dump(exclude=hidden) == chain.model_dump(exclude=hidden)
    assert type(again.contract("weth")) is Address


def test_an_endpoint_is_a_text_or_a_table() -> None:
    plain, table = profile(
        endpoints=["http://one", {"url": "http://two", "name": "two", "weight": 2}]
    ).endpoints
    assert plain == EndpointProfile(url=SecretStr("http://one"))
    assert (table.url.get_secret_value(), table.name, table.weight) == ("http://two", "two", 2)


RELAY = "https://relay"


@pytest.mark.parametrize(
    ("changes", "blocks"),
    [
        ({}, None),
        ({"public_fallback": {"after_blocks": 3}}, None),
        ({"submission_endpoints": [RELAY]}, None),
        ({"submission_endpoints": [RELAY], "public_fallback": "never"}, None),
        ({"submission_endpoints": [RELAY], "public_fallback": {"after_blocks": 3}}, 3),
    ],
)
def test_what_is_private_goes_public_only_by_policy(
    changes: dict[str, Any], blocks: int | None
) -> None:
    assert profile(**changes).goes_public_after == blocks


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoints": [{"url": "http://a", "name": "x"}, {"url": "http://b", "name": "x"}]},
        {
            "endpoints": [{"url": "http://a", "name": "x"}],
            "submission_endpoints": [{"url": "http://b", "name": "x"}],
        },
    ],
)
def test_endpoints_of_the_same_name_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="two endpoints are called x"):
        profile(**changes)


def test_what_a_profile_does_not_say_has_a_careful_default() -> None:
    chain = profile(finality={"kind": "tag"})
    assert chain.finality == Finality(kind="tag", depth=0)
    assert chain.limits == SubmissionLimits(submission_timeout_seconds=120)
    assert chain.fees == FeePolicy(max_fee_per_gas_wei=100_000_000_000, priority_percentile=50)
    assert not chain.module(ModuleId("usdtz")).pipelined


@pytest.mark.parametrize(
    ("block_time", "limits", "seconds"),
    [(1, {}, 30), (3, {}, 30), (12, {}, 120), (12, {"shelf_life_seconds": 20}, 20)],
)
def test_a_simulation_stands_for_half_a_minute_or_ten_blocks_unless_it_is_said(
    block_time: int, limits: dict[str, int], seconds: int
) -> None:
    assert profile(block_time_seconds=block_time, limits=limits).shelf_life_seconds == seconds


def test_a_module_has_the_feeds_of_both_tokens_or_none() -> None:
    assert profile().module(ModuleId("usdtz")).feeds == ()
    both = module(par_feed="usdt_usd", discount_feed="usdtz_usd")
    assert profile(modules={"usdtz": both}).module(ModuleId("usdtz")).feeds == (
        "usdt_usd",
        "usdtz_usd",
    )


@pytest.mark.parametrize(
    ("named", "missing"), [("par_feed", "discount_feed"), ("discount_feed", "par_feed")]
)
def test_one_feed_alone_is_no_price(named: str, missing: str) -> None:
    with pytest.raises(ValidationError) as caught:
        profile(modules={"usdtz": module(**{named: "usd"})})
    problem = invalid_input_from(caught.value).problem
    assert problem.next_action == f"name {missing} too, or leave both out"


@pytest.mark.parametrize("step", [*PRICED_ONCE, *PRICED_PER_CYCLE])
def test_a_module_without_an_estimate_for_a_steps_gas_is_refused(step: Step) -> None:
    gas = {name: units for name, units in GAS.items() if name is not step}
    with pytest.raises(ValidationError) as caught:
        profile(modules={"usdtz": module(gas_units=gas)})
    problem = invalid_input_from(caught.value).problem
    assert problem.field == "modules.usdtz.gas_units"
    assert step in problem.message
    assert problem.next_action == "add an estimate of the gas of each step listed"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"endpoints": []}, "endpoints"),
        ({"contracts": {"weth": WETH.lower()}}, "contracts.weth"),
        ({"contracts": {"weth": "0x" + "0" * 40}}, "contracts.weth"),
        ({"block_time_seconds": 0}, "block_time_seconds"),
        ({"confirmations": 0}, "confirmations"),
        ({"finality": {"kind": "hope"}}, "finality.kind"),
        ({"finality": {"kind": "depth", "depth": -1}}, "finality.depth"),
        ({"fees": {"max_fee_per_gas_wei": -1}}, "fees.max_fee_per_gas_wei"),
        ({"fees": {"max_fee_per_gas_wei": 1.5}}, "fees.max_fee_per_gas_wei"),
        ({"fees": {"max_fee_per_gas_wei": 1, "gas_margin": "0.9"}}, "fees.gas_margin"),
        ({"limits": {"poll_interval_seconds": "0"}}, "limits.poll_interval_seconds"),
        ({"modules": {"Usdtz": {}}}, "modules.Usdtz.[key]"),
        ({"modules": {"usdtz": module(pool_fee=0)}}, "modules.usdtz.pool_fee"),
        ({"modules": {"usdtz": module(pool_fee=1_000_000)}}, "modules.usdtz.pool_fee"),
        (
            {"modules": {"usdtz": module(gas_units={**GAS, "fund": 0})}},
            "modules.usdtz.gas_units.fund",
        ),
        ({"modules": {"usdtz": module(typo=1)}}, "modules.usdtz.typo"),
        ({"chain_ids": 138}, "chain_ids"),
    ],
)
def test_a_bad_profile_is_refused_with_the_path_to_the_field(
    changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        profile(**changes)
    problem = invalid_input_from(caught.value).problem
    assert problem.field == field
    assert problem.limit
    assert problem.next_action
