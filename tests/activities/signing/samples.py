"""One valid batch for every step of a deal, and ways to spoil them."""

import time
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from activities.protocols.aave import ALL, BORROW, REPAY, SUPPLY, VARIABLE_RATE, WITHDRAW
from activities.protocols.erc20 import APPROVE, TRANSFER
from activities.protocols.redemption import REDEEM
from activities.protocols.uniswap import EXACT_INPUT_SINGLE, EXACT_OUTPUT_SINGLE
from activities.protocols.weth import DEPOSIT
from activities.protocols.weth import WITHDRAW as UNWRAP
from activities.signing.document import PolicyDocument
from activities.signing.interface import DealAccounts, SignBatch
from activities.signing.rules import SigningPolicy, compile_policy
from domain.deals import Step
from domain.exits import debt_bound
from domain.identifiers import Address, ChainId, DealId, ModuleId
from domain.operations import OPERATION_STEPS
from domain.transactions import Asset, BatchKey, Bound, Fees, Intent, PreparedBatch
from workers.runtime.profiles import load_profiles
from workers.runtime.settings import DEFAULT_CONFIG_DIR
from workers.runtime.signing_policy import POLICY_FILE, load_signing_policy

DEAL: Final = "alpha"
DEAL_STEPS: Final = tuple(step for step in Step if step not in OPERATION_STEPS)
MNEMONIC: Final = "test test test test test test test test test test test junk"
CHAIN: Final = ChainId(138)
PROFILES: Final = load_profiles(DEFAULT_CONFIG_DIR, {})
PROFILE: Final = PROFILES[CHAIN]
POLICY: Final = load_signing_policy(DEFAULT_CONFIG_DIR, PROFILES)
STRANGER: Final = Address("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
FEES: Final = Fees(max_fee_per_gas=2_000_000_000, max_priority_fee_per_gas=1_000_000_000)
HIGHER: Final = Fees(max_fee_per_gas=3_000_000_000, max_priority_fee_per_gas=2_000_000_000)
ETHER: Final = 10**18
BORROWED: Final = 4_000_000_000
BOUGHT: Final = 4_010_000_000
DEBT: Final = 4_000_123_456

WETH: Final = PROFILE.contract("weth")
POOL: Final = PROFILE.contract("aave_pool")
ROUTER: Final = PROFILE.contract("uniswap_router")
REDEMPTION: Final = PROFILE.contract("redemption")
USDT: Final = PROFILE.contract("usdt")
USDTZ: Final = PROFILE.contract("usdtz")


def changed_policy(edit: Callable[[dict[str, Any]], None]) -> SigningPolicy:
    """The policy with its document edited; with another version if the edit gives it one."""
    document = tomllib.loads((DEFAULT_CONFIG_DIR / POLICY_FILE).read_text())
    edit(document)
    return compile_policy(PolicyDocument.model_validate(document), PROFILES)


def with_rates(version: int = POLICY.version + 1, **rates: object) -> SigningPolicy:
    """The policy with other rates."""

    def edit(document: dict[str, Any]) -> None:
        document["version"] = version
        document["rates"] |= rates

    return changed_policy(edit)


def swap_data(**changes: Any) -> str:
    """Calldata of a swap that buys USDTz, with some arguments changed."""
    arguments = {
        "token_in": USDT,
        "token_out": USDTZ,
        "fee": PROFILE.module(ModuleId("usdtz")).pool_fee,
        "recipient": STRANGER,
        "deadline": int(time.time()) + 600,
        "amount": BORROWED,
        "minimum": BOUGHT,
        "price_limit": 0,
    } | changes
    return EXACT_INPUT_SINGLE.encode(tuple(arguments.values()))


def purchase_data(**changes: Any) -> str:
    """Calldata of a run's purchase, with some arguments changed."""
    arguments = {
        "token_in": USDT,
        "token_out": USDTZ,
        "fee": PROFILE.module(ModuleId("usdtz")).pool_fee,
        "recipient": STRANGER,
        "deadline": int(time.time()) + 600,
        "amount": BOUGHT,
        "maximum": BORROWED,
        "price_limit": 0,
    } | changes
    return EXACT_OUTPUT_SINGLE.encode(tuple(arguments.values()))


@dataclass(frozen=True)
class Batches:
    """Batches of the deal whose accounts these are."""

    accounts: DealAccounts
    deal: DealId = field(default=DealId(DEAL))

    def order(self, step: Step, **options: Any) -> SignBatch:
        """The request to sign the step's batch."""
        return order_of(self.batch(step, **options))

    def batch(
        self, step: Step, *, first_nonce: int = 0, attempt: int = 1, selling: bool = False
    ) -> PreparedBatch:
        calls = self._sale() if selling else getattr(self, f"_{step}")()
        changes = {Asset.PAR: -DEBT, Asset.DEBT: -DEBT} if step is Step.SETTLE else {}
        return self.of(step, calls, first_nonce=first_nonce, attempt=attempt, changes=changes)

    def of(
        self,
        step: Step,
        calls: Iterable[dict[str, Any]],
        *,
        first_nonce: int = 0,
        attempt: int = 1,
        changes: dict[Asset, int] | None = None,
    ) -> PreparedBatch:
        """A batch of these calls: the fields of intents that differ from the usual."""
        key = BatchKey(deal_id=self.deal, step=step, attempt=attempt)
        return PreparedBatch(
            key=key,
            account=self.accounts.account,
            intents=tuple(
                self.intent(key, index, first_nonce + index, **call)
                for index, call in enumerate(calls)
            ),
            bounds=tuple(
                Bound(asset=asset, minimum=change, maximum=change)
                for asset, change in (changes or {}).items()
            ),
            simulated_block=7,
            simulated_changes=changes or {},
            prepared_at=int(time.time()),
        )

    def intent(self, key: BatchKey, index: int, nonce: int, **fields: Any) -> Intent:
        from_treasury = key.step in {Step.FUND, Step.TOP_UP}
        usual = {
            "intent_id": f"{key}/{index}",
            "chain_id": CHAIN,
            "sender": self.accounts.treasury if from_treasury else self.accounts.account,
            "nonce": nonce,
            "value": 0,
            "data": "0x",
            "gas_limit": 120_000 if "data" in fields else 21_000,
            "fees": FEES,
            "purpose": f"Call {index}",
        }
        return Intent(**usual | fields)

    def no_op(self, step: Step = Step.SWAP, **options: Any) -> SignBatch:
        """A batch of one no-op of the sender of the step."""
        batch = self.of(step, [{"to": STRANGER}], **options)
        return order_of(
            batch.model_copy(
                update={
                    "key": batch.key.model_copy(update={"fills_gap": True}),
                    "intents": tuple(
                        intent.model_copy(
                            update={"to": intent.sender, "intent_id": f"{intent.intent_id}/fill"}
                        )
                        for intent in batch.intents
                    ),
                }
            )
        )

    def _fund(self) -> list[dict[str, Any]]:
        return [{"to": self.accounts.account, "value": 10 * ETHER}]

    def _run(self, cycles: int = 1) -> list[dict[str, Any]]:
        account = self.accounts.account
        cycle = [
            {"to": USDT, "data": APPROVE.encode(ROUTER, BORROWED)},
            {"to": ROUTER, "data": purchase_data(recipient=account)},
            {"to": USDT, "data": APPROVE.encode(ROUTER, 0)},
            *self._redeem(),
        ]
        return [
            *self._wrap(),
            *self._collateralize(),
            *self._borrow(),
            *cycle * cycles,
            {"to": USDT, "data": APPROVE.encode(POOL, debt_bound(BORROWED))},
            *self._settle()[1:4],
        ]

    def run(self, cycles: int) -> SignBatch:
        """The request to sign a run of so many cycles."""
        return order_of(self.of(Step.RUN, self._run(cycles)))

    def _wrap(self) -> list[dict[str, Any]]:
        return [{"to": WETH, "data": DEPOSIT.encode(), "value": 9 * ETHER}]

    def _collateralize(self) -> list[dict[str, Any]]:
        amount, account = 9 * ETHER, self.accounts.account
        return [
            {"to": WETH, "data": APPROVE.encode(POOL, amount)},
            {"to": POOL, "data": SUPPLY.encode(WETH, amount, account, 0)},
        ]

    def _borrow(self) -> list[dict[str, Any]]:
        data = BORROW.encode(USDT, BORROWED, VARIABLE_RATE, 0, self.accounts.account)
        return [{"to": POOL, "data": data}]

    def _swap(self) -> list[dict[str, Any]]:
        return [
            {"to": USDT, "data": APPROVE.encode(ROUTER, 0)},
            {"to": USDT, "data": APPROVE.encode(ROUTER, BORROWED)},
            {"to": ROUTER, "data": swap_data(recipient=self.accounts.account)},
        ]

    def _redeem(self) -> list[dict[str, Any]]:
        return [
            {"to": USDTZ, "data": APPROVE.encode(REDEMPTION, BOUGHT)},
            {"to": REDEMPTION, "data": REDEEM.encode(BOUGHT, self.accounts.account)},
        ]

    def _top_up(self) -> list[dict[str, Any]]:
        return [{"to": USDT, "data": TRANSFER.encode(self.accounts.account, 10**6)}]

    def _unwind(self) -> list[dict[str, Any]]:
        return self._redeem()

    def _sale(self) -> list[dict[str, Any]]:
        data = swap_data(
            recipient=self.accounts.account,
            token_in=USDTZ,
            token_out=USDT,
            amount=BOUGHT,
            minimum=BORROWED,
        )
        return [
            {"to": USDTZ, "data": APPROVE.encode(ROUTER, BOUGHT)},
            {"to": ROUTER, "data": data},
        ]

    def _settle(self) -> list[dict[str, Any]]:
        account = self.accounts.account
        return [
            {"to": USDT, "data": APPROVE.encode(POOL, debt_bound(DEBT))},
            {"to": POOL, "data": REPAY.encode(USDT, ALL, VARIABLE_RATE, account)},
            {"to": POOL, "data": WITHDRAW.encode(WETH, ALL, account)},
            {"to": WETH, "data": UNWRAP.encode(9 * ETHER)},
            {"to": USDT, "data": TRANSFER.encode(self.accounts.treasury, 10**6)},
        ]

    def _sweep(self) -> list[dict[str, Any]]:
        return [
            {"to": USDT, "data": TRANSFER.encode(self.accounts.treasury, 10**6)},
            {"to": self.accounts.treasury, "value": ETHER, "spends_rest": True},
        ]


def order_of(batch: PreparedBatch) -> SignBatch:
    """The request to sign a batch as it is, its digest included."""
    return SignBatch(chain_id=CHAIN, module=ModuleId("usdtz"), batch=batch, digest=batch.digest())


def spoil(order: SignBatch, index: int, **fields: Any) -> SignBatch:
    """The order with one intent changed, and the digest made right again, as an attacker would."""
    intents = list(order.batch.intents)
    intents[index] = intents[index].model_copy(update=fields)
    return order_of(order.batch.model_copy(update={"intents": tuple(intents)}))


def with_fees(order: SignBatch, fees: Fees) -> SignBatch:
    """The same batch at other fees."""
    return order_of(order.batch.with_fees({i.intent_id: fees for i in order.batch.intents}))
