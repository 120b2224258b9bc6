"""Which deals a batch is about: a few names and values, and nothing that could be misread.

``bank=bank-one status=EXECUTING,PAUSED chain=138 module=usdtz older=2h``: every term has to hold,
of the values of one term any. `older` asks since when a deal runs, `quiet` since when nothing about
it changed.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from domain.deals import DealStatus
from domain.errors import InvalidInput
from domain.identifiers import BankId, DealId, ModuleId

_PERIOD: Final = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_MOST_CHAIN: Final = 2**63


@dataclass(frozen=True)
class DealTerms:
    """What every deal of a batch has; an empty tuple or None does not restrict."""

    id: tuple[str, ...] = ()
    bank: tuple[str, ...] = ()
    module: tuple[str, ...] = ()
    chain: tuple[int, ...] = ()
    status: tuple[str, ...] = ()
    older: timedelta | None = None
    quiet: timedelta | None = None


def parse_where(text: str) -> DealTerms:
    """Read a filter; raise `InvalidInput` naming the term that is wrong and what it may be."""
    terms: dict[str, object] = {}
    for term in text.split():
        name, separator, value = term.partition("=")
        if not separator or name not in _READERS:
            raise _wrong(term, "a term is not one that can be asked for", _NAMES)
        if name in terms:
            raise _wrong(term, f"{name} is given twice", f"{name}=one,another for any of several")
        terms[name] = _READERS[name](term, value)
    if not terms:
        raise _wrong(text, "a batch needs a filter", _NAMES)
    return DealTerms(**terms)  # type: ignore[arg-type]  # each reader gives its field's type


def _several(form: Callable[[str], object], limit: str) -> Callable[[str, str], object]:
    def read(term: str, value: str) -> tuple[object, ...]:
        try:
            return tuple(dict.fromkeys(form(part) for part in value.split(",")))
        except ValueError as error:
            told = error.problem.limit if isinstance(error, InvalidInput) else limit
            raise _wrong(term, "a term has a value that it cannot have", told or limit) from None

    return read


def _status(text: str) -> str:
    return DealStatus(text.upper())


def _chain(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) < _MOST_CHAIN:
        raise ValueError
    return int(text)


def _period(term: str, value: str) -> timedelta:
    found = _PERIOD.fullmatch(value)
    if found is None:
        raise _wrong(term, "a term is not a period", "a number and s, m, h, d or w, such as 2h")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


_READERS: Final[Mapping[str, Callable[[str, str], object]]] = {
    "id": _several(DealId, "ids of deals"),
    "bank": _several(BankId, "names of banks"),
    "module": _several(ModuleId, "names of modules"),
    "chain": _several(_chain, "chain ids: whole numbers above 0"),
    "status": _several(_status, ", ".join(DealStatus)),
    "older": _period,
    "quiet": _period,
}
_NAMES: Final = "terms such as bank=bank-one: " + ", ".join(_READERS)


def _wrong(term: str, message: str, limit: str) -> InvalidInput:
    return InvalidInput(
        message,
        field="where",
        value=term,
        limit=limit,
        next_action="correct the filter and try again; nothing was done",
    )
