"""Our reading of a Safe is the contract's own: hashes, signatures, executions."""

import pytest
from coincurve import PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from web3.types import TxReceipt

from activities.protocols import safe
from deploy.chain import RunningAnvil
from deploy.chain.governance import OWNERS, THRESHOLD
from domain.identifiers import Address, ChainId
from domain.safe import OwnerSignature, SafeTransaction, packed
from tests.activities.chain import CHAIN, ETHER, OWNER, Node
from tests.support.owners import KEYS, sign

_ADDRESSES = st.binary(min_size=20, max_size=20).filter(any).map(Address.from_bytes)
_WORDS = st.integers(0, 2**256 - 1)


def _call(node: Node, function: safe.Function, *arguments: object) -> tuple[object, ...]:
    call = {"to": node.manifest["treasury_safe"], "data": function.encode(*arguments)}
    return function.decode_result(bytes.fromhex(node.ask("eth_call", call, "latest")[2:]))


def _mined(node: Node, call: dict[str, str]) -> TxReceipt:
    sent = node.ask("eth_sendTransaction", call)
    return node.web3.eth.wait_for_transaction_receipt(sent, poll_latency=0.01)


@pytest.fixture
def treasury(node: Node) -> Address:
    return Address(node.manifest["treasury_safe"])


def _payment(treasury: Address, **changes: object) -> SafeTransaction:
    fields = {
        "chain_id": ChainId(CHAIN),
        "safe": treasury,
        "to": Address(OWNER),
        "value": ETHER,
        "nonce": 0,
    }
    return SafeTransaction.model_validate(fields | changes)


def test_the_treasury_is_a_safe_of_two_out_of_three(node: Node) -> None:
    assert _call(node, safe.VERSION) == ("1.4.1",)
    owners, threshold = _call(node, safe.OWNERS)[0], _call(node, safe.THRESHOLD)[0]
    assert sorted(owners) == sorted(owner.lower() for owner in OWNERS)
    assert threshold == THRESHOLD
    assert sorted(KEYS) == sorted(OWNERS)


@settings(max_examples=60, deadline=None)
@given(
    to=_ADDRESSES,
    value=_WORDS,
    data=st.binary(max_size=200),
    operation=st.sampled_from([0, 1]),
    gas=st.tuples(_WORDS, _WORDS, _WORDS),
    gas_token=st.none() | _ADDRESSES,
    refund_receiver=st.none() | _ADDRESSES,
    nonce=_WORDS,
)
def test_the_hash_is_the_contracts_own(  # noqa: PLR0913, PLR0917 - every field
    anvil: RunningAnvil,
    to: Address,
    value: int,
    data: bytes,
    operation: int,
    gas: tuple[int, int, int],
    gas_token: Address | None,
    refund_receiver: Address | None,
    nonce: int,
) -> None:
    node = Node(anvil.url)
    transaction = _payment(
        Address(node.manifest["treasury_safe"]),
        to=to,
        value=value,
        data="0x" + data.hex(),
        operation=operation,
        safe_tx_gas=gas[0],
        base_gas=gas[1],
        gas_price=gas[2],
        gas_token=gas_token,
        refund_receiver=refund_receiver,
        nonce=nonce,
    )
    (hashed,) = _call(node, safe.TRANSACTION_HASH, *safe.hash_arguments(transaction))
    assert isinstance(hashed, bytes)
    assert transaction.hash() == "0x" + hashed.hex()


@given(secret=st.integers(1, 2**250), digest=st.binary(min_size=32, max_size=32))
@settings(deadline=None)
def test_the_signer_of_a_hash_is_found(secret: int, digest: bytes) -> None:
    key = PrivateKey.from_int(secret)
    raw = key.sign_recoverable(digest, hasher=None)
    signature = "0x" + (raw[:64] + bytes([raw[64] + 27])).hex()
    expected = safe.signer_of("0x" + digest.hex(), signature)
    assert expected == Address.from_bytes(
        safe.keccak(key.public_key.format(compressed=False)[1:])[-20:]
    )
    other = "0x" + bytes([digest[0] ^ 1, *digest[1:]]).hex()
    assert safe.signer_of(other, signature) != expected


def test_a_signature_over_no_point_is_nobodys() -> None:
    nothing = "0x" + "ff" * 32 + "00" * 31 + "01" + "1b"
    assert safe.signer_of("0x" + "11" * 32, nothing) is None


@pytest.mark.parametrize("reverse", [False, True])
def test_signatures_in_any_order_pay_once(node: Node, treasury: Address, *, reverse: bool) -> None:
    node.give_ether(treasury, 5 * ETHER)
    account = Address("0x00000000000000000000000000000000000A11cE")
    (nonce,) = _call(node, safe.NONCE)
    payment = _payment(treasury, to=account, nonce=nonce)
    signatures = [
        OwnerSignature(owner=owner, signature=sign(owner, payment.hash()))
        for owner in sorted(KEYS, reverse=reverse)[:THRESHOLD]
    ]
    calldata = safe.execution(payment, packed(signatures))
    assert safe.payment_in(calldata) == (account, ETHER)

    before = node.ether(account)
    call = {"from": OWNER, "to": treasury, "data": calldata, "gas": hex(500_000)}
    receipt = _mined(node, call)
    assert receipt["status"] == 1
    assert node.ether(account) == before + ETHER
    topics = [[topic.to_0x_hex() for topic in log["topics"]] for log in receipt["logs"]]
    assert [safe.EXECUTED_TOPIC, payment.hash()] in topics

    assert _mined(node, call)["status"] == 0
    assert node.ether(account) == before + ETHER


def test_what_is_no_plain_payment_is_not_read_as_one(treasury: Address) -> None:
    assert safe.payment_in("0x") is None
    assert safe.payment_in(safe.OWNERS.encode()) is None
    for change in ({"safe_tx_gas": 1}, {"gas_price": 1}, {"operation": 1}):
        assert safe.payment_in(safe.execution(_payment(treasury, **change), "0x")) is None
