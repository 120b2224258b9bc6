"""Amounts of money as integers; floats never enter.

On chain every amount is a count of the token's smallest unit. `Units` is such a count inside
models: an unbounded integer that is written to JSON as a string, because a reader in JavaScript
(the Web UI) would round anything above 2^53.
"""

from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, InvalidOperation
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from domain.errors import InvalidInput

ETHER_DECIMALS = 18
USD_DECIMALS = 8
BASIS_POINTS = 10_000
UINT256_MAX = 2**256 - 1
_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
"""No rounding: the default context would drop what lies beyond 28 digits without a word."""


def _whole(value: object) -> object:
    """Accept integers and their decimal text; leave everything else to be refused."""
    if isinstance(value, bool):
        msg = "a truth value is not an amount"
        raise ValueError(msg)  # noqa: TRY004 - pydantic turns only a ValueError into a finding
    if isinstance(value, str) and value.lstrip("-").isdigit():
        return int(value)
    return value


Units = Annotated[
    int,
    Field(strict=True),
    Field(ge=0, le=UINT256_MAX),
    BeforeValidator(_whole),
    PlainSerializer(str, return_type=str, when_used="json"),
]
"""A count of smallest units (wei, token units): 0 to 2^256 - 1."""

SignedUnits = Annotated[
    int,
    Field(strict=True),
    Field(ge=-UINT256_MAX, le=UINT256_MAX),
    BeforeValidator(_whole),
    PlainSerializer(str, return_type=str, when_used="json"),
]
"""A change of a balance in smallest units; may be negative."""

Usd8 = SignedUnits
"""US dollars in units of 1e-8, the base currency of Aave's oracle."""


class Amount(BaseModel):
    """A count of smallest units together with the token's decimals (ETH: 18, USDT: 6)."""

    model_config = ConfigDict(frozen=True)

    units: Units
    decimals: Annotated[int, Field(strict=True, ge=0, le=36)]

    @classmethod
    def parse(cls, text: str | int | Decimal, *, decimals: int, field: str) -> Self:
        """Read what a person typed, such as ``1.25``.

        Raises `InvalidInput` for anything that is not a finite, non-negative decimal number
        with at most `decimals` places, or that does not fit in 256 bits.
        """
        number = parse_decimal(text, field=field)
        if number < 0:
            raise InvalidInput(
                f"{field} is negative",
                field=field,
                value=text,
                limit="0 or more",
                next_action="give a positive amount",
            )
        if decimal_places(number) > decimals:
            raise InvalidInput(
                f"{field} has more decimal places than the token",
                field=field,
                value=text,
                limit=f"{decimals} decimal places",
                next_action="round the amount down",
            )
        # The size is compared before scaling: 1e999999 written out would be a million digits.
        if number > UINT256_MAX or (units := int(_EXACT.scaleb(number, decimals))) > UINT256_MAX:
            raise InvalidInput(
                f"{field} does not fit on chain",
                field=field,
                value=text,
                limit="2^256 - 1 smallest units",
                next_action="give a smaller amount",
            )
        return cls(units=units, decimals=decimals)

    def __str__(self) -> str:
        """Decimal notation without trailing zeros, such as ``1.25``."""
        return format_units(self.units, self.decimals)


def parse_decimal(text: object, *, field: str) -> Decimal:
    """Read a finite decimal number; floats are refused because they have lost digits already."""
    if isinstance(text, bool | float) or not isinstance(text, str | int | Decimal):
        raise InvalidInput(
            f"{field} must be decimal text, not a {type(text).__name__}",
            field=field,
            value=text,
            limit='text such as "1.25"',
            next_action="write the number in quotes",
        )
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise InvalidInput(
            f"{field} is not a number",
            field=field,
            value=text,
            limit="a finite decimal number",
            next_action='write it like "1.25"',
        )
    return number


def decimal_places(number: Decimal) -> int:
    """Count the decimal places of a finite number, without trailing zeros: 2 for ``1.250``."""
    exponent = number.normalize(_EXACT).as_tuple().exponent
    return max(0, -int(exponent))


def one_token(decimals: int) -> int:
    """Smallest units in one whole token."""
    units: int = 10**decimals
    return units


def format_units(units: int, decimals: int) -> str:
    """Write a count of smallest units in decimal notation, exactly."""
    sign = "-" if units < 0 else ""
    whole, rest = divmod(abs(units), one_token(decimals))
    fraction = f"{rest:0{decimals}d}".rstrip("0") if decimals else ""
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def value_usd8(units: int, decimals: int, price_usd8: int) -> int:
    """Value an amount in 1e-8 USD, rounded towards minus infinity."""
    return units * price_usd8 // one_token(decimals)


def ceil_div(numerator: int, denominator: int) -> int:
    """Divide and round up; `denominator` is positive."""
    return -(-numerator // denominator)
