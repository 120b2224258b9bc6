"""What takes minutes is told every second on a terminal, and now and then in a log."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

from starters.local.telling import QUIET_SECONDS, Telling

if TYPE_CHECKING:
    import pytest


class Terminal(io.StringIO):
    """Remembers what it is shown."""

    def isatty(self) -> bool:
        """Say that somebody looks."""
        return True


def test_a_log_hears_what_is_new_at_once_and_the_rest_now_and_then(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = 100.0
    telling = Telling(lambda: now)
    telling("waiting")
    for second in range(100):
        now = 100.0 + second
        telling(f"building ({second} s)")
    telling("checking")
    telling.end()
    every = int(QUIET_SECONDS)
    assert capsys.readouterr().err.splitlines() == [
        "waiting",
        *(f"building ({second} s)" for second in range(0, 100, every)),
        "checking",
    ]


def test_a_terminal_has_one_line_that_changes_and_is_left_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    telling = Telling()
    telling("building (0 s)")
    telling("building (1 s)")
    assert "\n" not in shown.getvalue()
    assert shown.getvalue().count("building") == 2
    telling.end()
    telling.end()
    assert shown.getvalue().count("\n") == 1
