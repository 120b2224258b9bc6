"""What nodes answer to a transaction, in the words of each client, and what answers come to."""

from itertools import product

import pytest

from activities.rpc.calls import RpcError
from activities.rpc.submission import EndpointAnswer, SendResult, result_of, together

KNOWN, LOW, FULL = SendResult.ALREADY_KNOWN, SendResult.NONCE_TOO_LOW, SendResult.POOL_FULL
CHEAP, POOR, BAD = (
    SendResult.UNDERPRICED,
    SendResult.INSUFFICIENT_FUNDS,
    SendResult.REJECTED,
)
TAKEN, SILENT = SendResult.ACCEPTED, SendResult.UNANSWERED
HASH = "0x6f5a"

WORDS = {
    "geth": {
        "already known": KNOWN,
        "nonce too low: next nonce 5, tx nonce 4": LOW,
        "nonce too low": LOW,
        "replacement transaction underpriced": CHEAP,
        "transaction underpriced": CHEAP,
        "transaction gas price below minimum: gas tip cap 0, minimum needed 1": CHEAP,
        "max fee per gas less than block base fee: address 0x1, maxFeePerGas: 1, baseFee: 7": CHEAP,
        "insufficient funds for gas * price + value: balance 0, tx cost 1, overshot 1": POOR,
        "insufficient funds for transfer": POOR,
        "txpool is full": FULL,
        "account limit exceeded": FULL,
        "future transaction tries to replace pending": FULL,
        "address already reserved": FULL,
        "in-flight transaction limit reached for delegated accounts": FULL,
        "nonce too high": FULL,
        "invalid sender": BAD,
        "invalid chain id for signer: have 1 want 138": BAD,
        "only replay-protected (EIP-155) transactions allowed over RPC": BAD,
        "intrinsic gas too low: gas 20999, minimum needed 21000": BAD,
        "exceeds block gas limit": BAD,
        "tx fee (1.20 ether) exceeds the configured cap (1.00 ether)": BAD,
        "max priority fee per gas higher than max fee per gas": BAD,
        "transaction type not supported": BAD,
        "oversized data": BAD,
        "rlp: expected input list for types.LegacyTx": BAD,
        "max initcode size exceeded": BAD,
        "gas uint64 overflow": BAD,
        "nonce has max value": BAD,
    },
    "reth": {
        "already known": KNOWN,
        "nonce too low: next nonce 5, tx nonce 4": LOW,
        "replacement transaction underpriced": CHEAP,
        "transaction underpriced": CHEAP,
        "max fee per gas less than block base fee": CHEAP,
        "insufficient funds for gas * price + value: have 0 want 1": POOR,
        "txpool is full": FULL,
        "nonce too high": FULL,
        "invalid sender": BAD,
        "invalid transaction signature": BAD,
        "failed to decode signed transaction": BAD,
        "intrinsic gas too low": BAD,
        "exceeds block gas limit": BAD,
        "invalid chain ID": BAD,
    },
    "erigon": {
        "already known": KNOWN,
        "ALREADY_EXISTS: already known": KNOWN,
        "INTERNAL_ERROR: existing txn with same hash": KNOWN,
        "INTERNAL_ERROR: existing tx with same hash": KNOWN,
        "INTERNAL_ERROR: nonce too low": LOW,
        "FEE_TOO_LOW: underpriced": CHEAP,
        "fee too low": CHEAP,
        "INTERNAL_ERROR: could not replace existing tx": CHEAP,
        "replacement transaction underpriced": CHEAP,
        "INTERNAL_ERROR: insufficient funds": POOR,
        "pending sub-pool is full": FULL,
        "baseFee sub-pool is full": FULL,
        "queued sub-pool is full": FULL,
        "spammer": FULL,
        "invalid sender": BAD,
        "IntrinsicGas": BAD,
        "GasUintOverflow": BAD,
        "RLPTooLong": BAD,
        "gas limit is too high": BAD,
        "initcode too large": BAD,
    },
    "Nethermind": {
        "AlreadyKnown": KNOWN,
        "already known": KNOWN,
        "OldNonce": LOW,
        "nonce too low": LOW,
        "FeeTooLow": CHEAP,
        "FeeTooLowToCompete": CHEAP,
        "transaction underpriced": CHEAP,
        "ReplacementNotAllowed": CHEAP,
        "InsufficientFunds, Balance is zero, cannot pay gas": POOR,
        "NonceGap, Future nonce. Expected nonce: 4": FULL,
        "nonce too far in future": FULL,
        "FailedToResolveSender": BAD,
        "failed to recover sender": BAD,
        "InvalidTxSignature: Signature is invalid.": BAD,
        "InvalidTxChainId: Expected 138, got 1.": BAD,
        "TxGasLimitCapExceeded: Gas limit 40000000 exceeded cap of 16777216.": BAD,
        "InvalidTxType: Transaction type in Berlin is not supported.": BAD,
        "InvalidMaxPriorityFeePerGas: Cannot be higher than maxFeePerGas.": BAD,
        "GasLimitExceeded": BAD,
        "gas limit reached": BAD,
        "sender not an eoa": BAD,
        "transaction cost overflow": BAD,
    },
    "besu": {
        "Known transaction": KNOWN,
        "Nonce too low": LOW,
        "Replacement transaction underpriced": CHEAP,
        "Gas price below configured minimum gas price": CHEAP,
        "Gas price below current base fee": CHEAP,
        "Upfront cost exceeds account balance": POOR,
        "Transaction nonce is too distant from current sender nonce": FULL,
        "An invalid transaction with a lower nonce exists": FULL,
        "Nonce too high": FULL,
        "Invalid signature": BAD,
        "Wrong chainId": BAD,
        "ChainId is required": BAD,
        "ChainId not supported": BAD,
        "Intrinsic gas exceeds gas limit": BAD,
        "Transaction gas limit exceeds block gas limit": BAD,
        "Transaction fee cap exceeded": BAD,
        "Invalid transaction type": BAD,
        "Max priority fee per gas exceeds max fee per gas": BAD,
        "Sender account not authorized to send transactions": BAD,
    },
    "anvil": {
        f"Tx: [{HASH}] already Imported": KNOWN,
        "transaction already imported": KNOWN,
        "nonce too low": LOW,
        f"Tx: [{HASH}] insufficient gas price to replace existing transaction": CHEAP,
        "max fee per gas less than block base fee": CHEAP,
        "Insufficient funds for gas * price + value": POOR,
        "Failed to decode signed transaction": BAD,
        "intrinsic gas too low": BAD,
        "intrinsic gas too high -- tx.gas_limit > env.block.gas_limit": BAD,
        "invalid chain id for signer": BAD,
        "Incompatible EIP-155 transaction, signed for another chain": BAD,
        "max priority fee per gas higher than max fee per gas": BAD,
    },
}


@pytest.mark.parametrize(
    ("client", "message", "expected"),
    [(client, *row) for client, rows in WORDS.items() for row in rows.items()],
)
def test_a_clients_words_are_understood(client: str, message: str, expected: SendResult) -> None:
    assert result_of(RpcError(-32000, message)) is expected, client


@pytest.mark.parametrize(
    "message",
    [
        "",
        "internal error",
        "the method eth_sendRawTransaction is not supported",
        "Transaction pool not enabled.",
        "daily request count exceeded, request rate limited",
        "daily request limit reached",
        "header not found",
    ],
)
def test_words_that_are_not_about_the_transaction_decide_nothing(message: str) -> None:
    assert result_of(RpcError(-32000, message)) is SILENT


def test_a_hash_is_success() -> None:
    assert result_of("0x" + "11" * 32) is TAKEN


def answer(number: int, result: SendResult) -> EndpointAnswer:
    return EndpointAnswer(number, f"endpoint {number}", result, f"word {number}")


@pytest.mark.parametrize("results", list(product(SendResult, repeat=3)))
def test_a_success_outweighs_every_error(results: tuple[SendResult, ...]) -> None:
    found = together([answer(n, result) for n, result in enumerate(results)])
    assert found.result in results
    assert found.result.succeeded == any(result.succeeded for result in results)
    assert (found.result is SILENT) == (set(results) == {SILENT})
    assert (found.result is BAD) == (BAD in results and set(results) <= {BAD, SILENT})


@pytest.mark.parametrize(("success", "error"), list(product((TAKEN, KNOWN), (CHEAP, BAD))))
def test_a_contradiction_is_told_with_who_said_what(success: SendResult, error: SendResult) -> None:
    found = together([answer(1, error), answer(2, success)])
    assert found.result is success
    assert found.contradiction == f"endpoint 2 took it, but endpoint 1: {error}, word 1"


@pytest.mark.parametrize(
    "results",
    [(TAKEN, LOW), (TAKEN, POOR), (KNOWN, FULL), (TAKEN, SILENT), (BAD, CHEAP), (TAKEN, KNOWN)],
)
def test_what_a_lagging_node_says_is_no_contradiction(results: tuple[SendResult, ...]) -> None:
    assert together([answer(n, r) for n, r in enumerate(results)]).contradiction is None


def test_without_any_answer_nothing_is_known() -> None:
    assert together([]).result is SILENT
