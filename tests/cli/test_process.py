"""The command as a process: quick to help, quiet when interrupted, exact when it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from starters.access.keys import ApiKey
from starters.cli import errors, local, main, output
from starters.local import state
from starters.local.identities import write_key
from tests.cli.conftest import Deal
from tests.control.people import add_principal, change
from tests.support.postgres import Database

ROOT = Path(main.__file__).parents[2]
HELP = """
import sys
from starters.cli.main import app
try:
    app(["--help"])
except SystemExit:
    heavy = {"temporalio", "web3", "psycopg", "aiohttp", "opentelemetry", "redis"}
    print(*heavy & set(sys.modules), file=sys.stderr)
"""


def environment(**changes: str) -> dict[str, str]:
    """An environment without a stack; what measures coverage goes along."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in {"PATH", "HOME"} or name.startswith("COVERAGE_")
    }
    nothing = {"DEAL_ENVIRONMENT": "development", "DEAL_CODEC_KEYS": "off"}
    return kept | {"DEAL_LOCAL_DIR": "/nonexistent", "PYTHONPATH": str(ROOT)} | nothing | changes


def run(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run `deal` to its end."""
    command = [sys.executable, "-m", "starters.cli.main", *arguments]
    return subprocess.run(
        command, env=environment(**changes), capture_output=True, text=True, check=False
    )


def test_help_loads_nothing_heavy() -> None:
    """Help comes at once because what takes long to load is loaded by the command that needs it."""
    told = subprocess.run(
        [sys.executable, "-c", HELP],
        env=environment(COVERAGE_PROCESS_CONFIG=""),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Launch deals" in told.stdout
    assert told.stderr.split() == []


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["show"], ["list", "-o", "xml"], ["list", "--limit", "many"], []]
)
def test_wrong_usage_exits_2(arguments: list[str]) -> None:
    answer = run(*arguments)
    assert answer.returncode == 2
    assert "Traceback" not in answer.stderr


def test_the_version_is_told() -> None:
    answer = run("--version")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.strip()


@pytest.fixture(scope="module")
def somebody(database: Database, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a person with a key, whom a process of its own can look up."""
    add_principal(database, "pia", "viewer")
    key = ApiKey.generate()
    change(
        database,
        "INSERT INTO control.api_keys (key_id, principal_id, hash, expires_at)"
        " VALUES (%s, 'pia', %s, now() + interval '1 day')",
        key.key_id,
        key.hash,
    )
    file = tmp_path_factory.mktemp("keys") / "pia.key"
    write_key(file, key)
    return {
        "DEAL_DATABASE_URL": database.role("deal_reader"),
        "DEAL_CREDENTIAL_FILE": str(file),
        "TEMPORAL_ADDRESS": "127.0.0.1:1",
    }


def test_an_error_ends_the_process_with_its_code_and_everything_printed(
    somebody: dict[str, str],
) -> None:
    """With Temporal's library loaded, which would rather abort."""
    answer = run("watch", "alpha", **somebody)
    assert answer.returncode == 1
    assert '"field":"TEMPORAL_ADDRESS"' in answer.stderr
    assert answer.stderr.endswith("}\n")


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o604])
def test_a_credential_that_others_can_read_is_not_used(
    somebody: dict[str, str], tmp_path: Path, mode: int
) -> None:
    open_to_others = tmp_path / "open.key"
    open_to_others.write_text(Path(somebody["DEAL_CREDENTIAL_FILE"]).read_text())
    open_to_others.chmod(mode)
    environment_of = somebody | {"DEAL_CREDENTIAL_FILE": str(open_to_others)}
    answer = run("list", **environment_of)
    assert answer.returncode == 4
    assert '"actual":"it is open to others than its owner"' in answer.stderr
    open_to_others.chmod(0o600)
    assert run("list", **environment_of).returncode == 0


def test_ctrl_c_exits_130_and_says_nothing(tmp_path: Path, somebody: dict[str, str]) -> None:
    """Interrupted while it waits for a listener that never answers."""
    probe = tmp_path / "probe.py"
    probe.write_text(
        "import asyncio, sys\n"
        "from starters.cli import follow, main\n"
        "from starters.cli.process import run_and_leave\n"
        "async def hang():\n"
        "    print('waiting', flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "follow.open_client = hang\n"
        "sys.argv = ['deal', 'wait', 'alpha']\n"
        "run_and_leave(main.app)\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(probe)],
        env=environment(**somebody),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert (process.returncode, told) == (130, "")


def test_a_reader_that_goes_away_is_no_error(deal: Deal, somebody: dict[str, str]) -> None:
    """`deal list | head -0`."""
    assert deal("list").code == 2  # the environment is clean
    command = [sys.executable, "-m", "starters.cli.main", "show", "nobody"]
    process = subprocess.Popen(
        command,
        env=environment(**somebody),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 2
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()


def test_a_worker_takes_the_place_of_the_command(
    deal: Deal, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, command: replaced.append(command))
    assert deal("worker", "chain", "--chain", "138").code == 0
    assert replaced == [[sys.executable, "-m", "workers.chain", "--chain", "138"]]
    assert deal("worker", "cook").code == 2


def test_the_database_is_migrated_by_its_owner(
    deal: Deal, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = deal("database", "migrate")
    assert (answer.code, answer.problem["field"]) == (2, "DEAL_DATABASE_OWNER_URL")
    monkeypatch.setenv("DEAL_DATABASE_OWNER_URL", database.owner)
    assert deal("database", "migrate").document == {"applied": []}
    assert deal("database", "migrate", "-o", "table").out == "nothing to do\n"


def test_a_password_in_a_url_is_never_shown(deal: Deal, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("postgresql://me:s3cret@127.0.0.1:1/x", "postgresql//me:s3cret@127.0.0.1:1/x"):
        monkeypatch.setenv("DEAL_DATABASE_OWNER_URL", url)
        monkeypatch.setenv("DEAL_DATABASE_URL", url)
        for arguments in (("database", "migrate"), ("list",)):
            answer = deal(*arguments)
            assert answer.code in {1, 2}
            assert "s3cret" not in answer.out + answer.err


def test_the_local_stack_fills_what_the_environment_leaves_open(
    deal: Deal, database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = database.role("deal_reader")
    stack = state.StackState(environment={"DEAL_DATABASE_URL": url, "DEAL_WEB_UI": "http://stack"})
    monkeypatch.setenv("DEAL_LOCAL_DIR", str(tmp_path))
    monkeypatch.delenv("DEAL_DATABASE_URL", raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))  # the command adds to it
    state.save_state(tmp_path, stack)
    assert deal("list").document["deals"] == []
    os.environ["DEAL_DATABASE_URL"] = "postgresql://127.0.0.1:1/none"
    assert deal("list").problem["code"] == "unavailable"


def test_a_stack_that_cannot_be_read_is_named(
    deal: Deal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / state.STATE_FILE).write_text("{")
    monkeypatch.setenv("DEAL_LOCAL_DIR", str(tmp_path))
    answer = deal("list")
    assert answer.code == 1
    assert state.STATE_FILE in answer.problem["message"]


def test_the_local_commands_are_mounted(deal: Deal) -> None:
    help_text = deal("local", "--help").out
    for command in local.app.registered_commands:
        assert command.callback is not None
        assert command.callback.__name__ in help_text


def test_an_unexpected_error_is_not_hidden(deal: Deal, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("starters.cli.config.check", broken)
    with pytest.raises(ZeroDivisionError):
        deal("config", "check")


def test_the_answer_suits_where_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert output.default_output() is output.Output.TABLE
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    assert output.default_output() is output.Output.JSON
    assert errors.INTERRUPTED == 128 + signal.SIGINT
