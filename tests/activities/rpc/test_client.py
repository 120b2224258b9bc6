"""Talking to nodes that answer, that do not, and that answer with nonsense."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from activities.rpc import calls as wire
from activities.rpc import meters
from activities.rpc.client import Rpc, RpcCall, RpcError
from activities.rpc.endpoint import Operation
from activities.rpc.submission import SendResult
from activities.signing.providers.provider import KeyPurpose, KeyRef
from domain.errors import Unavailable
from domain.identifiers import ChainId
from domain.transactions import Fees, Intent
from tests.activities.chain import CHAIN, ETHER, GWEI, Node
from tests.activities.desk import keys, profile_for
from tests.activities.rpc.front import Front, always, front_of

RAW = "0x02"
SENDER = KeyRef(KeyPurpose.FEE, 7)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def nowhere() -> str:
    """An endpoint that refuses connections."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def rpc_over(stack: AsyncExitStack, *endpoints: str) -> Rpc:
    rpc = Rpc(profile_for(*endpoints))
    stack.push_async_callback(rpc.close)
    return rpc


async def fronts(stack: AsyncExitStack, node: Node, number: int) -> list[Front]:
    return [await stack.enter_async_context(front_of(node.url)) for _ in range(number)]


async def test_answers_come_in_the_order_of_the_calls(stack: AsyncExitStack, node: Node) -> None:
    rpc = rpc_over(stack, node.url)
    calls = [RpcCall("eth_getCode", (node.manifest[name], "latest")) for name in ("weth", "usdt")]
    chain, *codes, head = await rpc.batch(
        [RpcCall("eth_chainId"), *calls, RpcCall("eth_blockNumber")]
    )
    assert int(chain, 16) == CHAIN
    assert codes == [node.ask(call.method, *call.params) for call in calls]
    assert int(head, 16) == node.head()


async def test_answers_that_come_out_of_order_are_put_in_order(stack: AsyncExitStack) -> None:
    async def reversed_answers(body: Any) -> web.StreamResponse:
        answers = [{"id": call["id"], "result": call["method"]} for call in body]
        return web.json_response(answers[::-1])

    front = await stack.enter_async_context(front_of(answer=reversed_answers))
    methods = [f"method_{number}" for number in range(12)]
    assert await rpc_over(stack, front.url).batch([RpcCall(m) for m in methods]) == methods


async def test_a_batch_is_one_request(stack: AsyncExitStack, node: Node) -> None:
    (front,) = await fronts(stack, node, 1)
    rpc = rpc_over(stack, front.url)
    await rpc.batch([RpcCall("eth_gasPrice"), RpcCall("eth_blockNumber")])
    await rpc.batch([RpcCall("eth_gasPrice")])
    assert front.requests == [["eth_gasPrice", "eth_blockNumber"], ["eth_gasPrice"]]
    assert front.checks == 1


async def test_an_error_of_one_call_is_a_value_beside_the_others_answers(
    stack: AsyncExitStack, node: Node
) -> None:
    rpc = rpc_over(stack, node.url)
    refused = {"to": node.manifest["usdt"], "data": "0xcc872b66" + "00" * 32}  # issue(0), by nobody
    head, error, chain = await rpc.batch(
        [
            RpcCall("eth_blockNumber"),
            RpcCall("eth_call", (refused, "latest")),
            RpcCall("eth_chainId"),
        ]
    )
    assert (int(head, 16), int(chain, 16)) == (node.head(), CHAIN)
    assert isinstance(error, RpcError)
    assert error.code == 3
    assert error.data.startswith("0x118cdaa7")  # OwnableUnauthorizedAccount(address)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"code": -32000, "message": "no"}, RpcError(-32000, "no")),
        ({"code": 3, "message": "no", "data": "0x01"}, RpcError(3, "no", "0x01")),
        ("plain text", RpcError(0, "plain text")),
        ({}, RpcError(0, "")),
    ],
)
async def test_a_single_calls_error_is_a_value_however_the_node_words_it(
    stack: AsyncExitStack, error: Any, expected: RpcError
) -> None:
    front = await stack.enter_async_context(front_of(errors={"eth_call": error}))
    assert await rpc_over(stack, front.url).batch([RpcCall("eth_call")]) == [expected]


async def test_a_null_error_beside_a_result_is_no_error(stack: AsyncExitStack) -> None:
    answer = always(body={"id": 1, "error": None, "result": "0x2a"})
    front = await stack.enter_async_context(front_of(answer=answer))
    assert await rpc_over(stack, front.url).call("eth_blockNumber") == "0x2a"


async def test_a_null_result_is_an_answer(stack: AsyncExitStack, node: Node) -> None:
    rpc = rpc_over(stack, node.url)
    assert await rpc.call("eth_getTransactionReceipt", "0x" + "00" * 32) is None


async def test_call_says_what_the_node_objected_to(stack: AsyncExitStack) -> None:
    front = await stack.enter_async_context(
        front_of(errors={"eth_blockNumber": {"code": -32005, "message": "too many requests"}})
    )
    with pytest.raises(Unavailable) as caught:
        await rpc_over(stack, front.url).call("eth_blockNumber")
    problem = caught.value.problem
    assert problem.message == "the node of chain 138 answers with an error"
    assert problem.actual == "-32005 too many requests"


NONSENSE = {
    "an HTTP error": always(status=500, body={"jsonrpc": "2.0", "id": 1, "result": "0x1"}),
    "a page instead of JSON": always(raw=b"<html>bad gateway</html>"),
    "nothing at all": always(raw=b""),
    "bytes that are no text": always(raw=b"\xff\xfe"),
    "a number": always(body=7),
    "null": always(body=None),
    "a text": always(body="error"),
    "an object without result or error": always(body={"id": 1, "jsonrpc": "2.0"}),
    "an empty list": always(body=[]),
    "a list of too few": always(body=[{"id": 0, "result": "0x1"}]),
    "a list of too many": always(body=[{"id": n, "result": "0x1"} for n in range(5)]),
    "a list of numbers": always(body=[1, 2]),
    "a list of nothing": always(body=[None, None]),
    "ids of two kinds": always(body=[{"id": "a", "result": 1}, {"id": 1, "result": 1}]),
    "one error for the whole batch": always(
        body={"id": None, "error": {"code": -32600, "message": "batch too large"}}
    ),
}


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE.keys())
async def test_an_endpoint_that_answers_a_batch_with_nonsense_is_passed_over(
    stack: AsyncExitStack, node: Node, answer: Any
) -> None:
    broken = await stack.enter_async_context(front_of(answer=answer))
    rpc = rpc_over(stack, broken.url, node.url)
    answers = await rpc.batch([RpcCall("eth_chainId"), RpcCall("eth_chainId")])
    assert [int(each, 16) for each in answers] == [CHAIN, CHAIN]
    assert len(broken.requests) == 1
    with pytest.raises(Unavailable):
        await rpc_over(stack, broken.url).batch([RpcCall("eth_chainId"), RpcCall("eth_chainId")])


@pytest.mark.parametrize(
    "name",
    [name for name in NONSENSE if "list" not in name and "ids" not in name and "batch" not in name],
)
async def test_an_endpoint_that_answers_one_call_with_nonsense_is_passed_over(
    stack: AsyncExitStack, node: Node, name: str
) -> None:
    broken = await stack.enter_async_context(front_of(answer=NONSENSE[name]))
    rpc = rpc_over(stack, broken.url, node.url)
    assert int(await rpc.call("eth_chainId"), 16) == CHAIN


async def test_reads_go_on_at_the_second_endpoint_when_the_first_is_dead_and_stay_there(
    stack: AsyncExitStack, node: Node
) -> None:
    first, second = await fronts(stack, node, 2)
    rpc = rpc_over(stack, first.url, second.url)
    await rpc.call("eth_chainId")
    assert (len(first.requests), len(second.requests)) == (1, 0)
    first.down = True
    await rpc.call("eth_chainId")
    assert (len(first.requests), len(second.requests)) == (2, 1)
    await rpc.call("eth_chainId")
    assert (len(first.requests), len(second.requests)) == (2, 2)
    first.down, second.down = False, True
    await rpc.call("eth_chainId")
    assert (len(first.requests), len(second.requests)) == (3, 3)


async def test_an_endpoint_that_hangs_is_given_up_after_the_time_limit(
    stack: AsyncExitStack, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Operation.READ, "_value_", 0.3)
    (hanging,) = await fronts(stack, node, 1)
    rpc = rpc_over(stack, hanging.url, node.url)
    await rpc.call("eth_chainId")
    hanging.delay_seconds = 0.5
    async with asyncio.timeout(0.4):
        assert int(await rpc.call("eth_chainId"), 16) == CHAIN


async def test_calls_that_hang_at_one_endpoint_do_not_keep_others_from_another(
    stack: AsyncExitStack, node: Node
) -> None:
    hanging = await stack.enter_async_context(front_of(node.url, delay_seconds=1.0))
    pool = rpc_over(stack, hanging.url, node.url)._pool
    first, second = pool.readers
    calls = [RpcCall("eth_chainId")]
    stuck = [asyncio.create_task(first.ask(pool.session(), calls)) for _ in range(150)]
    await asyncio.sleep(0.1)
    async with asyncio.timeout(0.8):
        assert await second.ask(pool.session(), calls) == [hex(CHAIN)]
    await asyncio.gather(*stuck)


async def test_without_any_endpoint_it_is_unavailable_and_each_ones_failure_is_told(
    stack: AsyncExitStack, nowhere: str
) -> None:
    error = await stack.enter_async_context(front_of(answer=NONSENSE["an HTTP error"]))
    rpc = rpc_over(stack, nowhere, error.url)
    with pytest.raises(Unavailable) as caught:
        await rpc.call("eth_chainId")
    problem = caught.value.problem
    assert problem.message == "no endpoint of chain 138 answers"
    assert (problem.field, problem.value) == ("endpoints", "138")
    assert problem.actual is not None
    assert problem.actual.startswith("endpoint 1: ClientConnector")
    assert "endpoint 2: ClientResponseError" in problem.actual


async def test_everywhere_returns_what_every_endpoint_answers(
    stack: AsyncExitStack, node: Node
) -> None:
    first, second = await fronts(stack, node, 2)
    first.lies["eth_gasPrice"] = lambda _, __: "0x29"
    second.lies["eth_gasPrice"] = lambda _, __: "0x2a"
    answers = await rpc_over(stack, first.url, second.url).everywhere([RpcCall("eth_gasPrice")])
    assert answers == [["0x29"], ["0x2a"]]


@pytest.mark.parametrize("order", [1, -1])
async def test_everywhere_goes_on_without_an_endpoint_that_is_dead(
    stack: AsyncExitStack, node: Node, nowhere: str, order: int
) -> None:
    rpc = rpc_over(stack, *[node.url, nowhere][::order])
    assert await rpc.everywhere([RpcCall("eth_chainId")]) == [[hex(CHAIN)]]


async def test_everywhere_is_unavailable_when_all_are_dead(
    stack: AsyncExitStack, nowhere: str
) -> None:
    with pytest.raises(Unavailable) as caught:
        await rpc_over(stack, nowhere, nowhere).everywhere([RpcCall("eth_chainId")])
    assert caught.value.retryable


async def test_a_mistake_of_ours_is_not_taken_for_a_dead_endpoint(
    stack: AsyncExitStack, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    rpc = rpc_over(stack, node.url)

    def mistake(_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(wire, "_answer", mistake)
    with pytest.raises(ZeroDivisionError):
        await rpc.batch([RpcCall("eth_chainId")])
    with pytest.raises(ZeroDivisionError):
        await rpc.everywhere([RpcCall("eth_chainId")])


async def test_a_transaction_is_sent_once_even_if_the_endpoint_fails(
    stack: AsyncExitStack, node: Node
) -> None:
    (front,) = await fronts(stack, node, 1)
    for failure in ({"down": True}, {"answer": NONSENSE["an HTTP error"]}):
        for number in (1, 2):
            front.down, front.answer = False, None
            rpc = rpc_over(stack, front.url)
            await rpc.call("eth_chainId")  # the connection stands, and would be used again
            for name, value in failure.items():
                setattr(front, name, value)
            before = len(front.requests)
            sent = await rpc.submit([RAW] * number)
            assert [each.result for each in sent] == [SendResult.UNANSWERED] * number
            assert len(front.requests) == before + 1


async def test_requests_and_calls_are_counted(stack: AsyncExitStack, node: Node) -> None:
    def total() -> tuple[float, float]:
        return (
            meters.REQUESTS.labels(CHAIN, 1)._value.get(),
            meters.CALLS.labels(CHAIN, "eth_chainId")._value.get(),
        )

    rpc = rpc_over(stack, node.url)
    await rpc.call("eth_chainId")
    requests, calls = total()
    await rpc.batch([RpcCall("eth_chainId")] * 3)
    assert total() == (requests + 1, calls + 3)


async def test_sent_transactions_have_a_result_each_of_all_endpoints(
    stack: AsyncExitStack, node: Node, nowhere: str
) -> None:
    (front,) = await fronts(stack, node, 1)
    raws = [await transfer(node, nonce) for nonce in (0, 1)]
    results = await rpc_over(stack, nowhere, front.url, node.url).submit(raws)
    assert [each.result for each in results] == [SendResult.ACCEPTED] * 2
    for each in results:
        first, *others = each.answers
        assert (first.number, first.result) == (1, SendResult.UNANSWERED)
        # The same node twice: it takes the transaction, and then has it, or has mined it.
        assert {other.result for other in others} <= {
            SendResult.ACCEPTED,
            SendResult.ALREADY_KNOWN,
            SendResult.NONCE_TOO_LOW,
        }
    assert front.sent() == raws
    again = await rpc_over(stack, node.url).submit(raws)
    assert {each.result for each in again} <= {SendResult.ALREADY_KNOWN, SendResult.NONCE_TOO_LOW}


async def test_an_endpoint_that_hangs_does_not_hold_up_sending_and_is_sent_to_all_the_same(
    stack: AsyncExitStack, node: Node
) -> None:
    hanging, honest = await fronts(stack, node, 2)
    rpc = rpc_over(stack, hanging.url, honest.url)
    await rpc.everywhere([RpcCall("eth_chainId")])
    hanging.delay_seconds = 1.0
    raw = await transfer(node, 0)
    began = asyncio.get_running_loop().time()
    (sent,) = await rpc.submit([raw])
    assert asyncio.get_running_loop().time() - began < 0.5
    assert sent.result is SendResult.ACCEPTED
    assert [answer.number for answer in sent.answers] == [2]
    await until(lambda: hanging.sent() == [raw])


async def test_one_that_hangs_is_given_up_when_the_connections_are_closed(
    stack: AsyncExitStack, node: Node
) -> None:
    hanging, honest = await fronts(stack, node, 2)
    rpc = rpc_over(stack, hanging.url, honest.url)
    hanging.delay_seconds = 3.0
    await rpc.submit([await transfer(node, 0)])
    async with asyncio.timeout(1.0):
        await rpc.close()


async def test_a_refusal_by_one_is_a_contradiction_that_is_told(
    stack: AsyncExitStack, node: Node
) -> None:
    liar, honest = await fronts(stack, node, 2)
    liar.errors["eth_sendRawTransaction"] = {"code": -32000, "message": "invalid sender"}
    (sent,) = await rpc_over(stack, liar.url, honest.url).submit([await transfer(node, 0)])
    assert sent.result is SendResult.ACCEPTED
    assert sent.contradiction is not None
    assert "endpoint 1: REJECTED, invalid sender" in sent.contradiction


async def test_a_contradiction_that_comes_late_is_logged(stack: AsyncExitStack, node: Node) -> None:
    liar, honest = await fronts(stack, node, 2)
    liar.errors["eth_sendRawTransaction"] = {"code": -32000, "message": "invalid sender"}
    rpc = rpc_over(stack, liar.url, honest.url)
    await rpc.everywhere([RpcCall("eth_chainId")])
    liar.delay_seconds = 0.3
    with capture_logs() as logs:
        (sent,) = await rpc.submit([await transfer(node, 0)])
        assert sent.contradiction is None
        await until(lambda: any("contradict" in each["event"] for each in logs))
    assert "endpoint 1: REJECTED" in logs[-1]["contradiction"]
    rejected = meters.SUBMISSIONS.labels(CHAIN, "1", SendResult.REJECTED)
    assert rejected._value.get() >= 1


async def test_when_nobody_answers_nothing_is_known_of_what_was_sent(
    stack: AsyncExitStack, nowhere: str
) -> None:
    (sent,) = await rpc_over(stack, nowhere).submit(["0x02"])
    assert sent.result is SendResult.UNANSWERED
    assert await rpc_over(stack, nowhere).submit([]) == []


async def test_anvils_own_refusals_are_understood(stack: AsyncExitStack, node: Node) -> None:
    rpc = rpc_over(stack, node.url)
    node.automine(on=False)
    waiting = await transfer(node, 0)
    refusals = {
        waiting: SendResult.ALREADY_KNOWN,
        await transfer(node, 0, value=2): SendResult.UNDERPRICED,
        await transfer(node, 1, fee=1): SendResult.UNDERPRICED,
        await transfer(node, 1, value=10**30): SendResult.INSUFFICIENT_FUNDS,
        await transfer(node, 1, gas_limit=20_999): SendResult.REJECTED,
        await transfer(node, 1, chain_id=1): SendResult.REJECTED,
        "0x02": SendResult.REJECTED,
    }
    await rpc.submit([waiting])
    results = await rpc.submit(list(refusals))
    assert [each.result for each in results] == list(refusals.values())
    node.mine()
    (late,) = await rpc.submit([await transfer(node, -1, value=3)])
    assert late.result is SendResult.NONCE_TOO_LOW


async def transfer(node: Node, nonce: int, *, fee: int = 10 * GWEI, **changes: Any) -> str:
    """A signed transfer of the tests' own account to itself, that many nonces after the next."""
    sender = await keys().address(SENDER)
    node.give_ether(sender, ETHER)
    intent = Intent(
        intent_id="transfer",
        chain_id=ChainId(CHAIN),
        sender=sender,
        nonce=node.nonce(sender) + nonce,
        to=sender,
        value=1,
        data="0x",
        gas_limit=21_000,
        fees=Fees(max_fee_per_gas=fee, max_priority_fee_per_gas=min(fee, GWEI)),
        purpose="",
    )
    (signed,) = await keys().sign(SENDER, [intent.model_copy(update=changes)])
    return signed.raw


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it never came")
