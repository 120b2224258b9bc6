"""Identifiers and addresses as distinct types: a wrong one cannot be built.

All are `str` subclasses, so they travel as plain JSON strings, but a type checker tells them
apart and every boundary validates them again.
"""

import re
from functools import lru_cache
from typing import Any, ClassVar, NewType, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from domain.errors import InvalidInput
from domain.hashing import keccak

ChainId = NewType("ChainId", int)


class Identifier(str):
    """A name that people type: lower-case letters, digits and hyphens.

    Raises `InvalidInput` naming the field, the value and the form that is expected.
    """

    __slots__ = ()
    field: ClassVar[str] = "identifier"
    form: ClassVar[re.Pattern[str]] = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

    def __new__(cls, value: str) -> Self:
        """Validate and keep `value` unchanged."""
        if not isinstance(value, str) or cls.form.fullmatch(value) is None:
            raise InvalidInput(
                f"{cls.field} is not well formed",
                field=cls.field,
                value=value,
                limit="1 to 63 of a-z, 0-9 and hyphen, no hyphen at either end",
                next_action="choose another name",
            )
        return super().__new__(cls, value)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Validate like the constructor; serialise as a plain string."""
        return core_schema.no_info_after_validator_function(
            cls,
            core_schema.str_schema(strict=True),
            serialization=core_schema.to_string_ser_schema(),
        )


class DealId(Identifier):
    """Names one deal for ever; the Temporal workflow id is `deal-<deal id>`."""

    __slots__ = ()
    field = "deal_id"


class BankId(Identifier):
    """The participant bank a deal is run for."""

    __slots__ = ()
    field = "bank"


class ModuleId(Identifier):
    """The set of markets a deal uses on its chain: which discount token, pool and redemption."""

    __slots__ = ()
    field = "module"


class Address(Identifier):
    """An EVM address in EIP-55 checksum form; the zero address is refused."""

    __slots__ = ()
    field = "address"
    form = re.compile(r"0x[0-9a-fA-F]{40}")

    def __new__(cls, value: str) -> Self:
        """Validate form, checksum and that it is not zero; raise `InvalidInput` otherwise."""
        if not isinstance(value, str) or cls.form.fullmatch(value) is None:
            raise InvalidInput(
                "address is not 0x followed by 40 hexadecimal digits",
                field="address",
                value=value,
                limit="20 bytes in EIP-55 form",
                next_action="copy the address again from its source",
            )
        if int(value, 16) == 0:
            raise InvalidInput(
                "the zero address owns nothing that comes back",
                field="address",
                value=value,
                limit="not zero",
                next_action="give the real address",
            )
        if value != eip55(value):
            raise InvalidInput(
                "the address does not carry its EIP-55 checksum: a digit or its case is wrong",
                field="address",
                value=value,
                limit=f"{eip55(value)} if every digit is right",
                next_action="compare every digit with the source before correcting the case",
            )
        return str.__new__(cls, value)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Build from 20 raw bytes (a word of ABI output, a log topic's tail)."""
        return cls(eip55("0x" + raw.hex()))

    @property
    def raw(self) -> bytes:
        """The 20 bytes."""
        return bytes.fromhex(self[2:])


@lru_cache(maxsize=4096)
def eip55(value: str) -> str:
    """Return the checksummed form of a 40-digit hexadecimal address.

    Source: EIP-55. A digit is upper case where the matching nibble of the keccak-256 of the
    lower-case digits is 8 or more.
    """
    digits = value[2:].lower()
    digest = keccak(digits.encode()).hex()
    return "0x" + "".join(
        char.upper() if int(nibble, 16) >= 8 else char  # noqa: PLR2004 - the 8 of EIP-55
        for char, nibble in zip(digits, digest, strict=False)
    )
