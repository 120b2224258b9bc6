"""A whole deal over three endpoints, one of which is always wrong, in turns and in every way."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import cycle
from typing import Any, Final

import pytest
import structlog

from activities.rpc.client import Rpc, RpcCall
from activities.rpc.lag import head_in
from domain.deals import Step
from domain.errors import Unavailable
from tests.activities.chain import Node
from tests.activities.desk import UP_TO_REDEEM, Desk
from tests.activities.rpc.front import Front, always, front_of

STEPS: Final = (*UP_TO_REDEEM, Step.SETTLE, Step.SWEEP)
NONCE: Final = "eth_getTransactionCount"
TURN_SECONDS: Final = 0.15


def lags(front: Front, node: Node) -> None:
    """It stands at a block, with everything that was true then."""
    stands = node.head()

    def receipt(_: Any, found: dict[str, Any] | None) -> dict[str, Any] | None:
        return found if found and int(found["blockNumber"], 16) <= stands else None

    front.lies = {
        "eth_blockNumber": lambda *_: hex(stands),
        NONCE: lambda params, _: node.ask(NONCE, params[0], hex(stands)),
        "eth_call": lambda params, _: node.ask("eth_call", params[0], hex(stands)),
        "eth_getTransactionReceipt": receipt,
    }


def is_of_another_chain(front: Front, _: Node) -> None:
    """All else that it says is right: one that becomes another unseen is noticed a block later."""
    front.lies = {"eth_chainId": lambda *_: "0x1"}


def answers_errors(front: Front, _: Node) -> None:
    front.answer = always(status=500, body={})


def has_an_internal_error(front: Front, _: Node) -> None:
    error = {"code": -32603, "message": "Internal error"}
    methods = ("eth_call", "eth_simulateV1", "eth_blockNumber", "eth_feeHistory", NONCE)
    front.errors = dict.fromkeys(methods, error)


def is_gone(front: Front, _: Node) -> None:
    front.down = True


def is_slow(front: Front, _: Node) -> None:
    front.delay_seconds = 0.3


WRONGS: Final = (
    lags,
    is_of_another_chain,
    answers_errors,
    has_an_internal_error,
    is_gone,
    is_slow,
)


def is_well(front: Front) -> None:
    front.lies, front.errors, front.answer, front.down, front.delay_seconds = {}, {}, None, False, 0


@asynccontextmanager
async def taking_turns(
    fronts: list[Front], node: Node, wrongs: tuple[Callable[[Front, Node], None], ...]
) -> AsyncIterator[None]:
    """One of the three is wrong at any time, each in turn."""

    async def turn() -> None:
        for front, wrong in zip(cycle(fronts), cycle(wrongs), strict=False):
            wrong(front, node)
            await asyncio.sleep(TURN_SECONDS)
            is_well(front)

    turning = asyncio.create_task(turn())
    try:
        yield
    finally:
        turning.cancel()


class Witness:
    """Notes every head and nonce that is told, and what had been told when it was asked for."""

    def __init__(self, rpc: Rpc, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: dict[str, int] = {}
        self.went_back: list[tuple[str, int, int]] = []
        self._batch = rpc.batch
        monkeypatch.setattr(rpc, "batch", self.batch)

    async def batch(self, calls: list[RpcCall]) -> list[Any]:
        before = dict(self.told)
        answers = await self._batch(calls)
        found = {
            call.params[0]: int(answer, 16)
            for call, answer in zip(calls, answers, strict=True)
            if call.method == NONCE and isinstance(answer, str)
        }
        head = head_in(calls, answers).exact
        for name, value in (found | ({} if head is None else {"head": head})).items():
            if value < before.get(name, 0):
                self.went_back.append((name, before[name], value))
            self.told[name] = max(self.told.get(name, 0), value)
        return answers


async def run_as_temporal_does(deal: Desk, step: Step) -> None:
    """Run a step, and again if nobody could answer: a request may meet two that take turns."""
    for _ in range(3):
        with suppress(Unavailable):
            await deal.run(step)
            return
    await deal.run(step)


@pytest.mark.parametrize("wrongs", [WRONGS, *((wrong,) for wrong in WRONGS)])
async def test_a_deal_is_done_whichever_endpoint_is_wrong(
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    wrongs: tuple[Callable[[Front, Node], None], ...],
) -> None:
    async with AsyncExitStack() as stack:
        fronts = [await stack.enter_async_context(front_of(desk.node.url)) for _ in range(3)]
        deal = await stack.enter_async_context(desk.over(*(front.url for front in fronts)))
        witness = Witness(deal.rpc, monkeypatch)
        logs = stack.enter_context(structlog.testing.capture_logs())
        async with taking_turns(fronts, desk.node, wrongs):
            for step in STEPS:
                await run_as_temporal_does(deal, step)
    assert desk.node.ether(desk.account) == 0
    assert witness.went_back == []
    assert witness.told["head"] > 0
    # A transaction that seems to be missing on a laggard is no reorganisation.
    assert [each for each in logs if "does not have" in each["event"]] == []
    assert [each for each in logs if "gone back" in each["event"]] == []
