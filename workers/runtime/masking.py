"""Masking of what a process writes: its log, its failures, and the traceback it dies with."""

import re
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from re import Match
from types import TracebackType
from typing import Any, Final

from pydantic import SecretBytes, SecretStr

from domain.masking import MASK, mask

_WORDS: Final = re.compile(r"(?:\b[a-z]{3,8}\b[\s,]{1,3}){11,}\b[a-z]{3,8}\b")
_WORD: Final = re.compile(r"[a-z]+")
_FEWEST_WORDS: Final = 12
_SECRET_FIELD: Final = re.compile(
    r"(?i)(?:^|[_-])(?:pass(?:word|phrase)|secret|mnemonic|entropy|seed|credentials?"
    r"|(?:private|api|access|secret|signing)[_-]?key|(?:access|auth|client|vault)[_-]?token)s?$"
)


def mask_text(text: str) -> str:
    """Mask secrets, and mnemonics of BIP-39: twelve or more of its English words in a row."""
    return _WORDS.sub(_masked_mnemonics, mask(text))


def mask_value(value: Any) -> Any:  # noqa: ANN401 - whatever is logged
    """Mask every text in a value that is logged; fields that are named like a secret, wholly."""
    match value:
        case None | bool() | int() | float():
            return value
        case SecretStr() | SecretBytes():
            return MASK
        case Mapping():
            return {mask_value(name): _masked_field(name, each) for name, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [mask_value(each) for each in value]
    return mask_text(value if isinstance(value, str) else _text_of(value))


def _text_of(value: object) -> str:
    return str(value) if isinstance(value, BaseException) else repr(value)


def mask_event(
    _logger: Any,  # noqa: ANN401 - structlog's signature
    _method: str,
    event: MutableMapping[str, Any],
) -> MutableMapping[str, Any]:
    """For structlog: the last processor before a record is written."""
    internal = {name: value for name, value in event.items() if name.startswith("_")}
    return mask_value({n: v for n, v in event.items() if n not in internal}) | internal  # type: ignore[no-any-return]


def mask_tracebacks() -> None:
    """Have the traceback that ends this process masked, too."""
    sys.excepthook = _tell_masked


def _tell_masked(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    lines = traceback.format_exception(kind, error, trace)
    sys.stderr.write(mask_text("".join(lines)))


def _masked_field(name: object, value: Any) -> Any:  # noqa: ANN401 - whatever is logged
    if isinstance(name, str) and _SECRET_FIELD.search(name) and not isinstance(value, bool | None):
        return MASK
    return mask_value(value)


def _masked_mnemonics(match: Match[str]) -> str:
    """Mask each long enough row of the list's words; other prose stays."""
    text, row = match[0], list[Match[str]]()
    found: list[tuple[int, int]] = []
    for word in [*_WORD.finditer(text), None]:
        if word is not None and word[0] in _mnemonic_words():
            row.append(word)
            continue
        if len(row) >= _FEWEST_WORDS:
            found.append((row[0].start(), row[-1].end()))
        row = []
    for start, end in reversed(found):
        text = f"{text[:start]}{MASK}{text[end:]}"
    return text


@cache
def _mnemonic_words() -> frozenset[str]:
    """The English list of BIP-39, from the library that makes mnemonics, without loading it."""
    found = find_spec("eth_account")
    if found is None or found.origin is None:
        raise AssertionError  # it is installed wherever this is
    lists = Path(found.origin).parent / "hdaccount" / "wordlist"
    return frozenset((lists / "english.txt").read_text().split())
