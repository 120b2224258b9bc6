"""What a row of the fault model is played with: one rig, lanes behind fronts, blocks on demand."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

from temporalio.client import WorkflowHandle

from domain.deals import Step
from tests.activities.rpc.front import Front, front_of
from tests.faults.batches import Ended, LedgerBatches
from tests.faults.rig import Lane, Rig, batch_keys, eventually
from tests.faults.verdict import Verdict, of_account, of_intents

Batches = WorkflowHandle[LedgerBatches, list[Ended]]
BLOCK_SECONDS: Final = 1
WITHIN: Final = 90.0


@dataclass
class Setting:
    """One rig, mined every second unless a row holds the blocks."""

    rig: Rig
    say: Callable[[str], None]
    dice: random.Random
    away_seconds: float
    """How long a server is away in the row of the outages."""
    depth: int
    """Blocks until final on this rig."""

    @asynccontextmanager
    async def lane(
        self, name: str, endpoints: int = 1, copies: int = 1
    ) -> AsyncIterator[tuple[Lane, list[Front]]]:
        """A lane whose workers reach the node through fronts."""
        async with AsyncExitStack() as stack:
            fronts = [
                await stack.enter_async_context(front_of(self.rig.endpoint))
                for _ in range(endpoints)
            ]
            urls = [front.url for front in fronts]
            yield await stack.enter_async_context(self.rig.lane(name, *urls, copies=copies)), fronts

    @contextmanager
    def held(self) -> Iterator[None]:
        """Mine no block by itself until this ends."""
        self.rig.node.ask("evm_setIntervalMining", 0)
        try:
            yield
        finally:
            self.rig.node.ask("evm_setIntervalMining", BLOCK_SECONDS)

    def mine(self, blocks: int = 1) -> None:
        """Mine some blocks, with all that waits in the first of them."""
        for _ in range(blocks):
            self.rig.node.mine()

    def mine_at(self, base_fee_wei: int, blocks: int = 1) -> None:
        """Mine some blocks that ask for this base fee."""
        for _ in range(blocks):
            self.rig.node.ask("anvil_setNextBlockBaseFeePerGas", hex(base_fee_wei))
            self.rig.node.mine()

    def reorg(self, depth: int) -> None:
        """Put as many empty blocks in the place of the last; what they held is forgotten."""
        self.rig.node.ask("anvil_reorg", depth, [])

    def states(self, deal_id: str) -> list[str]:
        """The states of the deal's intents, in the order of their nonces."""
        return [intent.state for intent in self.rig.books.intents(deal_id)]

    def hashes(self, deal_id: str) -> list[str]:
        """All attempts of the deal's intents."""
        return [h for i in self.rig.books.intents(deal_id) for h in i.attempts or ()]

    def alerts(self, kind: str) -> list[tuple[Any, ...]]:
        """The alerts of a kind: subject, problem, and whether it is cleared."""
        return self.rig.books.rows(
            "SELECT subject, problem, cleared_at IS NOT NULL FROM transactions.alerts"
            " WHERE kind = %s ORDER BY alert_id",
            kind,
        )

    async def in_pool(self, deal_id: str, count: int = 3) -> None:
        """Wait until that many of the deal's transactions wait in the node."""
        await eventually(
            lambda: sum(map(self.rig.node.knows, self.hashes(deal_id))) >= count,
            f"{count} transactions of {deal_id} are sent",
        )

    async def reach(self, deal_id: str, state: str, count: int = 3) -> None:
        """Wait until that many of the deal's intents have this state."""
        await eventually(
            lambda: self.states(deal_id).count(state) >= count,
            f"{count} intents of {deal_id} are {state}",
        )

    async def verdict(
        self, *handles: Batches, intents: int = 3, batches: int = 1, step: Step = Step.WRAP
    ) -> Verdict:
        """Wait for these workflows and ask the chain: every intent once, no nonce missing."""
        verdict = Verdict()
        # Those that send from one account are only judged when none of them sends any more.
        ended = [await self._ended(handle, verdict) for handle in handles]
        for handle, each in zip(handles, ended, strict=True):
            verdict += await self._of_one(handle, each, intents, batches, step)
        return verdict

    async def _ended(self, handle: Batches, verdict: Verdict) -> list[Ended]:
        """How its batches ended; none, and a note, if they do not."""
        name = handle.id.removeprefix("deal-")
        try:
            async with asyncio.timeout(WITHIN):
                return await handle.result()
        except TimeoutError:
            verdict.notes.append(f"{name} did not end within {WITHIN:.0f} s: {self.states(name)}")
            return []

    async def _of_one(
        self, handle: Batches, ended: list[Ended], intents: int, batches: int, step: Step
    ) -> Verdict:
        verdict, name = Verdict(), handle.id.removeprefix("deal-")
        keys = batch_keys(name, batches, step)
        verdict += of_intents(self.rig, [f"{key}/{i}" for key in keys for i in range(intents)])
        for each in ended:
            verdict.expect(each.outcome and not each.outcome.problem, f"{name}: {each.problem}")
        verdict += of_account(self.rig, await account_of(handle, self.rig, step))
        return verdict


async def account_of(handle: Batches, rig: Rig, step: Step = Step.WRAP) -> str:
    """The account that a workflow of batches sends from."""
    if step is Step.FUND:
        return rig.treasury
    accounts = await handle.query(LedgerBatches.accounts)
    assert accounts is not None
    return accounts.account


async def start_many(lane: Lane, name: str, count: int, **options: Any) -> Sequence[Batches]:
    """Workflows of batches that begin at the same time."""
    return await asyncio.gather(
        *(lane.start_batches(f"{name}-{number}", **options) for number in range(count))
    )
