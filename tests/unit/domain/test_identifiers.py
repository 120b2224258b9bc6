"""A wrong identifier cannot be built, and a right one survives every boundary."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from domain.errors import InvalidInput
from domain.identifiers import Address, BankId, DealId, Identifier, ModuleId, eip55

# The test cases of EIP-55, all of them.
EIP55 = [
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
    "0xde709f2102306220921060314715629080e2fb77",
    "0x27b1fdb04752bbc536007a920d24acb045561c26",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
]
ADDRESS = EIP55[4]


class Entry(BaseModel):
    deal: DealId
    account: Address
    by_module: dict[ModuleId, Address]


@pytest.mark.parametrize("text", EIP55)
def test_the_vectors_of_eip_55_are_addresses(text: str) -> None:
    assert Address(text) == text
    assert eip55(text.lower()) == text
    assert eip55("0x" + text[2:].upper()) == text


@pytest.mark.parametrize("text", [ADDRESS.lower(), "0x" + ADDRESS[2:].upper(), ADDRESS.swapcase()])
def test_a_wrong_checksum_is_refused_with_the_right_one(text: str) -> None:
    text = "0x" + text[2:]
    with pytest.raises(InvalidInput) as caught:
        Address(text)
    problem = caught.value.problem
    assert (problem.field, problem.value) == ("address", text)
    assert problem.limit == f"{ADDRESS} if every digit is right"
    assert "compare every digit" in problem.next_action


@given(index=st.integers(2, 41))
def test_no_letter_of_an_address_may_change_its_case(index: int) -> None:
    changed = ADDRESS[:index] + ADDRESS[index].swapcase() + ADDRESS[index + 1 :]
    if changed == ADDRESS:
        assert Address(changed) == ADDRESS
    else:
        with pytest.raises(InvalidInput):
            Address(changed)


def test_the_zero_address_is_refused() -> None:
    with pytest.raises(InvalidInput) as caught:
        Address("0x" + "0" * 40)
    problem = caught.value.problem
    assert (problem.field, problem.limit) == ("address", "not zero")
    assert problem.next_action == "give the real address"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "0x",
        ADDRESS[:-1],
        ADDRESS + "0",
        ADDRESS[2:],
        "0X" + ADDRESS[2:],
        ADDRESS[:-1] + "g",
        ADDRESS + "\n",
        " " + ADDRESS,
        int(ADDRESS, 16),
        bytes.fromhex(ADDRESS[2:]),
        None,
    ],
)
def test_what_is_no_address_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        Address(value)
    problem = caught.value.problem
    assert (problem.field, problem.value) == ("address", None if value is None else str(value))
    assert problem.limit == "20 bytes in EIP-55 form"


@given(st.binary(min_size=20, max_size=20).filter(any))
def test_an_address_is_its_twenty_bytes(raw: bytes) -> None:
    address = Address.from_bytes(raw)
    assert address.raw == raw
    assert Address(address) == address


@pytest.mark.parametrize("raw", [b"", b"\x01" * 19, b"\x01" * 21, b"\x01" * 32, b"\0" * 20])
def test_bytes_that_are_no_address_are_refused(raw: bytes) -> None:
    with pytest.raises(InvalidInput):
        Address.from_bytes(raw)


@pytest.mark.parametrize("text", ["a", "0", "alpha", "deal-1", "a" * 63, "2026-11-22-desk-7"])
def test_lower_case_letters_digits_and_hyphens_make_an_identifier(text: str) -> None:
    assert DealId(text) == text


@pytest.mark.parametrize(
    "value", ["", "-a", "a-", "A", "a_b", "a b", "a/b", "a.b", "a" * 64, "a\n", "ä", "٣", 7, None]
)
@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (DealId, "deal_id"),
        (BankId, "bank"),
        (ModuleId, "module"),
        (Identifier, "identifier"),
    ],
)
def test_any_other_name_is_refused_by_its_field(
    kind: type[Identifier], field: str, value: Any
) -> None:
    with pytest.raises(InvalidInput) as caught:
        kind(value)
    problem = caught.value.problem
    assert (problem.field, problem.value) == (field, None if value is None else str(value))
    assert problem.limit == "1 to 63 of a-z, 0-9 and hyphen, no hyphen at either end"
    assert problem.next_action == "choose another name"


def test_identifiers_keep_their_types_through_a_models_json() -> None:
    entry = Entry(
        deal=DealId("alpha"), account=Address(ADDRESS), by_module={ModuleId("usdtz"): ADDRESS}
    )
    again = Entry.model_validate_json(entry.model_dump_json())
    assert again == entry
    assert type(again.deal) is DealId
    assert type(again.account) is Address
    assert [(type(k), type(v)) for k, v in again.by_module.items()] == [(ModuleId, Address)]
    assert entry.model_dump(mode="json") == {
        "deal": "alpha",
        "account": ADDRESS,
        "by_module": {"usdtz": ADDRESS},
    }


def test_a_model_validates_identifiers_that_come_from_outside() -> None:
    with pytest.raises(ValidationError) as caught:
        Entry.model_validate(
            {"deal": "Alpha", "account": ADDRESS.lower(), "by_module": {"-": ADDRESS}}
        )
    assert [finding["loc"] for finding in caught.value.errors()] == [
        ("deal",),
        ("account",),
        ("by_module", "-", "[key]"),
    ]


@pytest.mark.parametrize("value", [7, b"alpha", True, None])
def test_a_model_takes_no_other_type_for_an_identifier(value: Any) -> None:
    with pytest.raises(ValidationError):
        Entry.model_validate({"deal": value, "account": ADDRESS, "by_module": {}})
