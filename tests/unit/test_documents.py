"""Pages that are written from the code are as the code is."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from domain.denials import Denial
from domain.errors import DealError, errors_by_code
from starters import documents


def test_the_page_of_denials_is_the_one_in_the_docs() -> None:
    page = documents.GUIDES / "denials.md"
    told = "write it anew: python -m starters.documents denials"
    assert page.read_text(encoding="utf-8") == documents.denials_page(), told


def test_every_denial_and_every_error_is_on_the_page() -> None:
    page = documents.denials_page()
    assert all(f"| `{denial}` |" in page for denial in Denial)
    assert "| `limit_exceeded` | 5 | no | A risk limit would be broken" in page
    assert "| `unavailable` | 1 | yes |" in page
    assert "| `idempotency_key_reused` | 2 | no |" in page


def test_the_page_is_the_same_whatever_else_is_loaded() -> None:
    """A test's own error, or one of the local stack's, is none that a reader meets."""
    before = documents.denials_page()

    class Passing(DealError):
        """Only here."""

        code = "passing"

    assert errors_by_code()["passing"] is Passing
    assert documents.denials_page() == before
    del Passing
    gc.collect()  # or the other tests would meet it


def test_the_command_writes_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = tmp_path / "denials.md"
    monkeypatch.setitem(documents.PAGES, "denials", (written, documents.denials_page))
    with pytest.raises(SystemExit) as ended:
        documents.main(["denials"])
    assert ended.value.code == 0
    assert written.read_text(encoding="utf-8") == documents.denials_page()


def test_a_page_that_there_is_not_is_a_usage_error() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "starters.documents", "poems"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "usage" in run.stderr
