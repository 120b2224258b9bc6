"""The command line, run inside this process, with no stack anywhere near."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from starters.cli.main import app


@dataclass(frozen=True)
class Answer:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)

    @property
    def problem(self) -> dict[str, str]:
        """The problem on standard error, as JSON."""
        return dict(json.loads(self.err))


Deal = Callable[..., Answer]


@pytest.fixture
def deal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Deal:
    """Run `deal` with arguments; an unexpected error is raised, not swallowed."""
    for name in list(os.environ):
        if name.startswith(("DEAL_", "TEMPORAL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DEAL_LOCAL_DIR", str(tmp_path / "no-stack"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("DEAL_ENVIRONMENT", "development")
    monkeypatch.setenv("DEAL_CODEC_KEYS", "off")  # what is connected to here is a stand-in

    def run(*arguments: str, stdin: str | None = None) -> Answer:
        result = CliRunner().invoke(app, arguments, input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(result.exit_code, result.stdout, result.stderr)

    return run
