"""The table of refusals: one field of a batch that would be signed is changed, for every rule."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from activities.protocols.aave import ALL, BORROW, REPAY, SUPPLY, WITHDRAW
from activities.protocols.abi import Function
from activities.protocols.erc20 import APPROVE, TRANSFER
from activities.protocols.redemption import REDEEM
from activities.protocols.safe import EXEC_TRANSACTION
from activities.protocols.weth import DEPOSIT
from activities.protocols.weth import WITHDRAW as UNWRAP
from activities.signing.calls import MOST_INTENTS
from activities.signing.findings import Rule
from activities.signing.interface import DealAccounts, SignBatch
from activities.signing.records import DealRecord
from activities.signing.rules import SigningPolicy
from domain.deals import Step
from domain.exits import debt_bound
from domain.identifiers import Address, ChainId, ModuleId
from domain.limits import MAX_PIPELINED_CYCLES
from domain.transactions import Asset, Bound, Fees
from tests.activities.signing.samples import (
    BORROWED,
    BOUGHT,
    CHAIN,
    DEBT,
    ETHER,
    FEES,
    POLICY,
    POOL,
    PROFILE,
    REDEMPTION,
    ROUTER,
    STRANGER,
    USDT,
    USDTZ,
    WETH,
    Batches,
    changed_policy,
    order_of,
    purchase_data,
    spoil,
    swap_data,
)

ACCOUNTS = DealAccounts(
    account=Address("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
    treasury=Address("0x8C8d35429F74ec245F8Ef2f4Fd1e551cFF97d650"),
)
DEAL_RECORD = DealRecord(ACCOUNTS, chain_id=CHAIN)
SAFE_ACCOUNTS = DealAccounts(
    account=ACCOUNTS.account,
    treasury=PROFILE.contract(PROFILE.multisig.safe),
    fee=Address("0x98e503f35D0a019cB0a251aD243a4cCFCF371F46"),
    hot_treasury=ACCOUNTS.treasury,
)
ACCOUNT, TREASURY = ACCOUNTS.account, ACCOUNTS.treasury
BATCHES = Batches(ACCOUNTS)
NOW = int(time.time())

Spoil = Callable[[], SignBatch]


@dataclass(frozen=True)
class Refusal:
    """A batch that is refused, and why; `fee_cap` is the deal's own, in wei per gas."""

    rule: Rule
    order: Spoil
    policy: SigningPolicy = POLICY
    fee_cap: int | None = None
    safe: bool = False
    """Whether the deal's treasury is the Safe."""

    @property
    def deal(self) -> DealRecord:
        """What the signer has recorded of the deal."""
        return DealRecord(SAFE_ACCOUNTS if self.safe else ACCOUNTS, self.fee_cap, CHAIN)


def order(step: Step, **options: Any) -> SignBatch:
    return BATCHES.order(step, **options)


def changed(step: Step, index: int, **fields: Any) -> Spoil:
    return lambda: spoil(order(step), index, **fields)


def on_chain(valid: SignBatch, chain_id: ChainId) -> SignBatch:
    """The whole of an order for another chain, where the same may be signed for other deals."""
    moved = [intent.model_copy(update={"chain_id": chain_id}) for intent in valid.batch.intents]
    anew = order_of(valid.batch.model_copy(update={"intents": tuple(moved)}))
    return anew.model_copy(update={"chain_id": chain_id})


def called(step: Step, index: int, function: Function, *arguments: object) -> Spoil:
    return changed(step, index, data=function.encode(*arguments))


def swapped(**arguments: Any) -> Spoil:
    return lambda: spoil(order(Step.SWAP), 2, data=swap_data(**{"recipient": ACCOUNT} | arguments))


def purchased(approved: int = BORROWED, **arguments: Any) -> Spoil:
    """A run with another purchase, and an allowance for it."""

    def build() -> SignBatch:
        allowed = spoil(order(Step.RUN), 4, data=APPROVE.encode(ROUTER, approved))
        return spoil(allowed, 5, data=purchase_data(**{"recipient": ACCOUNT} | arguments))

    return build


def fees(maximum: int, priority: int) -> Fees:
    return Fees(max_fee_per_gas=maximum, max_priority_fee_per_gas=priority)


def of(step: Step, *positions: int) -> Spoil:
    """The step's batch with only these intents, in this order, numbered anew."""

    def build() -> SignBatch:
        batch = order(step).batch
        intents = tuple(
            batch.intents[position].model_copy(update={"nonce": number, "intent_id": f"i{number}"})
            for number, position in enumerate(positions)
        )
        return order_of(batch.model_copy(update={"intents": intents}))

    return build


def appended(step: Step, index: int, more: str) -> SignBatch:
    valid = order(step)
    return spoil(valid, index, data=valid.batch.intents[index].data + more)


def cut(step: Step, index: int, count: int) -> SignBatch:
    valid = order(step)
    return spoil(valid, index, data=valid.batch.intents[index].data[: -2 * count])


def dirty(step: Step, index: int) -> SignBatch:
    """A byte in the padding before an address, which the contract would ignore or refuse."""
    valid = order(step)
    data = valid.batch.intents[index].data
    return spoil(valid, index, data=data[:10] + "01" + data[12:])


def without_changes(step: Step) -> SignBatch:
    """A simulation that saw no repayment gives no bound for one."""
    changes: dict[Asset, int] = {}
    return order_of(order(step).batch.model_copy(update={"simulated_changes": changes}))


TRANSFER_FROM = Function("transferFrom(address,address,uint256)")
SET_OWNER = Function("transferOwnership(address)")

_CASES: list[tuple[str, Spoil]] = [
    ("digest", lambda: order(Step.SWAP).model_copy(update={"digest": "0" * 64})),
    ("chain_id", lambda: order(Step.SWAP).model_copy(update={"chain_id": ChainId(1)})),
    ("chain_id", changed(Step.SWAP, 1, chain_id=ChainId(651940))),
    ("chain_id", lambda: order(Step.SWAP).model_copy(update={"chain_id": ChainId(651940)})),
    ("chain_id", lambda: on_chain(order(Step.FUND), ChainId(651940))),
    ("module", lambda: order(Step.SWAP).model_copy(update={"module": ModuleId("other")})),
    (
        "account",
        lambda: order_of(order(Step.SWAP).batch.model_copy(update={"account": STRANGER})),
    ),
    ("intents", of(Step.SWAP)),
    ("intents", of(Step.SWAP, *(0,) * (MOST_INTENTS + 1))),
    ("intent_id", changed(Step.SWAP, 1, intent_id="alpha/swap/1/1/0")),
    ("intent_id", changed(Step.SWAP, 1, intent_id="two\nlines")),
    ("intent_id", changed(Step.SWAP, 1, intent_id="")),
    ("intent_id", changed(Step.SWAP, 1, intent_id="x" * 201)),
    ("sender", changed(Step.SWAP, 1, sender=STRANGER)),
    ("sender", changed(Step.SWAP, 1, sender=TREASURY)),
    ("sender", changed(Step.SWEEP, 1, sender=TREASURY)),
    ("sender", changed(Step.FUND, 0, sender=ACCOUNT)),
    ("sender", changed(Step.TOP_UP, 0, sender=ACCOUNT)),
    ("nonce", changed(Step.SWAP, 2, nonce=3)),
    ("nonce", changed(Step.SWAP, 2, nonce=1)),
    ("max_fee_per_gas", changed(Step.SWAP, 0, fees=fees(PROFILE.fees.max_fee_per_gas_wei + 1, 1))),
    ("max_priority_fee_per_gas", changed(Step.SWAP, 0, fees=fees(10, 11))),
    ("gas_limit", changed(Step.SWAP, 2, gas_limit=900_001)),
    ("gas_limit", changed(Step.SWAP, 1, gas_limit=150_001)),
    ("gas_limit", changed(Step.FUND, 0, gas_limit=50_001)),
    ("gas_limit", changed(Step.SWEEP, 1, gas_limit=21_001)),
    ("gas_limit", lambda: spoil(BATCHES.no_op(), 0, gas_limit=21_001)),
    ("spends_rest", changed(Step.FUND, 0, spends_rest=True)),
    ("spends_rest", changed(Step.WRAP, 0, spends_rest=True)),
    ("spends_rest", lambda: spoil(BATCHES.no_op(), 0, spends_rest=True)),
    ("value", changed(Step.BORROW, 0, value=1)),
    ("value", changed(Step.SWAP, 2, value=1)),
    ("value", changed(Step.WRAP, 0, value=0)),
    ("value", changed(Step.FUND, 0, value=0)),
    ("value", changed(Step.SWEEP, 1, value=0)),
    ("destination", changed(Step.FUND, 0, to=STRANGER)),
    ("destination", changed(Step.FUND, 0, to=TREASURY)),
    ("destination", changed(Step.SWEEP, 1, to=STRANGER)),
    ("destination", changed(Step.WRAP, 0, to=STRANGER)),
    ("destination", changed(Step.COLLATERALIZE, 1, to=ROUTER)),
    ("destination", changed(Step.SWAP, 2, to=REDEMPTION)),
    ("destination", lambda: spoil(BATCHES.no_op(), 0, to=STRANGER)),
    ("destination", lambda: spoil(BATCHES.no_op(), 0, value=1)),
    ("selector", changed(Step.WRAP, 0, data="0x")),
    ("selector", changed(Step.WRAP, 0, data="0x" + DEPOSIT.selector.hex()[:6])),
    ("selector", changed(Step.FUND, 0, data="0x00000000")),
    ("selector", called(Step.COLLATERALIZE, 1, BORROW, WETH, 1, 2, 0, ACCOUNT)),
    ("selector", called(Step.BORROW, 0, WITHDRAW, WETH, ALL, ACCOUNT)),
    ("selector", called(Step.COLLATERALIZE, 0, TRANSFER, POOL, 1)),
    ("selector", called(Step.SWAP, 1, TRANSFER_FROM, ACCOUNT, STRANGER, 1)),
    ("selector", called(Step.REDEEM, 1, SET_OWNER, ACCOUNT)),
    ("sequence", of(Step.SWAP, 2, 1)),
    ("sequence", of(Step.SWAP, 0, 0, 0)),
    ("sequence", of(Step.SETTLE, 3, 2)),
    ("sequence", of(Step.SETTLE, 4, 4)),
    ("sequence", of(Step.SWEEP, 1, 0)),
    ("calldata", lambda: appended(Step.SWAP, 2, "00")),
    ("calldata", lambda: appended(Step.WRAP, 0, "00" * 32)),
    ("calldata", lambda: cut(Step.COLLATERALIZE, 1, 32)),
    ("calldata", lambda: cut(Step.COLLATERALIZE, 1, 1)),
    ("calldata", lambda: dirty(Step.COLLATERALIZE, 1)),
    ("token", called(Step.COLLATERALIZE, 1, SUPPLY, USDT, 9 * ETHER, ACCOUNT, 0)),
    ("recipient", called(Step.COLLATERALIZE, 1, SUPPLY, WETH, 9 * ETHER, STRANGER, 0)),
    ("recipient", called(Step.COLLATERALIZE, 1, SUPPLY, WETH, 9 * ETHER, TREASURY, 0)),
    ("referral", called(Step.COLLATERALIZE, 1, SUPPLY, WETH, 9 * ETHER, ACCOUNT, 1)),
    ("amount", called(Step.COLLATERALIZE, 1, SUPPLY, WETH, 0, ACCOUNT, 0)),
    ("amount", called(Step.COLLATERALIZE, 1, SUPPLY, WETH, 2**128, ACCOUNT, 0)),
    ("token", called(Step.BORROW, 0, BORROW, WETH, 1, 2, 0, ACCOUNT)),
    ("amount", called(Step.BORROW, 0, BORROW, USDT, 0, 2, 0, ACCOUNT)),
    ("rate_mode", called(Step.BORROW, 0, BORROW, USDT, 1, 1, 0, ACCOUNT)),
    ("referral", called(Step.BORROW, 0, BORROW, USDT, 1, 2, 7, ACCOUNT)),
    ("recipient", called(Step.BORROW, 0, BORROW, USDT, 1, 2, 0, STRANGER)),
    ("token", swapped(token_in=USDTZ, token_out=USDT)),
    ("token", swapped(token_out=WETH)),
    ("pool_fee", swapped(fee=3000)),
    ("recipient", swapped(recipient=STRANGER)),
    ("recipient", swapped(recipient=ROUTER)),
    ("deadline", swapped(deadline=0)),
    ("deadline", swapped(deadline=NOW + 3601)),
    ("deadline", swapped(deadline=2**256 - 1)),
    ("amount", swapped(amount=0)),
    ("minimum_out", swapped(minimum=0)),
    ("approved_amount", swapped(amount=BORROWED - 1)),
    ("recipient", called(Step.REDEEM, 1, REDEEM, BOUGHT, STRANGER)),
    ("recipient", called(Step.REDEEM, 1, REDEEM, BOUGHT, TREASURY)),
    ("amount", called(Step.REDEEM, 1, REDEEM, 0, ACCOUNT)),
    ("recipient", called(Step.TOP_UP, 0, TRANSFER, STRANGER, 1)),
    ("recipient", called(Step.TOP_UP, 0, TRANSFER, TREASURY, 1)),
    ("amount", called(Step.TOP_UP, 0, TRANSFER, ACCOUNT, 0)),
    ("amount", called(Step.SETTLE, 1, REPAY, USDT, DEBT, 2, ACCOUNT)),
    ("token", called(Step.SETTLE, 1, REPAY, WETH, ALL, 2, ACCOUNT)),
    ("rate_mode", called(Step.SETTLE, 1, REPAY, USDT, ALL, 1, ACCOUNT)),
    ("recipient", called(Step.SETTLE, 1, REPAY, USDT, ALL, 2, STRANGER)),
    ("token", called(Step.SETTLE, 2, WITHDRAW, USDT, ALL, ACCOUNT)),
    ("amount", called(Step.SETTLE, 2, WITHDRAW, WETH, 1, ACCOUNT)),
    ("recipient", called(Step.SETTLE, 2, WITHDRAW, WETH, ALL, TREASURY)),
    ("amount", called(Step.SETTLE, 3, UNWRAP, 0)),
    ("recipient", called(Step.SETTLE, 4, TRANSFER, STRANGER, 1)),
    ("recipient", called(Step.SETTLE, 4, TRANSFER, ACCOUNT, 1)),
    ("recipient", called(Step.SWEEP, 0, TRANSFER, STRANGER, 1)),
    ("spender", called(Step.COLLATERALIZE, 0, APPROVE, STRANGER, 9 * ETHER)),
    ("spender", called(Step.COLLATERALIZE, 0, APPROVE, ROUTER, 9 * ETHER)),
    ("spender", called(Step.SWAP, 0, APPROVE, POOL, 0)),
    ("spender", called(Step.SETTLE, 0, APPROVE, ROUTER, DEBT)),
    ("spender", called(Step.UNWIND, 0, APPROVE, ROUTER, BOUGHT)),
    ("approved_amount", called(Step.COLLATERALIZE, 0, APPROVE, POOL, 9 * ETHER + 1)),
    ("approved_amount", called(Step.SWAP, 1, APPROVE, ROUTER, 2**256 - 1)),
    ("approved_amount", called(Step.REDEEM, 0, APPROVE, REDEMPTION, BOUGHT + 1)),
    ("approved_amount", called(Step.SETTLE, 0, APPROVE, POOL, ALL)),
    (
        "approved_amount",
        called(Step.SETTLE, 0, APPROVE, POOL, debt_bound(debt_bound(DEBT)) + 1),
    ),
    ("approved_amount", lambda: without_changes(Step.SETTLE)),
    ("unused_approval", of(Step.COLLATERALIZE, 0)),
    ("unused_approval", of(Step.SWAP, 1)),
    ("unused_approval", of(Step.SWAP, 1, 1, 2)),
    ("unused_approval", of(Step.SETTLE, 0, 2)),
    ("value", changed(Step.RUN, 0, value=0)),
    ("value", changed(Step.RUN, 5, value=1)),
    ("amount", changed(Step.RUN, 0, value=9 * ETHER + 1)),
    ("approved_amount", called(Step.RUN, 2, SUPPLY, WETH, 9 * ETHER - 1, ACCOUNT, 0)),
    ("recipient", called(Step.RUN, 2, SUPPLY, WETH, 9 * ETHER, STRANGER, 0)),
    ("maximum_in", called(Step.RUN, 3, BORROW, USDT, BORROWED - 1, 2, 0, ACCOUNT)),
    ("recipient", called(Step.RUN, 3, BORROW, USDT, BORROWED, 2, 0, TREASURY)),
    ("approved_amount", called(Step.RUN, 1, APPROVE, POOL, 9 * ETHER + 1)),
    ("approved_amount", called(Step.RUN, 4, APPROVE, ROUTER, BORROWED + 1)),
    ("spender", called(Step.RUN, 4, APPROVE, POOL, BORROWED)),
    ("spender", called(Step.RUN, 4, APPROVE, REDEMPTION, BORROWED)),
    ("selector", changed(Step.RUN, 5, data=swap_data(recipient=ACCOUNT))),
    ("token", purchased(token_in=USDTZ, token_out=USDT)),
    ("token", purchased(token_out=WETH)),
    ("pool_fee", purchased(fee=3000)),
    ("recipient", purchased(recipient=STRANGER)),
    ("recipient", purchased(recipient=TREASURY)),
    ("deadline", purchased(deadline=0)),
    ("deadline", purchased(deadline=NOW + 3601)),
    ("amount", purchased(amount=0)),
    ("amount", purchased(amount=BOUGHT + 1)),
    ("maximum_in", purchased(maximum=0)),
    ("maximum_in", purchased(maximum=BORROWED + 1, approved=BORROWED + 1)),
    ("approved_amount", purchased(maximum=BORROWED - 1)),
    ("approved_amount", called(Step.RUN, 6, APPROVE, ROUTER, 1)),
    ("spender", called(Step.RUN, 6, APPROVE, STRANGER, 0)),
    ("approved_amount", called(Step.RUN, 7, APPROVE, REDEMPTION, BOUGHT + 1)),
    ("spender", called(Step.RUN, 7, APPROVE, ROUTER, BOUGHT)),
    ("amount", called(Step.RUN, 8, REDEEM, BOUGHT + 1, ACCOUNT)),
    ("approved_amount", called(Step.RUN, 8, REDEEM, BOUGHT - 1, ACCOUNT)),
    ("recipient", called(Step.RUN, 8, REDEEM, BOUGHT, TREASURY)),
    (
        "approved_amount",
        called(Step.RUN, 9, APPROVE, POOL, debt_bound(debt_bound(BORROWED)) + 1),
    ),
    ("spender", called(Step.RUN, 9, APPROVE, ROUTER, BORROWED)),
    ("amount", called(Step.RUN, 10, REPAY, USDT, BORROWED, 2, ACCOUNT)),
    ("recipient", called(Step.RUN, 10, REPAY, USDT, ALL, 2, STRANGER)),
    ("amount", called(Step.RUN, 11, WITHDRAW, WETH, 9 * ETHER, ACCOUNT)),
    ("recipient", called(Step.RUN, 11, WITHDRAW, WETH, ALL, TREASURY)),
    ("amount", called(Step.RUN, 12, UNWRAP, 9 * ETHER + 1)),
    ("calldata", lambda: cut(Step.RUN, 3, 1)),
    ("sequence", lambda: BATCHES.run(MAX_PIPELINED_CYCLES + 1)),
    ("sequence", lambda: BATCHES.run(0)),
    ("max_ether", changed(Step.FUND, 0, value=10_000 * ETHER + 1)),
    ("max_ether", changed(Step.WRAP, 0, value=10_000 * ETHER + 1)),
    ("max_ether", changed(Step.RUN, 0, value=10_000 * ETHER + 1)),
    ("max_tokens", called(Step.COLLATERALIZE, 1, SUPPLY, WETH, 10_000 * ETHER + 1, ACCOUNT, 0)),
    ("max_tokens", called(Step.BORROW, 0, BORROW, USDT, 10**13 + 1, 2, 0, ACCOUNT)),
    ("max_tokens", called(Step.TOP_UP, 0, TRANSFER, ACCOUNT, 15 * 10**12 + 1)),
    ("max_tokens", swapped(amount=10**13 + 1, minimum=10**13 + 1)),
    ("max_loss", swapped(minimum=BORROWED * 95 // 100 - 1)),
    ("max_loss", purchased(amount=BORROWED * 95 // 100 - 1)),
]


_NOBODY = "0x" + "00" * 20
_OWNER_SIGNATURE = bytes.fromhex("11" * 32 + "22" * 32 + "1b")


def funded_from_safe(**changes: object) -> SignBatch:
    """The Safe's transaction that funds the deal, sent by the fee account."""
    arguments = {
        "to": ACCOUNT,
        "value": 500 * ETHER,
        "data": b"",
        "operation": 0,
        "safe_tx_gas": 0,
        "base_gas": 0,
        "gas_price": 0,
        "gas_token": _NOBODY,
        "refund_receiver": _NOBODY,
        "signatures": _OWNER_SIGNATURE * 2,
    } | changes
    data = EXEC_TRANSACTION.encode(*arguments.values())
    fields = {"sender": SAFE_ACCOUNTS.fee, "to": SAFE_ACCOUNTS.treasury, "data": data}
    return order_of(BATCHES.of(Step.FUND, [fields | {"gas_limit": 200_000}]))


def _from_safe(rule: Rule, **changes: object) -> Refusal:
    return Refusal(rule, lambda: funded_from_safe(**changes), safe=True)


_SAFE_REFUSALS = [
    _from_safe(Rule.RECIPIENT, to=STRANGER),
    _from_safe(Rule.RECIPIENT, to=TREASURY),
    _from_safe(Rule.VALUE, value=0),
    _from_safe(Rule.MAX_ETHER, value=10_000 * ETHER + 1),
    _from_safe(Rule.SAFE_DATA, data=b"\x00"),
    _from_safe(Rule.SAFE_OPERATION, operation=1),
    _from_safe(Rule.SAFE_GAS, safe_tx_gas=1),
    _from_safe(Rule.SAFE_GAS, base_gas=1),
    _from_safe(Rule.SAFE_REFUND, gas_price=1),
    _from_safe(Rule.SAFE_REFUND, gas_token=USDT),
    _from_safe(Rule.SAFE_REFUND, refund_receiver=STRANGER),
    _from_safe(Rule.SAFE_SIGNATURES, signatures=b""),
    _from_safe(Rule.SAFE_SIGNATURES, signatures=_OWNER_SIGNATURE[:-1]),
    _from_safe(Rule.SAFE_SIGNATURES, signatures=_OWNER_SIGNATURE[:-1] + b"\x00"),
    *(
        Refusal(rule, lambda fields=fields: spoil(funded_from_safe(), 0, **fields), safe=True)
        for rule, fields in (
            (Rule.SENDER, {"sender": TREASURY}),
            (Rule.SENDER, {"sender": ACCOUNT}),
            (Rule.DESTINATION, {"to": TREASURY}),
            (Rule.VALUE, {"value": 1}),
            (Rule.GAS_LIMIT, {"gas_limit": 300_001}),
            (Rule.SPENDS_REST, {"spends_rest": True}),
        )
    ),
    # Neither kind of deal is funded as the other is.
    Refusal(Rule.SENDER, funded_from_safe),
    Refusal(Rule.SENDER, lambda: order(Step.FUND), safe=True),
    Refusal(Rule.DESTINATION, lambda: order(Step.SWEEP), safe=True),
]


def _bounded(step: Step, *bounds: Bound, **fields: Any) -> Spoil:
    """The step's batch with other promises."""

    def build() -> SignBatch:
        batch = order(step).batch
        return order_of(batch.model_copy(update={"bounds": (*batch.bounds, *bounds)} | fields))

    return build


def _without(step: Step) -> SigningPolicy:
    """The policy, but this step of the way in is forbidden."""

    def forbid(document: dict[str, Any]) -> None:
        module = document["chains"]["138"]["modules"]["usdtz"]
        del module["steps"][step], module["calls"][step]
        module["steps"]["run"]["first"].remove(step)

    return changed_policy(forbid)


REFUSALS: list[Refusal] = [
    *(Refusal(Rule(rule), spoiled) for rule, spoiled in _CASES),
    *_SAFE_REFUSALS,
    Refusal(Rule.STEP, lambda: order(Step.BORROW), policy=_without(Step.BORROW)),
    Refusal(Rule.DEAL_MAX_FEE_PER_GAS, lambda: order(Step.SWAP), fee_cap=FEES.max_fee_per_gas - 1),
    Refusal(Rule.DEAL_MAX_FEE_PER_GAS, lambda: order(Step.SWEEP), fee_cap=FEES.max_fee_per_gas - 1),
    Refusal(Rule.BOUNDS, _bounded(Step.SWAP, Bound(asset=Asset.DEBT, minimum=1, maximum=2))),
    Refusal(Rule.BOUNDS, _bounded(Step.SWAP, simulated_changes={Asset.DEBT: 1})),
    Refusal(
        Rule.MINIMUM_OUT,
        _bounded(
            Step.SWAP, Bound(asset=Asset.DISCOUNT, minimum=BOUGHT + 1, maximum=BOUGHT + 9, first=2)
        ),
    ),
    Refusal(
        Rule.MAXIMUM_IN,
        _bounded(
            Step.RUN, Bound(asset=Asset.PAR, minimum=1 - BORROWED, maximum=-1, first=4, end=7)
        ),
    ),
]
"""One thing changed in a batch that would be signed, and the rule that refuses it."""
