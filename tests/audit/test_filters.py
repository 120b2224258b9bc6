"""The little language that names the deals of a batch: what it says, and what it refuses."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidInput
from starters.control.filters import DealTerms, parse_where


def test_every_term_is_read() -> None:
    text = "bank=one,two status=executing,PAUSED chain=138,1 module=usdtz id=a older=2h quiet=30m"
    assert parse_where(text) == DealTerms(
        id=("a",),
        bank=("one", "two"),
        module=("usdtz",),
        chain=(138, 1),
        status=("EXECUTING", "PAUSED"),
        older=timedelta(hours=2),
        quiet=timedelta(minutes=30),
    )
    assert parse_where("  bank=one,one ") == DealTerms(bank=("one",))


@pytest.mark.parametrize(
    ("text", "value", "limit"),
    [
        ("", "", "terms such as bank=bank-one"),
        ("   ", "   ", "terms such as"),
        ("bank", "bank", "terms such as"),
        ("owner=me", "owner=me", "id, bank, module, chain, status, older, quiet"),
        ("bank=one bank=two", "bank=two", "bank=one,another"),
        ("bank=One", "bank=One", "a-z"),
        ("bank=", "bank=", "a-z"),
        ("bank=one,", "bank=one,", "a-z"),
        ("bank=one;drop", "bank=one;drop", "a-z"),
        ("bank!=one", "bank!=one", "terms such as"),
        ("status=RUNNING", "status=RUNNING", "EXECUTING"),
        ("chain=0", "chain=0", "chain ids"),
        ("chain=-1", "chain=-1", "chain ids"),
        ("chain=1e9", "chain=1e9", "chain ids"),
        ("chain=٣", "chain=٣", "chain ids"),
        (f"chain={2**63}", f"chain={2**63}", "chain ids"),
        ("older=2", "older=2", "such as 2h"),
        ("older=2h30m", "older=2h30m", "such as 2h"),
        ("older=-2h", "older=-2h", "such as 2h"),
    ],
)
def test_what_cannot_be_read_is_named_with_what_could_be(text: str, value: str, limit: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_where(text)
    problem = caught.value.problem
    assert (problem.field, problem.value) == ("where", value)
    assert limit in (problem.limit or "")


@given(st.text(max_size=60))
def test_nothing_else_gets_through(text: str) -> None:
    try:
        terms = parse_where(text)
    except InvalidInput:
        return
    assert terms != DealTerms()
