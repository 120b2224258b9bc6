"""Roles, permissions and banks: the whole table, and who is refused with which words."""

import itertools

import pytest
from pydantic import ValidationError

from domain.errors import Forbidden
from domain.identity import (
    PERMISSIONS_OF,
    Caller,
    GroupId,
    Permission,
    Principal,
    PrincipalId,
    Role,
    StandIn,
    Via,
    has_bank,
    roles_with,
)

V, T, S, A, R, O, C, X = (  # noqa: E741 - one letter a role keeps the table readable
    Role.VIEWER,
    Role.TRADER,
    Role.SENIOR_TRADER,
    Role.APPROVER,
    Role.RISK_MANAGER,
    Role.ONCALL,
    Role.COMPLIANCE,
    Role.ADMIN,
)
ALLOWED: dict[str, set[Role]] = {
    "deals.read": set(Role),
    "deals.start": {T, S},
    "deals.pause": {T, S, R, O},
    "deals.resume": {T, S, O},
    "deals.cancel": {T, S, R, O},
    "deals.retry": {S, O},
    "deals.unwind": {S, R, O},
    "deals.expire": {R, O},
    "deals.adopt": {O},
    "deals.approve": {A},
    "tx.read": set(Role),
    "tx.act": {O},
    "chain.read": set(Role),
    "chain.release": {O},
    "halts.read": set(Role),
    "halts.set": {S, R, O},
    "halts.release": {R, O},
    "policy.read": set(Role),
    "policy.propose": {R},
    "policy.approve": {R},
    "audit.read": {R, O, C, X},
    "audit.export": {C},
    "users.read": {C, X},
    "users.write": {X},
    "keys.read": set(Role),
    "keys.act": {X},
    "operations.read": set(Role),
    "operations.act": {X},
    "schedules.act": {O, X},
    "codec.act": {X},
}
"""Written a second time, by permission, so that a slip in the code's table by role is seen."""

BANK, OTHER = "alpha", "beta"


def caller(
    *roles: Role,
    banks: tuple[str, ...] = (BANK,),
    scopes: frozenset[Permission] | None = None,
    stands_in: tuple[StandIn, ...] = (),
) -> Caller:
    principal = Principal.model_validate(
        {
            "principal_id": "carol",
            "roles": frozenset(roles),
            "banks": frozenset(banks),
            "stands_in": stands_in,
        }
    )
    return Caller(principal=principal, via=Via.CLI, scopes=scopes)


def test_the_table_names_every_permission_and_role() -> None:
    assert set(ALLOWED) == set(Permission)
    assert set(PERMISSIONS_OF) == set(Role)


@pytest.mark.parametrize(("role", "permission"), list(itertools.product(Role, Permission)))
def test_a_role_allows_what_the_table_says_and_nothing_else(
    role: Role, permission: Permission
) -> None:
    someone = caller(role)
    if role in ALLOWED[permission]:
        someone.require(permission)
        someone.require(permission, BANK)
        with pytest.raises(Forbidden, match=f"for bank {OTHER}"):
            someone.require(permission, OTHER)
        return
    for bank in (None, BANK, OTHER):
        with pytest.raises(Forbidden, match=f"it takes {permission}") as refused:
            someone.require(permission, bank)
        assert refused.value.problem.actual == f"roles {role}"
        assert refused.value.problem.field == "permission"


def test_nobody_has_every_permission() -> None:
    assert all(allowed < set(Permission) for allowed in PERMISSIONS_OF.values())


def test_who_makes_users_neither_trades_nor_approves() -> None:
    trading = {p for p in Permission if p.startswith("deals.")} - {Permission.DEALS_READ}
    for role, allowed in PERMISSIONS_OF.items():
        assert not (Permission.USERS_WRITE in allowed and trading & allowed), role


def test_nobody_starts_deals_and_approves_them_by_one_role() -> None:
    for allowed in PERMISSIONS_OF.values():
        assert not {Permission.DEALS_START, Permission.DEALS_APPROVE} <= allowed


def test_roles_add_up() -> None:
    assert caller(T, A).may(Permission.DEALS_START)
    assert caller(T, A).may(Permission.DEALS_APPROVE)
    assert caller(T, A).principal.permissions == PERMISSIONS_OF[T] | PERMISSIONS_OF[A]


def test_without_a_role_nothing_is_allowed() -> None:
    with pytest.raises(Forbidden) as refused:
        caller().require(Permission.DEALS_READ)
    assert refused.value.problem.actual == "roles none"
    assert refused.value.exit_code == 4


def test_a_star_is_every_bank() -> None:
    everywhere = caller(T, banks=("*",))
    everywhere.require(Permission.DEALS_START, OTHER)
    assert everywhere.banks is None
    assert everywhere.principal.all_banks


def test_lists_are_filtered_to_the_banks_in_order() -> None:
    assert caller(V, banks=("beta", "alpha")).banks == ("alpha", "beta")
    assert caller(V, banks=()).banks == ()


def test_without_a_bank_no_deal_is_anybodys() -> None:
    with pytest.raises(Forbidden) as refused:
        caller(V, banks=()).require(Permission.DEALS_READ, BANK)
    assert refused.value.problem.limit == "banks none"
    assert refused.value.problem.field == "bank"


def test_a_credential_may_be_for_less_than_its_owner() -> None:
    reading = caller(T, scopes=frozenset({Permission.DEALS_READ}))
    reading.require(Permission.DEALS_READ, BANK)
    with pytest.raises(Forbidden, match="credential of carol is not for") as refused:
        reading.require(Permission.DEALS_START, BANK)
    assert refused.value.problem.next_action == "use a credential that is for it"


def test_a_credential_is_never_for_more_than_its_owner() -> None:
    with pytest.raises(Forbidden, match=r"it takes users\.write"):
        caller(T, scopes=frozenset(Permission)).require(Permission.USERS_WRITE)


def stand_in(*banks: str) -> StandIn:
    return StandIn(approver=PrincipalId("dora"), group=GroupId("deputies"), banks=frozenset(banks))


@pytest.mark.parametrize(
    ("own", "his", "bank", "allowed"),
    [
        ((BANK,), (BANK,), BANK, True),
        ((BANK,), ("*",), BANK, True),
        ((BANK,), (OTHER,), BANK, False),
        ((BANK,), ("*",), OTHER, False),
        (("*",), (OTHER,), OTHER, True),
        ((BANK,), (OTHER,), None, True),
    ],
)
def test_who_stands_in_for_an_approver_approves_where_both_have_the_bank(
    own: tuple[str, ...], his: tuple[str, ...], bank: str | None, *, allowed: bool
) -> None:
    deputy = caller(V, banks=own, stands_in=(stand_in(*his),))
    assert deputy.may(Permission.DEALS_APPROVE, bank) is allowed
    assert not deputy.may(Permission.DEALS_START)


def test_who_stands_in_where_only_the_approver_has_the_bank_is_told_of_the_bank() -> None:
    with pytest.raises(Forbidden, match="for bank beta"):
        caller(V, stands_in=(stand_in(OTHER),)).require(Permission.DEALS_APPROVE, OTHER)


def test_the_roles_that_allow_something_are_told_in_their_order() -> None:
    assert roles_with(Permission.DEALS_UNWIND) == (S, R, O)


def test_a_bank_is_a_name_or_the_star() -> None:
    assert has_bank(frozenset({"*"}), "anything")
    assert not has_bank(frozenset(), "anything")
    with pytest.raises(ValidationError):
        caller(V, banks=("Not A Bank",))


def test_who_is_the_principals_name() -> None:
    assert caller(V).who == PrincipalId("carol")
