"""The policy's file is held against what its rules could mean, before anything is signed by it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from activities.signing.calls import MEANINGS, MOST_INTENTS
from domain.deals import Step
from domain.errors import InvalidConfiguration
from domain.limits import MAX_PIPELINED_CYCLES
from tests.activities.signing.samples import CHAIN, DEAL_STEPS, POLICY, USDT, changed_policy

Document = dict[str, Any]
Edit = Callable[[Document], object]
MODULE = "chains.138.modules.usdtz"


def module(document: Document) -> Document:
    found: Document = document["chains"]["138"]["modules"]["usdtz"]
    return found


def call(name: str, **fields: object) -> Edit:
    """Change fields of a call; None takes one away."""

    def edit(document: Document) -> None:
        rule = module(document)["calls"][name]
        rule |= fields
        for field in [field for field, value in fields.items() if value is None]:
            del rule[field]

    return edit


def step(name: str, *sequences: object) -> Edit:
    return lambda document: module(document)["steps"].update({name: list(sequences)})


def rate(**rates: object) -> Edit:
    return lambda document: document["rates"].update(rates)


def chain(**fields: object) -> Edit:
    return lambda document: document["chains"]["138"].update(fields)


def asset(name: str, **fields: object) -> Edit:
    return lambda document: document["chains"]["138"]["assets"].setdefault(name, {}).update(fields)


def without_asset(name: str) -> Edit:
    return lambda document: document["chains"]["138"]["assets"].pop(name)


def _without_borrow(document: Document) -> None:
    """No step borrows any more, but the call is still there."""
    del module(document)["steps"]["borrow"]
    module(document)["steps"]["run"]["first"].remove("borrow")


SUPPLYING = ["approve_supply", "approve_supply", "supply"]
WRONG: list[tuple[str, Edit, str]] = [
    # where, what is done, part of the limit
    ("chains.1", lambda d: d["chains"].update({"1": d["chains"]["138"]}), "138, 651940"),
    ("chains.138.max_fee_per_gas_wei", chain(max_fee_per_gas_wei="99999999999"), "never signed"),
    (
        "chains.138.modules.dai",
        lambda d: d["chains"]["138"]["modules"].update({"dai": module(d)}),
        "usdtz",
    ),
    ("chains.138.assets.ether", without_asset("ether"), "price"),
    ("chains.138.assets.weth", without_asset("weth"), "price"),
    ("chains.138.assets.usdt", without_asset("usdt"), "price"),
    ("chains.138.assets.usdtz", without_asset("usdtz"), "price"),
    ("chains.138.assets.ether.decimals", asset("ether", decimals=6), "18"),
    ("chains.138.assets.dai", asset("dai", price_usd="1", decimals=6), "token of one of"),
    (
        f"{MODULE}.calls.skim",
        lambda d: module(d)["calls"].update(skim={"to": "usdt", "max_gas": 50_000}),
        "pay_home",
    ),
    (f"{MODULE}.calls.supply.function", call("supply", function="supply(address)"), "uint16"),
    (f"{MODULE}.calls.supply.function", call("supply", function=None), "supply("),
    (f"{MODULE}.calls.fund.function", call("fund", function="deposit()"), "sends ether"),
    (f"{MODULE}.calls.supply.to", call("supply", to="dai"), "address manifest"),
    (f"{MODULE}.calls.supply.to", call("supply", to=USDT), "address manifest"),
    (f"{MODULE}.calls.supply.to", call("supply", to="usdt"), "no other can ever match"),
    (f"{MODULE}.calls.fund.to", call("fund", to="treasury"), "no other can ever match"),
    (f"{MODULE}.calls.supply.max_gas", call("supply", max_gas=None), "nothing is signed without"),
    (f"{MODULE}.calls.sweep.max_gas", call("sweep", max_gas=21_001), "21000"),
    (f"{MODULE}.calls.fund.max_ether", call("fund", max_ether=None), "nothing is signed without"),
    (f"{MODULE}.calls.borrow.max_tokens", call("borrow", max_tokens=None), "nothing is signed"),
    (f"{MODULE}.calls.top_up.max_tokens", call("top_up", max_tokens=None), "nothing is signed"),
    (f"{MODULE}.calls.swap.max_deadline_seconds", call("swap", max_deadline_seconds=None), "cap"),
    (f"{MODULE}.calls.sell.max_deadline_seconds", call("sell", max_deadline_seconds=None), "cap"),
    (f"{MODULE}.calls.swap.max_loss_bps", call("swap", max_loss_bps=None), "nothing is signed"),
    (f"{MODULE}.calls.borrow.max_ether", call("borrow", max_ether="1"), "never matters"),
    (f"{MODULE}.calls.borrow.max_loss_bps", call("borrow", max_loss_bps=1), "never matters"),
    (f"{MODULE}.calls.sweep.max_ether", call("sweep", max_ether="1"), "trap money"),
    (f"{MODULE}.calls.redeem.max_tokens", call("redeem", max_tokens="1"), "trap money"),
    (f"{MODULE}.calls.repay.max_tokens", call("repay", max_tokens="1"), "trap money"),
    (f"{MODULE}.calls.pay_home.max_tokens", call("pay_home", max_tokens="1"), "trap money"),
    (f"{MODULE}.calls.sell.max_loss_bps", call("sell", max_loss_bps=1), "trap money"),
    (f"{MODULE}.calls.borrow.max_tokens", call("borrow", max_tokens="0.0000001"), "6 decimal"),
    (f"{MODULE}.calls.top_up.max_tokens", call("top_up", max_tokens="12_499_999"), "has grown"),
    (f"{MODULE}.steps.wrap", step("wrap"), "at least one sequence"),
    (f"{MODULE}.steps.wrap", step("wrap", ["warp"]), "a call of the module"),
    (f"{MODULE}.steps.wrap", step("wrap", ["fund"]), "deal's account makes"),
    (f"{MODULE}.steps.fund", step("fund", ["wrap"]), "treasury makes"),
    (f"{MODULE}.steps.collateralize", step("collateralize", ["approve_supply"]), "supply right"),
    (
        f"{MODULE}.steps.collateralize",
        step("collateralize", ["approve_supply", "wrap", "supply"]),
        "supply right after",
    ),
    (
        f"{MODULE}.steps.collateralize",
        step("collateralize", SUPPLYING, ["approve_supply", "supply"]),
        "an earlier one contains",
    ),
    (f"{MODULE}.steps.collateralize", step("collateralize", SUPPLYING, SUPPLYING), "earlier one"),
    (f"{MODULE}.calls.borrow", _without_borrow, "a call of one of the steps"),
    *(
        (
            f"{MODULE}.steps.{exit_step}",
            lambda d, exit_step=exit_step: module(d)["steps"].pop(exit_step),
            "money is trapped",
        )
        for exit_step in (Step.REDEEM, Step.UNWIND, Step.TOP_UP, Step.SETTLE, Step.SWEEP)
    ),
    ("rates.deal_signatures", rate(deal_signatures=34), "at least 35"),
    ("rates.hour_signatures", rate(hour_signatures=34), "at least 35"),
]


@pytest.mark.parametrize(
    ("place", "edit", "limit"), WRONG, ids=[f"{place}-{i}" for i, (place, *_) in enumerate(WRONG)]
)
def test_what_nobody_could_mean_is_named(place: str, edit: Edit, limit: str) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        changed_policy(edit)
    problem = caught.value.problem
    assert problem.field == place
    assert limit in str(problem.limit)
    assert "deal config check" in problem.next_action


MALFORMED: list[tuple[str, Edit]] = [
    ("version", lambda d: d.update(version=0)),
    ("version", lambda d: d.update(version="1")),
    ("version", lambda d: d.pop("version")),
    ("rates.hour_usd", rate(hour_usd="0")),
    ("rates.hour_usd", rate(hour_usd=0.5)),
    ("rates.hour_usd", rate(hour_usd="-1")),
    ("rates.hour_usd", rate(hour_usd="1.000000001")),
    ("rates.hour_signatures", rate(hour_signatures=0)),
    ("rates.weekly", rate(weekly=1)),
    ("rates.deal_usd", lambda d: d["rates"].pop("deal_usd")),
    ("chains.138.modules.usdtz.calls.wrap.max_gas", call("wrap", max_gas=20_999)),
    ("chains.138.modules.usdtz.calls.wrap.max_gas", call("wrap", max_gas="90000")),
    ("chains.138.modules.usdtz.calls.wrap.max_ether", call("wrap", max_ether=0.5)),
    ("chains.138.modules.usdtz.calls.wrap.max_ether", call("wrap", max_ether="0")),
    ("chains.138.modules.usdtz.calls.wrap.max_ether", call("wrap", max_ether="NaN")),
    ("chains.138.modules.usdtz.calls.swap.max_loss_bps", call("swap", max_loss_bps=10_000)),
    ("chains.138.modules.usdtz.calls.wrap.whom", call("wrap", whom="me")),
    ("chains.138.assets.weth.price_usd", asset("weth", price_usd="0")),
    ("chains.138.max_fee_per_gas_wei", chain(max_fee_per_gas_wei="0")),
    (
        "chains.138.modules.usdtz.steps.run",
        lambda d: module(d)["steps"]["run"].update(max_cycles=MAX_PIPELINED_CYCLES + 1),
    ),
    ("chains.138.modules.usdtz.steps.dance", step("dance", ["wrap"])),
]


@pytest.mark.parametrize(("place", "edit"), MALFORMED)
def test_what_has_the_wrong_form_is_named(place: str, edit: Edit) -> None:
    with pytest.raises((ValidationError, InvalidConfiguration)) as caught:
        changed_policy(edit)
    assert isinstance(caught.value, ValidationError)
    found = ".".join(str(part) for part in caught.value.errors()[0]["loc"])
    assert found.startswith(place)


def test_every_call_that_the_signer_knows_is_in_the_file_with_every_cap() -> None:
    for chain_policy in POLICY.chains.values():
        for rules in chain_policy.modules.values():
            used = {c.name: c for all_ in rules.sequences.values() for each in all_ for c in each}
            assert used.keys() == MEANINGS.keys()
            assert rules.sequences.keys() == set(DEAL_STEPS)
            assert max(len(s) for all_ in rules.sequences.values() for s in all_) <= MOST_INTENTS


def test_the_lowest_of_the_fee_caps_counts() -> None:
    profile = POLICY.chains[CHAIN].profile.fees.max_fee_per_gas_wei
    assert POLICY.chains[CHAIN].max_fee_per_gas == profile
    equal = changed_policy(chain(max_fee_per_gas_wei=str(profile)))
    assert equal.chains[CHAIN].max_fee_per_gas == profile


def test_a_chain_that_is_left_out_is_forbidden() -> None:
    policy = changed_policy(lambda document: document["chains"].pop("651940"))
    assert set(policy.chains) == {CHAIN}


@pytest.mark.parametrize(
    "edit",
    [
        rate(hour_usd="999_999_999"),
        call("borrow", max_tokens="9_999_999"),
        asset("usdt", price_usd="1.06"),
        lambda d: d.update(version=99),
    ],
)
def test_whatever_is_changed_changes_the_digest(edit: Edit) -> None:
    assert changed_policy(edit).digest != POLICY.digest


def test_so_does_an_address_that_a_rule_means(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = POLICY.chains[CHAIN].profile
    moved = profile.model_copy(update={"contracts": profile.contracts | {"aave_pool": USDT}})
    with monkeypatch.context() as patch:
        patch.setattr("tests.activities.signing.samples.PROFILES", {CHAIN: moved})
        policy = changed_policy(lambda document: document["chains"].pop("651940"))
    same = changed_policy(lambda document: document["chains"].pop("651940"))
    assert policy.digest != same.digest


def test_the_content_is_in_one_form_whatever_that_of_the_file() -> None:
    spelt = changed_policy(rate(hour_usd="1000000000.00"))
    assert spelt.digest == POLICY.digest
    assert json.loads(POLICY.content)["policy"]["rates"]["hour_usd"] == str(10**17)
