"""Versions of the policy as callers propose, approve and reject them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from domain.denials import Denial
from domain.errors import (
    Conflict,
    Forbidden,
    InvalidConfiguration,
    NotFound,
    Outdated,
    PolicyDenied,
)
from domain.identity import Role
from domain.policy import DealPolicy
from domain.policy_lint import lint
from starters.control.database import ControlDatabase
from starters.control.policies import POLICY_FILE, PolicyBook, read_policy
from starters.deals.database import single_connection
from tests.control.people import caller
from tests.support.postgres import Postgres

SHIPPED = Path(__file__).parents[2] / "deploy" / "config" / POLICY_FILE
RISK_1, RISK_2 = caller("risk-1", Role.RISK_MANAGER), caller("risk-2", Role.RISK_MANAGER)
TRADER = caller("trader", Role.TRADER)


@pytest.fixture
def empty(postgres: Postgres) -> PolicyBook:
    """A book without any version."""
    database = postgres.migrated()
    return PolicyBook(
        ControlDatabase.at(database.role("deal_control")),
        single_connection(database.role("deal_reader")),
    )


@pytest.fixture
async def book(empty: PolicyBook) -> PolicyBook:
    """A book whose first version is the one that is shipped."""
    await empty.install(RISK_1, read_policy(SHIPPED), "the first one")
    return empty


def version(number: int, **fields: Any) -> DealPolicy:
    shipped = read_policy(SHIPPED).model_dump(mode="json", exclude_none=True)
    return DealPolicy.parse({**shipped, "version": number, **fields})


async def in_force(book: PolicyBook) -> str:
    return (await book.active(TRADER)).tag


def test_the_policy_that_is_shipped_has_no_mistakes() -> None:
    policy = read_policy(SHIPPED)
    assert policy.version == 1
    assert lint(policy) == []
    needed = [policy.approvals.tier_of(usd * 10**8) for usd in (2_000_000, 2_000_001, 5_000_001)]
    assert [tier.needed if tier else 0 for tier in needed] == [0, 1, 2]


async def test_the_first_version_is_installed_once(empty: PolicyBook) -> None:
    with pytest.raises(PolicyDenied) as caught:
        await empty.active(TRADER)
    assert caught.value.problem.code == Denial.NO_POLICY
    first = await empty.install(RISK_1, version(1), "first")
    again = await empty.install(RISK_2, version(1, halts={"on_reducing": "hold"}), "again")
    assert again == first
    assert (first.state, first.based_on, first.approved_by) == ("ACTIVE", None, None)


async def test_a_change_takes_two_people(book: PolicyBook) -> None:
    proposed = await book.propose(
        RISK_1, version(2), based_on=await in_force(book), why="more banks"
    )
    assert (proposed.state, proposed.based_on, proposed.proposed_by) == ("PROPOSED", 1, "risk-1")
    assert (await book.active(TRADER)).version == 1
    with pytest.raises(PolicyDenied) as caught:
        await book.approve(RISK_1, 2, digest=proposed.digest, why="mine")
    assert caught.value.problem.code == Denial.POLICY_OWN_CHANGE
    approved = await book.approve(RISK_2, 2, digest=proposed.digest, why="looked at it")
    assert (approved.state, approved.approved_by) == ("ACTIVE", "risk-2")
    states = {each.version: each.state for each in await book.versions(TRADER)}
    assert states == {2: "ACTIVE", 1: "RETIRED"}


async def test_what_is_based_on_an_older_version_is_refused(book: PolicyBook) -> None:
    first = await in_force(book)
    two = await book.propose(RISK_1, version(2), based_on=first, why="two")
    three = await book.propose(RISK_1, version(3), based_on=first, why="three")
    await book.approve(RISK_2, 2, digest=two.digest, why="yes")
    with pytest.raises(Outdated) as caught:
        await book.propose(RISK_1, version(4), based_on=first, why="four")
    assert caught.value.problem.limit == await in_force(book)
    with pytest.raises(Outdated):
        await book.approve(RISK_2, 3, digest=three.digest, why="yes")
    assert (await book.active(TRADER)).version == 2


async def test_only_what_was_looked_at_is_approved(book: PolicyBook) -> None:
    await book.propose(RISK_1, version(2), based_on=await in_force(book), why="two")
    with pytest.raises(Outdated):
        await book.approve(RISK_2, 2, digest="0" * 64, why="yes")


async def test_a_proposal_is_decided_once(book: PolicyBook) -> None:
    proposed = await book.propose(RISK_1, version(2), based_on=await in_force(book), why="two")
    rejected = await book.reject(RISK_1, 2, why="withdrawn")
    assert (rejected.state, rejected.rejected_by) == ("REJECTED", "risk-1")
    with pytest.raises(Conflict):
        await book.approve(RISK_2, 2, digest=proposed.digest, why="yes")
    with pytest.raises(Conflict):
        await book.reject(RISK_2, 1, why="no")
    with pytest.raises(Conflict) as caught:
        await book.propose(RISK_1, version(2), based_on=await in_force(book), why="again")
    assert caught.value.problem.limit == "a version higher than any before"


async def test_a_policy_with_mistakes_is_not_proposed(book: PolicyBook) -> None:
    rules = [{"name": "all", "effect": "allow"}, {"name": "else", "effect": "deny"}]
    with pytest.raises(InvalidConfiguration) as caught:
        await book.propose(
            RISK_1, version(2, rules=rules), based_on=await in_force(book), why="two"
        )
    assert caught.value.problem.field == "rules.else"


async def test_permissions_are_asked_for(book: PolicyBook) -> None:
    tag = await in_force(book)
    for act in (
        book.propose(TRADER, version(2), based_on=tag, why="two"),
        book.approve(TRADER, 2, digest="", why="yes"),
        book.reject(TRADER, 2, why="no"),
        book.install(TRADER, version(1), "again"),
        book.versions(caller("nobody")),
        book.find(caller("nobody"), 1),
        book.active(caller("nobody")),
    ):
        with pytest.raises(Forbidden):
            await act
    with pytest.raises(NotFound):
        await book.find(TRADER, 99)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (None, "deal-policy.toml: file"),
        ("version = ", "deal-policy.toml: file"),
        ("version = 1", "deal-policy.toml: rules"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, text: str | None, field: str) -> None:
    file = tmp_path / POLICY_FILE
    if text is not None:
        file.write_text(text)
    with pytest.raises(InvalidConfiguration) as caught:
        read_policy(file)
    assert caught.value.problem.field == field
