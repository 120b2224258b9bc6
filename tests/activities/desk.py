"""One deal on the real chain, moved by hand through the engine's own activities."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cache
from itertools import count
from typing import Any, Final, Self

from pydantic import SecretBytes, SecretStr
from temporalio.testing import ActivityEnvironment

from activities.protocols.reader import ChainReader
from activities.rpc.client import Rpc
from activities.signing.providers.local import LocalKeyProvider
from activities.signing.providers.provider import TREASURY, KeyRef, deal_key
from activities.signing.rules import SigningPolicy
from activities.transactions.engine import TransactionEngine
from activities.transactions.interface import (
    DeliverBatch,
    Delivery,
    FinalizeDeal,
    FinalTransactions,
    PrepareBatch,
)
from activities.transactions.store import Pool, TransactionStore
from domain.amounts import Amount
from domain.chains import ChainProfile, EndpointProfile
from domain.deals import DealRequest, Step
from domain.identifiers import Address, BankId, ChainId, DealId, ModuleId
from domain.positions import Position
from domain.sizing import Sizing
from domain.tracking import Receipt
from domain.transactions import BatchKey, PreparedBatch, SignedTransaction, StepOutcome
from tests.activities.chain import CHAIN, DOLLAR, ETHER, GWEI, Node
from workers.runtime.profiles import load_profiles
from workers.runtime.settings import DEFAULT_CONFIG_DIR
from workers.runtime.signing_policy import load_signing_policy

MODULE: Final = ModuleId("usdtz")
WRAPPED: Final = 10 * ETHER
BORROWED: Final = 7_000 * DOLLAR  # of 30,000 USD of collateral
RESERVE: Final = ETHER
UP_TO_BORROW: Final = (Step.FUND, Step.WRAP, Step.COLLATERALIZE, Step.BORROW)
UP_TO_SWAP: Final = (*UP_TO_BORROW, Step.SWAP)
UP_TO_REDEEM: Final = (*UP_TO_SWAP, Step.REDEEM)

# A mnemonic of the tests' own: the node's well-known accounts have a history already.
_MNEMONIC: Final = b"legal winner thank year wave sausage worth useful legal winner thank yellow"
_numbers = count()


@cache
def keys() -> LocalKeyProvider:
    """The keys of the treasury and of every deal."""
    return LocalKeyProvider.from_mnemonic(SecretBytes(_MNEMONIC), "development")


def profile_for(*endpoints: str, **changes: Any) -> ChainProfile:
    """The chain's own profile with these endpoints; `fees` and `limits` are changed by field."""
    profile = load_profiles(DEFAULT_CONFIG_DIR, {})[ChainId(CHAIN)]
    limits = {"poll_interval_seconds": Decimal("0.01"), **changes.pop("limits", {})}
    update: dict[str, Any] = {
        "endpoints": [EndpointProfile(url=SecretStr(url)) for url in endpoints],
        "limits": profile.limits.model_copy(update=limits),
        "fees": profile.fees.model_copy(update=changes.pop("fees", {})),
    }
    return profile.model_copy(update=update | changes)


@dataclass(frozen=True)
class Desk:
    """A deal's account and treasury, and the engine on one profile."""

    node: Node
    pool: Pool
    profile: ChainProfile
    rpc: Rpc
    reader: ChainReader
    engine: TransactionEngine
    treasury: Address
    account: Address
    key: KeyRef
    request: DealRequest
    sizing: Sizing
    temporal: ActivityEnvironment = field(default_factory=ActivityEnvironment)

    @classmethod
    @asynccontextmanager
    async def opened(cls, node: Node, pool: Pool) -> AsyncIterator[Self]:
        """Open a deal of its own, whose treasury has ether and dollars."""
        treasury = await keys().address(TREASURY)
        node.give_ether(treasury, 1_000 * ETHER)
        if node.balance("usdt", treasury) == 0:
            node.send("usdt", "issue", 100_000 * DOLLAR)
            node.send("usdt", "transfer", treasury, 100_000 * DOLLAR)
        number = next(_numbers)
        key = deal_key(number)
        request = DealRequest(
            deal_id=DealId(f"deal-{number}"),
            bank=BankId("acme"),
            module=MODULE,
            chain_id=ChainId(CHAIN),
            working_liquidity=Amount(units=WRAPPED, decimals=18),
        )
        rpc, reader, engine, profile = _engine(profile_for(node.url), pool, treasury)
        desk = cls(
            node=node,
            pool=pool,
            profile=profile,
            rpc=rpc,
            reader=reader,
            engine=engine,
            treasury=treasury,
            account=await keys().address(key),
            key=key,
            request=request,
            sizing=_sizing(),
        )
        try:
            yield desk
        finally:
            await rpc.close()

    @asynccontextmanager
    async def over(self, *endpoints: str, **changes: Any) -> AsyncIterator["Desk"]:
        """The same deal run by another process, over these endpoints and with other limits."""
        profile = profile_for(*(endpoints or (self.node.url,)), **changes)
        rpc, reader, engine, profile = _engine(profile, self.pool, self.treasury)
        try:
            yield replace(self, rpc=rpc, reader=reader, engine=engine, profile=profile)
        finally:
            await rpc.close()

    def asking(self, **changes: Any) -> "Desk":
        """The same deal with another request."""
        return replace(self, request=self.request.model_copy(update=changes))

    def sized(self, **changes: Any) -> "Desk":
        """The same deal at other sizes."""
        return replace(self, sizing=self.sizing.model_copy(update=changes))

    async def another(self) -> "Desk":
        """Another deal of the same treasury."""
        number = next(_numbers)
        key = deal_key(number)
        request = self.request.model_copy(update={"deal_id": DealId(f"deal-{number}")})
        return replace(self, key=key, account=await keys().address(key), request=request)

    @property
    def policy(self) -> SigningPolicy:
        """What the signer would hold the deal's batches to."""
        return load_signing_policy(DEFAULT_CONFIG_DIR, load_profiles(DEFAULT_CONFIG_DIR, {}))

    @property
    def store(self) -> TransactionStore:
        return TransactionStore(self.pool)

    def order(self, step: Step, *, number: int = 1, attempt: int = 1) -> PrepareBatch:
        key = BatchKey(deal_id=self.request.deal_id, step=step, round=number, attempt=attempt)
        return PrepareBatch(key=key, request=self.request, sizing=self.sizing, account=self.account)

    async def prepare(self, step: Step, **options: int) -> PreparedBatch:
        batch: PreparedBatch = await self.temporal.run(
            self.engine.prepare_batch, self.order(step, **options)
        )
        return batch

    async def sign(self, batch: PreparedBatch) -> tuple[SignedTransaction, ...]:
        from_treasury = batch.intents[0].sender == self.treasury
        key = TREASURY if from_treasury else self.key
        legacy = self.profile.fees.kind == "legacy"
        return await keys().sign(key, batch.intents, legacy=legacy)

    async def signed(self, batch: PreparedBatch) -> DeliverBatch:
        """The order to deliver this batch, signed."""
        return DeliverBatch(batch=batch, signed=await self.sign(batch), request=self.request)

    async def deliver(self, order: DeliverBatch) -> Delivery:
        delivery: Delivery = await self.temporal.run(self.engine.deliver_batch, order)
        return delivery

    async def deliver_in_one_block(self, order: DeliverBatch) -> Delivery:
        """The same, mined when all of it has been sent."""
        self.node.automine(on=False)
        try:
            delivering = asyncio.ensure_future(self.deliver(order))
            while self.node.pending() < len(order.signed) and not delivering.done():  # noqa: ASYNC110 - nobody tells us, so we ask
                await asyncio.sleep(0.005)
            self.node.mine()
        finally:
            self.node.automine(on=True)
        return await delivering

    async def finalize(self) -> tuple[Receipt, ...]:
        order = FinalizeDeal(deal_id=self.request.deal_id, chain_id=ChainId(CHAIN))
        final: FinalTransactions = await self.temporal.run(self.engine.finalize_deal, order)
        return final.receipts

    async def run(self, step: Step, **options: int) -> StepOutcome:
        """Prepare, sign and deliver a step, which must keep what it promised."""
        delivery = await self.deliver(await self.signed(await self.prepare(step, **options)))
        assert delivery.outcome is not None
        assert delivery.outcome.problem is None, delivery.outcome.problem
        return delivery.outcome

    async def walk(self, steps: Iterable[Step]) -> Position:
        """Run these steps, and return where that leaves the account."""
        outcomes = [await self.run(step) for step in steps]
        return outcomes[-1].position

    async def position(self) -> Position:
        return await self.reader.position(MODULE, self.account)

    async def sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows, as the engine's own role sees them."""
        async with self.pool.connection() as connection:
            cursor = await connection.execute(statement, parameters)  # type: ignore[arg-type]
            return await cursor.fetchall() if cursor.description else []

    async def states(self, batch: PreparedBatch) -> list[str]:
        """The states of the batch's intents in the database."""
        rows = await self.sql(
            "SELECT state FROM transactions.intents WHERE batch_key = %s ORDER BY nonce",
            str(batch.key),
        )
        return [str(row[0]) for row in rows]


def _engine(
    profile: ChainProfile, pool: Pool, treasury: Address
) -> tuple[Rpc, ChainReader, TransactionEngine, ChainProfile]:
    rpc = Rpc(profile)
    reader = ChainReader(profile, rpc)
    return rpc, reader, TransactionEngine(profile, rpc, reader, pool, treasury), profile


def _sizing() -> Sizing:
    return Sizing(
        wrap_wei=WRAPPED,
        gas_reserve_wei=RESERVE,
        borrow=BORROWED,
        par_decimals=6,
        cycles=1,
        bound_by="max_ltv",
        expected_ltv_bps=2_334,
        expected_exposure_bps=2_400,
        expected_gas_wei=10_000_000 * GWEI,
        expected_interest=1,
        expected_profit_usd8=1,
    )
