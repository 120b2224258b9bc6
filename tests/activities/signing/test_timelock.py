"""What the signer lets the fee account tell the timelock, and everything that it does not."""

import tomllib
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from activities.database import Pool
from activities.protocols import timelock
from activities.protocols.abi import Function
from activities.signing.document import PolicyDocument
from activities.signing.findings import Rule
from activities.signing.interface import SignBatch
from activities.signing.providers.local import LocalKeyProvider
from activities.signing.rules import compile_policy
from activities.signing.signer import Signer
from domain.deals import Step
from domain.errors import InvalidConfiguration, SigningRefused
from domain.identifiers import Address, ModuleId
from domain.operations import NO_PREDECESSOR, Scheduled, salt_of
from domain.transactions import TRANSFER_GAS, Asset, BatchKey, Bound, Intent, PreparedBatch
from tests.activities.signing.samples import FEES, POLICY, PROFILE, PROFILES, STRANGER, USDT
from tests.activities.signing.samples import order_of as order
from tests.activities.signing.timelocks import TIMELOCK_RULES
from workers.runtime.settings import DEFAULT_CONFIG_DIR
from workers.runtime.signing_policy import POLICY_FILE

OWNER: Final = "operation-raise"
DELAY: Final = 3_600
NOW: Final = 1_800_000_000
CONTRACT: Final = PROFILE.contract("timelock")
REDEMPTION: Final = PROFILE.contract("redemption")
GOVERNOR: Final = PROFILE.contract("safe_governor")
SAFE: Final = PROFILE.contract("treasury_safe")
FIVE: Final = timelock.SET_FEE.encode(5)
NOBODY: Final = "0x" + "00" * 20

Sign = Callable[..., Awaitable[None]]


def call(target: Address = REDEMPTION, data: str = FIVE, **changes: Any) -> Scheduled:
    """The operation that the tests schedule, with some of it changed."""
    salt = changes.pop("salt", salt_of(_owner()))
    return Scheduled(
        timelock=CONTRACT,
        target=target,
        data=data,
        salt=salt,
        delay_seconds=changes.pop("delay_seconds", DELAY),
        timelock_id=timelock.identity(target, data, salt),
    )


def _owner() -> Any:
    return BatchKey.model_validate({"deal_id": OWNER, "step": "schedule"}).deal_id


def data_of(step: Step, scheduled: Scheduled) -> str:
    """What is told to the timelock in a step."""
    return {
        Step.SCHEDULE: timelock.schedule_call,
        Step.EXECUTE: timelock.execute_call,
        Step.REVOKE: timelock.cancel_call,
    }[step](scheduled)


@pytest.fixture
def clock() -> list[int]:
    """The signer's clock, in Unix seconds."""
    return [NOW]


@pytest.fixture
async def fee(keys: LocalKeyProvider, pool: Pool) -> Address:
    """The fee account."""
    return (await Signer(POLICY, keys, pool).fee_account()).address


@pytest.fixture
def sign(keys: LocalKeyProvider, pool: Pool, fee: Address, clock: list[int]) -> Sign:
    """Ask the signer to sign a batch of one transaction to the timelock."""
    signer = Signer(POLICY, keys, pool, lambda: clock[0])

    async def ask(step: Step, data: str, *, nonce: int = 0, **changes: Any) -> None:
        signed = await signer.sign_batch(batch(fee, step, data, nonce, clock[0], **changes))
        assert len(signed.transactions) == 1

    return ask


def batch(fee: Address, step: Step, data: str, nonce: int, now: int, **changes: Any) -> SignBatch:
    key = BatchKey.model_validate({"deal_id": OWNER, "step": step, "attempt": nonce + 1})
    of_batch = {name: changes.pop(name) for name in ("bounds",) if name in changes}
    fields = {
        "intent_id": f"{key}/0",
        "chain_id": PROFILE.chain_id,
        "sender": fee,
        "nonce": nonce,
        "to": CONTRACT,
        "value": 0,
        "data": data,
        "gas_limit": 200_000,
        "fees": FEES,
        "purpose": "Tell the timelock",
    }
    return order(
        PreparedBatch(
            key=key,
            account=fee,
            intents=(Intent.model_validate(fields | changes),),
            simulated_block=7,
            simulated_changes={},
            prepared_at=now,
            **{"bounds": ()} | of_batch,
        )
    )


CHANGES: Final = {
    "treasury": (PROFILE.contract("desk_registry"), timelock.SET_TREASURY.encode(STRANGER)),
    "destination": (
        PROFILE.contract("desk_registry"),
        timelock.SET_DESTINATION.encode(STRANGER, True),  # noqa: FBT003 - the ABI's order
    ),
    "owner": (GOVERNOR, timelock.SWAP_OWNER.encode(SAFE, STRANGER, USDT)),
    "fee": (REDEMPTION, FIVE),
    "cap": (REDEMPTION, timelock.SET_CAP.encode(10**12)),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_each_change_is_scheduled_and_executed_when_its_delay_is_over(
    sign: Sign, clock: list[int], change: str
) -> None:
    scheduled = call(*CHANGES[change])
    await sign(Step.SCHEDULE, timelock.schedule_call(scheduled))
    clock[0] += DELAY
    await sign(Step.EXECUTE, timelock.execute_call(scheduled), nonce=1)


def _with_target(to: Address, data: str) -> dict[str, Any]:
    return {"data": timelock.schedule_call(call(to, data))}


_RAW: Final = bytes.fromhex
_BODY: Final = (
    REDEMPTION,
    0,
    _RAW(FIVE[2:]),
    _RAW(NO_PREDECESSOR[2:]),
    _RAW(salt_of(_owner())[2:]),
)


def _schedule(position: int, value: object) -> dict[str, Any]:
    """One argument of the schedule changed."""
    arguments: list[object] = [*_BODY, DELAY]
    arguments[position] = value
    return {"data": timelock.SCHEDULE.encode(*arguments)}


SPOILT: Final[list[tuple[Rule, dict[str, Any]]]] = [
    (Rule.DESTINATION, {"to": REDEMPTION}),
    (Rule.VALUE, {"value": 1}),
    (Rule.GAS_LIMIT, {"gas_limit": 500_001}),
    (Rule.SPENDS_REST, {"spends_rest": True}),
    (Rule.SEQUENCE, {"bounds": (Bound(asset=Asset.PAR, minimum=0, maximum=1),)}),
    (Rule.SENDER, {"sender": STRANGER}),
    (Rule.SELECTOR, {"data": Function("grantRole(bytes32,address)").encode(bytes(32), STRANGER)}),
    (Rule.SELECTOR, {"data": Function("updateDelay(uint256)").encode(1)}),
    (Rule.SELECTOR, {"data": timelock.schedule_call(call()) + "00"}),
    (Rule.OPERATION_CALL, _schedule(0, USDT)),
    (Rule.OPERATION_CALL, _schedule(0, CONTRACT)),
    (Rule.OPERATION_CALL, _schedule(0, SAFE)),
    (Rule.OPERATION_CALL, _schedule(1, 1)),
    (
        Rule.OPERATION_CALL,
        _with_target(REDEMPTION, Function("transferOwnership(address)").encode(STRANGER)),
    ),
    (
        Rule.OPERATION_CALL,
        _with_target(REDEMPTION, Function("setOperator(address)").encode(STRANGER)),
    ),
    (Rule.CALLDATA, _with_target(REDEMPTION, FIVE + "00")),
    (Rule.OPERATION_ARGUMENT, _with_target(REDEMPTION, timelock.SET_FEE.encode(1_001))),
    (
        Rule.OPERATION_ARGUMENT,
        _with_target(PROFILE.contract("desk_registry"), timelock.SET_TREASURY.encode(NOBODY)),
    ),
    (
        Rule.OPERATION_ARGUMENT,
        _with_target(GOVERNOR, timelock.SWAP_OWNER.encode(STRANGER, STRANGER, USDT)),
    ),
    (Rule.OPERATION_SALT, _schedule(3, bytes(31) + b"\1")),
    (Rule.OPERATION_SALT, _schedule(4, bytes(32))),
    (Rule.OPERATION_DELAY, _schedule(5, DELAY - 1)),
    (Rule.OPERATION_DELAY, _schedule(5, 2_592_001)),
]


@pytest.mark.parametrize(("rule", "spoilt"), SPOILT, ids=lambda value: str(value)[:40])
async def test_one_field_changed_it_is_not_scheduled(
    sign: Sign, rule: Rule, spoilt: dict[str, Any]
) -> None:
    fields = {"data": timelock.schedule_call(call())} | spoilt
    with pytest.raises(SigningRefused) as refused:
        await sign(Step.SCHEDULE, **fields)
    assert refused.value.problem.field == rule
    await sign(Step.SCHEDULE, timelock.schedule_call(call()))


@pytest.mark.parametrize("step", [Step.EXECUTE, Step.REVOKE])
@pytest.mark.parametrize(
    "other",
    [
        call(data=timelock.SET_FEE.encode(6)),
        call(data=timelock.SET_CAP.encode(5)),
        call(*CHANGES["treasury"]),
        call(salt="0x" + "11" * 32),
    ],
    ids=["calldata", "function", "target", "salt"],
)
async def test_only_what_was_scheduled_is_executed_or_cancelled(
    sign: Sign, clock: list[int], step: Step, other: Scheduled
) -> None:
    await sign(Step.SCHEDULE, timelock.schedule_call(call()))
    clock[0] += DELAY
    with pytest.raises(SigningRefused) as refused:
        await sign(step, data_of(step, other), nonce=1)
    assert refused.value.problem.field in {Rule.OPERATION, Rule.OPERATION_SALT}
    await sign(step, data_of(step, call()), nonce=1)


@pytest.mark.parametrize("step", [Step.EXECUTE, Step.REVOKE])
async def test_what_was_never_scheduled_is_refused(sign: Sign, step: Step) -> None:
    with pytest.raises(SigningRefused) as refused:
        await sign(step, data_of(step, call()))
    assert refused.value.problem.field == Rule.OPERATION


async def test_it_is_not_executed_a_second_early(sign: Sign, clock: list[int]) -> None:
    await sign(Step.SCHEDULE, timelock.schedule_call(call()))
    clock[0] += DELAY - 1
    with pytest.raises(SigningRefused) as refused:
        await sign(Step.EXECUTE, timelock.execute_call(call()), nonce=1)
    assert refused.value.problem.field == Rule.OPERATION_EARLY
    clock[0] += 1
    await sign(Step.EXECUTE, timelock.execute_call(call()), nonce=1)


@pytest.mark.parametrize("step", [Step.EXECUTE, Step.SCHEDULE])
async def test_what_was_cancelled_is_neither_executed_nor_scheduled_again(
    sign: Sign, clock: list[int], step: Step
) -> None:
    await sign(Step.SCHEDULE, timelock.schedule_call(call()))
    await sign(Step.REVOKE, timelock.cancel_call(call()), nonce=1)
    clock[0] += DELAY
    with pytest.raises(SigningRefused) as refused:
        await sign(step, data_of(step, call()), nonce=2)
    assert refused.value.problem.field == Rule.OPERATION_CANCELLED


async def test_one_name_is_one_operation(sign: Sign) -> None:
    await sign(Step.SCHEDULE, timelock.schedule_call(call()))
    other, longer = call(data=timelock.SET_FEE.encode(6)), call(delay_seconds=DELAY + 1)
    for changed, rule in ((other, Rule.OPERATION), (longer, Rule.OPERATION_DELAY)):
        with pytest.raises(SigningRefused) as refused:
            await sign(Step.SCHEDULE, timelock.schedule_call(changed), nonce=1)
        assert refused.value.problem.field == rule


def test_every_rule_of_the_timelock_is_tested_here() -> None:
    named = {rule for rule in Rule if rule.startswith("operation")}
    assert named == TIMELOCK_RULES


@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("min_delay_seconds", 60, "min_delay_seconds"),
        ("max_delay_seconds", 60, "max_delay_seconds"),
        ("contract", "redemption", "contract"),
        ("operations", {"a": {"to": "redemption", "function": "x()"}}, "operations.a.function"),
        (
            "operations",
            {"a": {"to": "redemption", "function": "setFeeBps(uint256)"}},
            "operations.a.max_value",
        ),
        (
            "operations",
            {"a": {"to": "nothing", "function": "setTreasury(address)"}},
            "operations.a.to",
        ),
    ],
)
def test_a_policy_that_makes_no_sense_is_named(field: str, value: object, path: str) -> None:
    document = tomllib.loads((DEFAULT_CONFIG_DIR / POLICY_FILE).read_text())
    document["chains"]["138"]["timelock"][field] = value
    with pytest.raises(InvalidConfiguration) as wrong:
        compile_policy(PolicyDocument.model_validate(document), PROFILES)
    assert wrong.value.problem.field == f"chains.138.timelock.{path}"


def test_without_its_section_nothing_is_told_to_a_timelock() -> None:
    document = tomllib.loads((DEFAULT_CONFIG_DIR / POLICY_FILE).read_text())
    del document["chains"]["138"]["timelock"]
    policy = compile_policy(PolicyDocument.model_validate(document), PROFILES)
    assert policy.chains[PROFILE.chain_id].timelock is None
    assert ModuleId("usdtz") in policy.chains[PROFILE.chain_id].modules


@pytest.mark.parametrize("step", [Step.SCHEDULE, Step.EXECUTE, Step.REVOKE])
async def test_a_nonce_of_the_fee_account_that_nothing_holds_can_be_filled(
    sign: Sign, fee: Address, step: Step
) -> None:
    """In the name of the operation that the account has sent last."""
    await sign(step, "0x", to=fee, gas_limit=TRANSFER_GAS, bounds=())
