"""Several endpoints, one of which lags, lies, refuses, hangs or is gone: what is read and sent."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import REGISTRY
from pydantic import SecretStr

from activities.rpc import circuit as circuits
from activities.rpc import endpoint as endpoints
from activities.rpc import pool as pools
from activities.rpc.client import Rpc, RpcCall, RpcError
from activities.rpc.status import EndpointStatus
from activities.rpc.submission import SendResult
from domain.chains import EndpointProfile, PublicFallback
from domain.errors import InvalidConfiguration, Unavailable
from tests.activities.chain import CHAIN, Node
from tests.activities.desk import profile_for
from tests.activities.rpc.front import Front, always, front_of

REVERT = {"code": 3, "message": "execution reverted", "data": "0x"}
ANY = "eth_gasPrice"


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def three(stack: AsyncExitStack, node: Node) -> list[Front]:
    return [await stack.enter_async_context(front_of(node.url)) for _ in range(3)]


def over(stack: AsyncExitStack, fronts: list[Front], **changes: Any) -> Rpc:
    rpc = Rpc(profile_for(*(front.url for front in fronts), **changes))
    stack.push_async_callback(rpc.close)
    return rpc


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.02)
    pytest.fail("it never came")


def lagging(blocks: int) -> Callable[[Any, Any], Any]:
    return lambda _, head: hex(max(0, int(head, 16) - blocks))


async def head_of(rpc: Rpc) -> int:
    return int(await rpc.call("eth_blockNumber"), 16)


def of(rpc: Rpc, number: int) -> EndpointStatus:
    return rpc.status()[number - 1]


class TestChainId:
    async def test_one_of_another_chain_is_neither_read_from_nor_sent_to(
        self, stack: AsyncExitStack, node: Node
    ) -> None:
        liar, *honest = fronts = await three(stack, node)
        liar.lies["eth_chainId"] = lambda *_: "0x1"
        rpc = over(stack, fronts)
        assert await head_of(rpc) == node.head()
        await rpc.everywhere([RpcCall(ANY)])
        (sent,) = await rpc.submit(["0x02"])
        assert liar.requests == []
        assert [len(front.sent()) for front in honest] == [1, 1]
        assert {a.number: a.result for a in sent.answers}[1] is SendResult.UNANSWERED
        assert (of(rpc, 1).chain_id_ok, of(rpc, 1).healthy) == (False, False)
        assert of(rpc, 1).last_error == "it is of chain 1"

    async def test_it_comes_back_when_it_answers_right(
        self, stack: AsyncExitStack, node: Node, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pools, "_RECHECK_SECONDS", 0.0)
        liar, *_ = fronts = await three(stack, node)
        liar.lies["eth_chainId"] = lambda *_: "0x1"
        rpc = over(stack, fronts)
        await head_of(rpc)
        del liar.lies["eth_chainId"]
        await rpc.everywhere([RpcCall(ANY)])
        assert len(liar.requests) == 1
        assert of(rpc, 1).healthy

    async def test_one_that_was_away_is_asked_again_for_its_chain(
        self, stack: AsyncExitStack, node: Node
    ) -> None:
        (front,) = (await three(stack, node))[:1]
        rpc = over(stack, [front])
        await rpc.call(ANY)
        front.down = True
        with pytest.raises(Unavailable):
            await rpc.call(ANY)
        front.down = False
        front.lies["eth_chainId"] = lambda *_: "0x1"
        before = len(front.requests)
        with pytest.raises(Unavailable):  # it was right before: somebody has to look, not to deny
            await rpc.call(ANY)
        (sent,) = await rpc.submit(["0x02"])
        assert sent.result is SendResult.UNANSWERED
        assert len(front.requests) == before
        del front.lies["eth_chainId"]
        await rpc.call(ANY)
        assert of(rpc, 1).chain_id_ok
        front.down = True
        with pytest.raises(Unavailable):
            await rpc.call(ANY)
        assert of(rpc, 1).chain_id_ok is None

    @pytest.mark.parametrize("nonsense", [None, 138, "chain", [], {}, ""])
    async def test_one_that_cannot_say_is_passed_over(
        self, stack: AsyncExitStack, node: Node, nonsense: Any
    ) -> None:
        odd, *_ = fronts = await three(stack, node)
        odd.lies["eth_chainId"] = lambda *_: nonsense
        rpc = over(stack, fronts)
        assert await head_of(rpc) == node.head()
        assert odd.requests == []
        assert (of(rpc, 1).chain_id_ok, of(rpc, 1).healthy) == (None, False)
        assert str(of(rpc, 1).last_error).startswith("no chain id")

    async def test_when_all_are_of_another_chain_the_variable_is_named(
        self, stack: AsyncExitStack, node: Node
    ) -> None:
        fronts = await three(stack, node)
        for front in fronts:
            front.lies["eth_chainId"] = lambda *_: hex(651940)
        with pytest.raises(InvalidConfiguration) as caught:
            await over(stack, fronts).call(ANY)
        problem = caught.value.problem
        assert (problem.field, problem.limit, problem.actual) == ("chain_id", "138", "651940")
        assert problem.next_action == "correct DEAL_CHAIN_138_ENDPOINTS"

    async def test_one_wrong_and_one_gone_is_waited_for(
        self, stack: AsyncExitStack, node: Node
    ) -> None:
        liar, gone, _ = await three(stack, node)
        liar.lies["eth_chainId"] = lambda *_: "0x1"
        gone.down = True
        with pytest.raises(Unavailable) as caught:
            await over(stack, [liar, gone]).call(ANY)
        assert caught.value.problem.actual is not None
        assert "endpoint 1: it is of chain 1" in caught.value.problem.actual

    async def test_it_is_asked_once_however_many_wait(
        self, stack: AsyncExitStack, node: Node
    ) -> None:
        (front,) = (await three(stack, node))[:1]
        rpc = over(stack, [front])
        await asyncio.gather(*(rpc.call(ANY) for _ in range(20)))
        assert (front.checks, len(front.requests)) == (1, 20)


class TestLag:
    async def test_reads_leave_a_laggard_and_no_head_goes_back(
        self, stack: AsyncExitStack, node: Node
    ) -> None:
        laggard, *_ = fronts = await three(stack, node)
        rpc = over(stack, fronts)
        heads = [await head_of(rpc)]
        stands = hex(heads[0])
        laggard.lies["eth_blockNumber"] = lambda *_: stands
        node.mine(10)
        await until(lambda: of(rpc, 1).lag == 10)
        heads += [await head_of(rpc) for _ in range(5)]
        assert heads[1:] == [node.head()] * 5
        assert not of(rpc, 1).healthy

    async def test_one_that_goes_back_alone_is_not_believed(
        self, stack: AsyncExitStack, node: Node
    ) -> None:
        liar, *_ = fronts = await three(stack, node)
        rpc = over(stack, fronts)
        head = await head_of(rpc)
        liar.lies["eth_blockNumber"] = lagging(2)
        assert await head_of(rpc) == head
        assert await head_of(rpc) == head
        assert liar.count("eth_blockNumber") == 2

    async def test_a_nonce_does_not_go_back_with_the_head_of_another(
        self, stack: AsyncExitStack, node: Node
    ) -> None:
        first, second, third = fronts = await three(stack, node)
        rpc = over(stack, fronts)
        call = RpcCall("eth_getTransactionCount", ("0x" + "11" * 20, "latest"))
        second.lies |= {"eth_blockNumber": lagging(1), call.method: lambda *_: "0x6"}
        third.lies[call.method] = lambda *_: "0x7"
        first.lies[call.method] = lambda *_: "0x7"
        await rpc.batch([RpcCall("eth_blockNumber"), call])
        first.down = True
        # The second is one block short of what was told, so the third is read from.
        assert await rpc.batch([call]) == ["0x7"]
        assert second.count(call.method) == 0

    async def test_a_receipt_of_an_old_block_is_no_head_that_goes_back(
        self, stack: AsyncExitStack, node: Node
    ) -> None:
        first, second, _ = fronts = await three(stack, node)
        mined = node.send("usdt", "issue", 1)
        node.mine(3)
        rpc = over(stack, fronts)
        await head_of(rpc)
        receipt = await rpc.call("eth_getTransactionReceipt", mined)
        assert int(receipt["blockNumber"], 16) == node.head() - 3
        assert second.requests == []
        second.lies["eth_blockNumber"] = lagging(1)
        first.down = True
        assert await head_of(rpc) == node.head()

    async def test_a_reorganisation_is_believed_when_nobody_denies_it(
        self, stack: AsyncExitStack, node: Node
    ) -> None:
        fronts = await three(stack, node)
        rpc = over(stack, fronts)
        snapshot = node.ask("evm_snapshot")
        node.mine(3)
        head = await head_of(rpc)
        node.ask("evm_revert", snapshot)
        assert await head_of(rpc) == head - 3 == node.head()

    async def test_with_one_endpoint_a_head_that_goes_back_is_told_at_once(
        self, stack: AsyncExitStack, node: Node
    ) -> None:
        front, *_ = await three(stack, node)
        rpc = over(stack, [front])
        head = await head_of(rpc)
        front.lies["eth_blockNumber"] = lagging(2)
        assert await head_of(rpc) == head - 2

    async def test_a_laggard_that_is_all_there_is_is_waited_for(
        self, stack: AsyncExitStack, node: Node
    ) -> None:
        first, second, _ = await three(stack, node)
        rpc = over(stack, [first, second])
        head = await head_of(rpc)
        second.lies["eth_blockNumber"] = lagging(1)
        first.down = True
        reading = asyncio.create_task(head_of(rpc))
        await asyncio.sleep(0.3)
        assert not reading.done()
        del second.lies["eth_blockNumber"]
        assert await reading == head

    async def test_and_in_the_end_it_is_right_because_it_is_the_last(
        self, stack: AsyncExitStack, node: Node, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pools, "_LONGEST_WAIT_SECONDS", 0.3)
        first, second, _ = await three(stack, node)
        rpc = over(stack, [first, second])
        head = await head_of(rpc)
        second.lies["eth_blockNumber"] = lagging(1)
        first.down = True
        assert await head_of(rpc) == head - 1

    async def test_one_that_is_far_ahead_of_two_others_is_not_believed(
        self, stack: AsyncExitStack, node: Node
    ) -> None:
        _, liar, _ = fronts = await three(stack, node)
        liar.lies["eth_blockNumber"] = lagging(-1_000)
        rpc = over(stack, fronts)
        await head_of(rpc)
        await until(lambda: of(rpc, 2).head is not None and of(rpc, 3).head is not None)
        assert [await head_of(rpc) for _ in range(3)] == [node.head()] * 3
        assert of(rpc, 1).lag == 0

    async def test_heads_are_asked_for_while_there_are_reads_and_no_longer(
        self, stack: AsyncExitStack, node: Node, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pools, "_IDLE_BLOCKS", 0.2)
        fronts = await three(stack, node)
        rpc = over(stack, fronts)
        await rpc.call(ANY)
        await asyncio.sleep(1.5)
        assert [front.checks for front in fronts] == [1, 1, 1]

    async def test_a_single_endpoint_is_never_asked_for_what_nobody_wants_to_know(
        self, stack: AsyncExitStack, node: Node
    ) -> None:
        front, *_ = await three(stack, node)
        rpc = over(stack, [front])
        await rpc.call(ANY)
        await asyncio.sleep(1.2)
        await rpc.call(ANY)
        assert (front.checks, len(front.requests)) == (1, 2)


class TestFailures:
    @pytest.mark.parametrize(
        "failure",
        [
            {"answer": always(status=502, body={})},
            {"answer": always(raw=b"<html>")},
            {"errors": {ANY: {"code": -32603, "message": "Internal error"}}},
            {"errors": {ANY: {"code": -32000, "message": "header not found"}}},
        ],
        ids=["HTTP", "nonsense", "internal error", "no header"],
    )
    async def test_one_that_answers_errors_is_left_alone_until_it_is_well(
        self,
        stack: AsyncExitStack,
        node: Node,
        monkeypatch: pytest.MonkeyPatch,
        failure: dict[str, Any],
    ) -> None:
        monkeypatch.setattr(pools, "_IDLE_BLOCKS", 0)  # heads are not asked for: only reads try it
        monkeypatch.setattr(circuits, "_PAUSE_SECONDS", 0.3)
        broken, *_ = fronts = await three(stack, node)
        weights = [
            EndpointProfile(url=SecretStr(f.url), weight=w)
            for f, w in zip(fronts, (9, 1, 1), strict=True)
        ]
        rpc = over(stack, fronts, endpoints=weights)
        await rpc.call(ANY)
        for name, value in failure.items():
            setattr(broken, name, value)
        before = len(broken.requests)
        for _ in range(6):
            await rpc.call(ANY)
        assert len(broken.requests) == before + 3
        assert (of(rpc, 1).circuit, of(rpc, 1).healthy) == ("open", False)
        broken.answer, broken.errors = None, {}
        await asyncio.sleep(0.4)
        assert of(rpc, 1).circuit == "half-open"
        await rpc._pool._check(rpc._pool.readers[0])
        await rpc.call(ANY)
        assert len(broken.requests) == before + 4
        assert of(rpc, 1).circuit == "closed"

    async def test_one_that_was_gone_is_found_again_without_a_read_being_risked(
        self, stack: AsyncExitStack, node: Node, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(circuits, "_PAUSE_SECONDS", 0.3)
        gone, other, _ = await three(stack, node)
        weights = [
            EndpointProfile(url=SecretStr(front.url), weight=weight)
            for front, weight in ((gone, 2), (other, 1))
        ]
        rpc = over(stack, [gone, other], endpoints=weights)
        await rpc.call(ANY)
        gone.down = True
        for _ in range(5):
            await rpc.call(ANY)
        assert of(rpc, 1).circuit == "open"
        reads = len(gone.requests)
        gone.down = False
        await until(lambda: of(rpc, 1).healthy)
        assert len(gone.requests) == reads
        await rpc.call(ANY)
        assert len(gone.requests) == reads + 1

    async def test_the_last_live_endpoint_is_never_given_up(
        self, stack: AsyncExitStack, node: Node
    ) -> None:
        first, *others = fronts = await three(stack, node)
        rpc = over(stack, fronts)
        for front in fronts:
            front.down = True
        for _ in range(4):
            with pytest.raises(Unavailable):
                await rpc.call(ANY)
        assert {status.circuit for status in rpc.status()} == {"open"}
        others[1].down = False
        await rpc.call(ANY)
        assert of(rpc, 3).circuit == "closed"
        first.down = False
        (sent,) = await rpc.submit(["0x02"])
        assert 3 in {answer.number for answer in sent.answers}

    async def test_all_that_answer_errors_are_still_asked_and_their_errors_told(
        self, stack: AsyncExitStack, node: Node
    ) -> None:
        fronts = await three(stack, node)
        rpc = over(stack, fronts)
        for front in fronts:
            front.errors[ANY] = {"code": -32603, "message": "Internal error"}
        for _ in range(5):
            assert await rpc.batch([RpcCall(ANY)]) == [RpcError(-32603, "Internal error")]

    @pytest.mark.parametrize(
        "error",
        [
            REVERT,
            {"code": -32000, "message": "nonce too low"},
            {"code": -32000, "message": "execution reverted: internal error", "data": "0x08c379a0"},
            {"code": -32601, "message": "the method eth_simulateV1 does not exist"},
            {"code": -32005, "message": "Transaction gas limit exceeds block gas limit"},
        ],
    )
    async def test_an_error_about_the_call_says_nothing_about_the_endpoint(
        self, stack: AsyncExitStack, node: Node, error: dict[str, Any]
    ) -> None:
        first, second, _ = fronts = await three(stack, node)
        first.errors |= {"eth_call": error, "eth_sendRawTransaction": error}
        rpc = over(stack, fronts)
        for _ in range(5):
            (answer,) = await rpc.batch([RpcCall("eth_call", ({}, "latest"))])
            assert isinstance(answer, RpcError)
            await rpc.submit(["0x02"])
        assert second.count("eth_call") == 0
        assert (of(rpc, 1).circuit, of(rpc, 1).healthy) == ("closed", True)

    async def test_one_that_hangs_is_left_sooner_when_there_are_others(
        self, stack: AsyncExitStack, node: Node, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(endpoints.Operation.READ, "_value_", 1.0)
        hanging, *_ = fronts = await three(stack, node)
        rpc = over(stack, fronts)
        await rpc.call(ANY)
        hanging.delay_seconds = 2.0
        async with asyncio.timeout(0.8):
            await rpc.call(ANY)
        async with asyncio.timeout(0.2):
            await rpc.call(ANY)

    @pytest.mark.parametrize("kind", ["HTTP 429", "HTTP 503", "-32005", "429"])
    async def test_a_rate_limit_is_kept_to(
        self, stack: AsyncExitStack, node: Node, kind: str
    ) -> None:
        async def refuse(_: Any) -> web.StreamResponse:
            return web.json_response({}, status=int(kind[5:]), headers={"Retry-After": "1"})

        busy, *others = fronts = await three(stack, node)
        rpc = over(stack, fronts)
        await rpc.call(ANY)
        if kind.startswith("HTTP"):
            busy.answer = refuse
        else:
            busy.errors[ANY] = {"code": int(kind), "message": "daily request count exceeded"}
        before = len(busy.requests)
        for _ in range(3):
            await rpc.call(ANY)
        assert len(busy.requests) == before + 1
        assert sum(len(front.requests) for front in others) == 3
        assert not of(rpc, 1).healthy
        assert of(rpc, 1).last_error == "rate limited for 1 s"
        await asyncio.sleep(1.1)
        assert of(rpc, 1).healthy

    async def test_reads_do_not_wait_while_heads_are_asked_for(
        self, stack: AsyncExitStack, node: Node
    ) -> None:
        first, *_ = fronts = await three(stack, node)
        rpc = over(stack, fronts)
        await rpc.call(ANY)
        await until(lambda: all(status.healthy for status in rpc.status()))
        first.check_delay_seconds = 1.0
        asking = asyncio.create_task(rpc._pool._check(rpc._pool.readers[0]))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(0.5):
            await rpc.call(ANY)
        assert (len(first.requests), asking.done()) == (2, False)
        await asking

    async def test_a_rate_limited_endpoint_is_used_when_it_is_the_only_one(
        self, stack: AsyncExitStack, node: Node
    ) -> None:
        front, *_ = await three(stack, node)
        rpc = over(stack, [front])
        front.errors[ANY] = {"code": -32005, "message": "too many requests"}
        assert isinstance((await rpc.batch([RpcCall(ANY)]))[0], RpcError)
        del front.errors[ANY]
        await rpc.call(ANY)


class TestPreference:
    async def test_reads_go_to_the_heaviest_that_is_good(
        self, stack: AsyncExitStack, node: Node
    ) -> None:
        light, heavy, middle = fronts = await three(stack, node)
        weighted = [
            EndpointProfile(url=SecretStr(front.url), weight=weight)
            for front, weight in zip(fronts, (1, 5, 3), strict=True)
        ]
        rpc = over(stack, fronts, endpoints=weighted)
        await rpc.call(ANY)
        heavy.down = True
        await rpc.call(ANY)
        heavy.down = False
        await rpc.call(ANY)
        assert [len(front.requests) for front in (light, heavy, middle)] == [0, 3, 1]

    async def test_a_batch_is_of_one_endpoint(self, stack: AsyncExitStack, node: Node) -> None:
        fronts = await three(stack, node)
        rpc = over(stack, fronts)
        for _ in range(5):
            await rpc.batch([RpcCall(ANY), RpcCall("eth_blockNumber"), RpcCall(ANY)])
        assert [len(front.requests) for front in fronts] == [5, 0, 0]


class TestPrivate:
    async def test_transactions_go_to_the_private_endpoint_alone(
        self, stack: AsyncExitStack, node: Node
    ) -> None:
        public, relay, _ = await three(stack, node)
        rpc = over(
            stack,
            [public],
            submission_endpoints=[EndpointProfile(url=SecretStr(relay.url), name="relay")],
        )
        await rpc.call(ANY)
        for may_be_public in (False, True):  # the policy is never
            (sent,) = await rpc.submit(["0x02"], public=may_be_public)
            assert [(a.number, a.label) for a in sent.answers] == [(2, "relay")]
        assert (public.sent(), relay.sent()) == ([], ["0x02", "0x02"])
        assert relay.count(ANY) == 0
        assert [(s.label, s.private) for s in rpc.status()] == [
            ("endpoint 1", False),
            ("relay", True),
        ]

    async def test_by_policy_they_go_public_when_the_caller_says_that_it_is_due(
        self, stack: AsyncExitStack, node: Node
    ) -> None:
        public, relay, _ = await three(stack, node)
        rpc = over(
            stack,
            [public],
            submission_endpoints=[EndpointProfile(url=SecretStr(relay.url))],
            public_fallback=PublicFallback(after_blocks=2),
        )
        await rpc.submit(["0x02"])
        assert (public.sent(), relay.sent()) == ([], ["0x02"])
        await rpc.submit(["0x02"], public=True)
        assert (public.sent(), relay.sent()) == (["0x02"], ["0x02", "0x02"])

    async def test_a_relay_that_is_down_does_not_make_anything_public(
        self, stack: AsyncExitStack, node: Node
    ) -> None:
        public, relay, _ = await three(stack, node)
        relay.down = True
        rpc = over(
            stack, [public], submission_endpoints=[EndpointProfile(url=SecretStr(relay.url))]
        )
        for _ in range(5):
            (sent,) = await rpc.submit(["0x02"])
            assert sent.result is SendResult.UNANSWERED
        assert public.sent() == []

    async def test_a_relay_that_knows_nothing_but_sending_is_sent_to(
        self, stack: AsyncExitStack, node: Node
    ) -> None:
        public, relay, _ = await three(stack, node)
        unknown = {"code": -32601, "message": "method not found"}
        relay.errors |= {"eth_chainId": unknown, "eth_blockNumber": unknown}
        rpc = over(
            stack, [public], submission_endpoints=[EndpointProfile(url=SecretStr(relay.url))]
        )
        await rpc.submit(["0x02"])
        await rpc.submit(["0x02"])
        assert (len(relay.sent()), relay.checks) == (2, 1)

    async def test_a_relay_is_not_measured_by_its_head(
        self, stack: AsyncExitStack, node: Node
    ) -> None:
        public, relay, _ = await three(stack, node)
        rpc = over(
            stack, [public], submission_endpoints=[EndpointProfile(url=SecretStr(relay.url))]
        )
        await rpc.submit(["0x02"])
        node.mine(10)
        await head_of(rpc)
        assert (of(rpc, 2).lag, of(rpc, 2).healthy) == (None, True)


class TestTelling:
    async def test_the_status_is_json_without_an_address(
        self, stack: AsyncExitStack, node: Node
    ) -> None:
        fronts = await three(stack, node)
        fronts[2].down = True
        rpc = over(stack, fronts)
        await head_of(rpc)
        await until(lambda: of(rpc, 2).head is not None and of(rpc, 3).last_error is not None)
        status = rpc.status()[0].model_dump(mode="json")
        latency = status.pop("latency_ms")
        assert 0 < latency < 5_000
        assert status == {
            "number": 1,
            "label": "endpoint 1",
            "private": False,
            "healthy": True,
            "circuit": "closed",
            "head": node.head(),
            "lag": 0,
            "chain_id_ok": True,
            "last_error": None,
            "weight": 1,
        }
        assert of(rpc, 3).last_error == "ServerDisconnectedError"
        for each in rpc.status():
            assert "127.0.0.1" not in each.model_dump_json()

    async def test_the_metrics_are_labelled_by_name_or_number(
        self, stack: AsyncExitStack, node: Node
    ) -> None:
        first, second, _ = await three(stack, node)
        profiles = [
            EndpointProfile(url=SecretStr(first.url), name="mine"),
            EndpointProfile(url=SecretStr(second.url)),
        ]
        rpc = over(stack, [first, second], endpoints=profiles)

        def sample(name: str, label: str, **more: str) -> float | None:
            return REGISTRY.get_sample_value(name, {"chain": str(CHAIN), "endpoint": label, **more})

        await head_of(rpc)
        assert sample("deal_node_healthy", "mine") == 1.0
        assert sample("deal_node_circuit", "mine") == 0.0
        assert sample("deal_node_head", "mine") == node.head()
        assert sample("deal_node_lag_blocks", "mine") == 0.0
        assert sample("deal_node_requests_total", "mine") == 2.0
        assert sample("deal_node_latency_seconds_count", "mine", operation="read") == 1.0
        first.down = True
        await head_of(rpc)
        assert sample("deal_node_errors_total", "mine", kind="connection") == 1.0
        assert sample("deal_node_head", "2") == node.head()
