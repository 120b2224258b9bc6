"""The price guard's arithmetic: exact, on both sides, to the unit."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import LimitExceeded
from domain.prices import FeedPrice, PriceGuard

NOW = 1_000_000


def guard(spot: str = "0.985", reference: str = "1", limit_bps: int = 300) -> PriceGuard:
    return PriceGuard(Fraction(spot), Fraction(reference), limit_bps)


class TestFeed:
    @pytest.mark.parametrize("age", [-5, 0, 60])
    def test_an_answer_is_good_as_long_as_it_is_not_too_old(self, age: int) -> None:
        assert FeedPrice("usd", 7, NOW - age).checked(NOW, 60) == 7

    def test_one_that_is_too_old_is_refused(self) -> None:
        with pytest.raises(LimitExceeded) as caught:
            FeedPrice("usd", 7, NOW - 61).checked(NOW, 60)
        problem = caught.value.problem
        assert (problem.field, problem.value) == ("price_age", "usd")
        assert (problem.limit, problem.actual) == ("60 seconds", "61 seconds")

    @pytest.mark.parametrize("answer", [0, -1])
    def test_one_that_is_no_price_is_refused(self, answer: int) -> None:
        with pytest.raises(LimitExceeded) as caught:
            FeedPrice("usd", answer, NOW).checked(NOW, 60)
        assert caught.value.problem.field == "price_feed"


class TestGuard:
    def test_what_is_within_the_limit_gives_the_least_to_accept(self) -> None:
        # At most 1.03 paid for one bought, at least 0.97 taken for one sold.
        assert guard().buying(1_030, 1_040) == 1_000
        assert guard().selling(1_000, 985) == 970

    @pytest.mark.parametrize("spot", ["0.97", "1.03"])
    def test_the_pool_may_be_as_far_away_as_the_limit(self, spot: str) -> None:
        guard(spot).buying(1_000, 1_000)
        guard(spot).selling(1_000, 1_000)

    @pytest.mark.parametrize("spot", ["0.9699", "1.0301"])
    def test_a_pool_further_away_is_refused_in_both_directions(self, spot: str) -> None:
        for swap in (guard(spot).buying, guard(spot).selling):
            with pytest.raises(LimitExceeded) as caught:
                swap(1_000, 1_000)
            problem = caught.value.problem
            assert (problem.field, problem.limit, problem.actual) == (
                "price_deviation",
                "300",
                "301",
            )
            assert "the pool" in problem.message
            assert spot in str(problem.value)

    @pytest.mark.parametrize("quote", [0, 969, 1_031])
    def test_a_swap_at_another_price_than_the_pools_is_held_against_the_feed_too(
        self, quote: int
    ) -> None:
        with pytest.raises(LimitExceeded) as caught:
            guard().selling(1_000, quote)
        assert "the swap" in caught.value.problem.message

    def test_nothing_at_all_is_no_price(self) -> None:
        with pytest.raises(LimitExceeded):
            guard().buying(1_000, 0)

    @given(
        amount=st.integers(1, 10**15),
        reference=st.fractions(Fraction(1, 2), Fraction(2)),
        limit_bps=st.integers(1, 9_999),
    )
    def test_the_least_accepted_is_the_fewest_units_within_the_limit(
        self, amount: int, reference: Fraction, limit_bps: int
    ) -> None:
        unlimited = PriceGuard(reference, reference, limit_bps)
        at_reference = max(1, round(amount / reference))
        dearest = reference * (10_000 + limit_bps) / 10_000
        try:
            least = unlimited.buying(amount, at_reference)
        except LimitExceeded:  # so few units that one of them is more than the limit
            assert amount < 10**5
            return
        assert Fraction(amount, least) <= dearest
        assert least == 1 or Fraction(amount, least - 1) > dearest
