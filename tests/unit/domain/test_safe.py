"""Signatures and Safe transactions, as far as they can be judged without a chain."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.errors import InvalidInput
from domain.identifiers import Address, ChainId
from domain.safe import (
    CURVE_ORDER,
    OwnerSignature,
    SafeTransaction,
    check_signature_form,
    packed,
)

_SAFE = Address("0xA7d65934b1aA1bEB68Ab8cff9Aeb715552eCA6Ed")
_OTHER = Address("0x2E2Ed0Cfd3AD2f1d34481277b3204d807Ca2F8c2")


def _signature(r: int = 1, s: int = 1, v: int = 27) -> str:
    return "0x" + (r.to_bytes(32) + s.to_bytes(32) + bytes([v])).hex()


def _payment(**changes: object) -> SafeTransaction:
    fields = {"chain_id": ChainId(138), "safe": _SAFE, "to": _OTHER, "value": 5, "nonce": 3}
    return SafeTransaction.model_validate(fields | changes)


@pytest.mark.parametrize("v", [27, 28])
def test_a_plain_signature_is_taken(v: int) -> None:
    check_signature_form(_signature(v=v))


@pytest.mark.parametrize(
    ("signature", "field"),
    [
        (_signature(v=0), "signature.v"),
        (_signature(v=1), "signature.v"),
        (_signature(v=31), "signature.v"),
        (_signature(v=32), "signature.v"),
        (_signature(v=255), "signature.v"),
        (_signature(r=0), "signature.r"),
        (_signature(r=CURVE_ORDER), "signature.r"),
        (_signature(s=0), "signature.s"),
        (_signature(s=CURVE_ORDER // 2 + 1), "signature.s"),
    ],
)
def test_every_other_form_is_refused_by_its_part(signature: str, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_signature_form(signature)
    assert caught.value.problem.field == field


@pytest.mark.parametrize(
    "change",
    [
        {"chain_id": 651940},
        {"safe": _OTHER},
        {"to": _SAFE},
        {"value": 6},
        {"data": "0x00"},
        {"operation": 1},
        {"safe_tx_gas": 1},
        {"base_gas": 1},
        {"gas_price": 1},
        {"gas_token": _SAFE},
        {"refund_receiver": _SAFE},
        {"nonce": 4},
    ],
)
def test_every_field_is_in_the_hash_and_in_what_a_rejection_signs(
    change: dict[str, object],
) -> None:
    assert _payment(**change).hash() != _payment().hash()
    assert _payment(**change).rejection_hash() != _payment().rejection_hash()


def test_a_rejection_is_never_an_approval() -> None:
    assert _payment().rejection_hash() != _payment().hash()


@given(st.lists(st.binary(min_size=20, max_size=20).filter(any), unique=True, max_size=6))
def test_signatures_are_joined_by_the_numbers_of_their_owners(raw: list[bytes]) -> None:
    signatures = [
        OwnerSignature(owner=Address.from_bytes(each), signature=_signature(r=number + 1))
        for number, each in enumerate(raw)
    ]
    joined = packed(signatures)
    by_number = sorted(range(len(raw)), key=lambda number: int.from_bytes(raw[number]))
    assert joined == "0x" + "".join(_signature(r=number + 1)[2:] for number in by_number)


@pytest.mark.parametrize("text", ["", "0x", "0x" + "00" * 64, "0x" + "GG" * 65, "00" * 65])
def test_what_is_no_signature_is_none(text: str) -> None:
    with pytest.raises(ValidationError):
        OwnerSignature(owner=_SAFE, signature=text)
