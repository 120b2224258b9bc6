"""`deal local` answers the way other tools do: tables for people, JSON for pipes, exit codes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from starters.cli.local import app
from starters.local.processes import marked
from starters.local.stack import Stack


def deal_local(*arguments: str, folder: Path) -> Result:
    """Run the command on the stack in this folder."""
    return CliRunner().invoke(app, arguments, env={"DEAL_LOCAL_DIR": str(folder)})


@pytest.mark.usefixtures("make")
def test_a_session(folder: Path) -> None:
    started = deal_local("up", "--without-workers", "--instant", folder=folder)
    assert started.exit_code == 0, started.output
    assert {component["state"] for component in json.loads(started.stdout)} == {"healthy"}
    assert "temporal: healthy" in started.stderr

    healthy = deal_local("status", folder=folder)
    assert healthy.exit_code == 0
    people = folder / "identities"
    assert f"People: {people} has a key for each" in healthy.stderr
    assert (people / "desk.key").exists()
    assert len(json.loads(healthy.stdout)) > 1  # and nothing else: it goes into a pipe
    table = deal_local("status", "-o", "table", folder=folder).stdout
    assert "component" in table
    assert "0:00:0" in table

    environment = json.loads(deal_local("env", "-o", "json", folder=folder).stdout)
    assert environment["DEAL_WEB_UI"].startswith("http://127.0.0.1:")
    exported = deal_local("env", folder=folder).stdout
    script = f'{exported}\necho "$DEAL_DATABASE_URL"'
    shell = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    assert shell.stdout.strip() == environment["DEAL_DATABASE_URL"]

    assert deal_local("kill", "redis", folder=folder).exit_code == 0
    assert deal_local("status", folder=folder).exit_code == 1
    assert deal_local("restart", "redis", folder=folder).exit_code == 0
    assert deal_local("status", folder=folder).exit_code == 0

    # No block time named: it stays as it was, so nothing is restarted.
    again = deal_local("up", "--without-workers", folder=folder)
    assert "starting" not in again.stderr

    redis_log = deal_local("logs", "redis", "-n", "1", folder=folder).stdout
    assert "Ready to accept connections" in redis_log
    assert "redis          " in deal_local("logs", folder=folder).stdout

    assert deal_local("down", folder=folder).exit_code == 0
    assert marked(folder) == []


def test_a_stack_that_is_not_up(folder: Path) -> None:
    status = deal_local("status", folder=folder)
    assert (status.exit_code, json.loads(status.stdout)) == (1, [])
    assert "People" not in status.stderr
    assert deal_local("env", folder=folder).exit_code == 1
    assert deal_local("down", folder=folder / "none").exit_code == 0
    assert not (folder / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("up", "--instant", "--block-time", "2"), 2, "exclude each other"),
        (("up", "--block-time", "0"), 2, "block-time"),
        (("restart", "typo"), 1, "has no 'typo'"),
        (("logs", "typo"), 1, "no log of typo"),
        (("logs", "../stack"), 1, "no log of"),
    ],
)
def test_a_mistake_is_answered(
    folder: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    result = deal_local(*arguments, folder=folder)
    assert result.exit_code == code
    assert said in result.stderr


def test_a_state_file_that_is_none_is_named(folder: Path) -> None:
    for text in ("{", "[1]", '{"processes": 1}'):
        (folder / "stack.json").write_text(text)
        result = deal_local("status", folder=folder)
        assert result.exit_code == 1
        assert "cannot be read" in result.stderr


def test_an_interrupt_has_the_usual_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: Stack) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Stack, "up", interrupted)
    result = deal_local("up", folder=folder)
    assert result.exit_code == 130
    assert "Interrupted" in result.stderr


def test_logs_are_followed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = folder / "logs" / "redis.log"
    log.parent.mkdir()
    log.write_text("before\n")
    texts = iter(["before\nafter\n", "anew\n"])

    def later(_: float) -> None:
        text = next(texts, None)
        if text is None:
            raise KeyboardInterrupt
        log.write_text(text)

    monkeypatch.setattr("starters.cli.local.time.sleep", later)
    result = deal_local("logs", "redis", "--follow", "--lines", "0", folder=folder)
    assert result.stdout.split() == ["after", "anew"]
    assert result.exit_code == 0
