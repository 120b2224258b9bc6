"""The signer's start: it runs with the policy that is in force, says so, or does not run."""

import shutil
import signal
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretBytes

from activities.signing.providers.keystore import Keystore
from domain.errors import InvalidConfiguration
from tests.support.postgres import Postgres
from tests.workers.processes import ended, running, told_to_stop, until
from workers.runtime.profiles import load_profiles
from workers.runtime.settings import DEFAULT_CONFIG_DIR
from workers.runtime.signing_policy import POLICY_FILE, load_signing_policy

PROFILES = load_profiles(DEFAULT_CONFIG_DIR, {})
VERSION = load_signing_policy(DEFAULT_CONFIG_DIR, PROFILES).version
SIGNER = "from workers.signer import main; main(['run'])"
Start = Callable[[], tuple[int, list[dict[str, Any]]]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A copy of the configuration, to be spoilt."""
    return Path(shutil.copytree(DEFAULT_CONFIG_DIR, tmp_path / "config"))


def rewrite(config: Path, *changes: tuple[str, str]) -> None:
    """Replace each of these texts in the policy once."""
    file = config / POLICY_FILE
    text = file.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    file.write_text(text)


def raised(before: int, after: int) -> tuple[str, str]:
    """The change from one version to another, by how much they are above the file's own."""
    return f"version = {VERSION + before}", f"version = {VERSION + after}"


# -- the file ----------------------------------------------------------------------------------


def problem_of(config: Path) -> Any:
    with pytest.raises(InvalidConfiguration) as caught:
        load_signing_policy(config, PROFILES)
    assert "deal config check" in caught.value.problem.next_action
    return caught.value.problem


def test_the_file_of_the_local_chains_is_loaded() -> None:
    policy = load_signing_policy(DEFAULT_CONFIG_DIR, PROFILES)
    assert policy.chains.keys() == PROFILES.keys()
    document = tomllib.loads((DEFAULT_CONFIG_DIR / POLICY_FILE).read_text())
    assert policy.version == document["version"]
    assert len(policy.digest) == 64


def test_without_a_file_there_is_no_policy(config: Path) -> None:
    (config / POLICY_FILE).unlink()
    problem = problem_of(config)
    assert problem.field == f"{POLICY_FILE}: file"
    assert problem.limit == "a readable file"


@pytest.mark.parametrize("content", [b"version = ", b"\xff\xfe", b"\x00"])
def test_a_file_that_is_not_toml_is_named(config: Path, content: bytes) -> None:
    (config / POLICY_FILE).write_bytes(content)
    problem = problem_of(config)
    assert (problem.field, problem.limit) == (f"{POLICY_FILE}: file", "well-formed TOML in UTF-8")


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("deal_signatures = 500", "deal_signatures = 0", "rates.deal_signatures"),
        ("deal_signatures = 500", "", "rates.deal_signatures"),
        (
            'function = "deposit()"',
            'function = "depose()"',
            "chains.138.modules.usdtz.calls.wrap.function",
        ),
    ],
)
def test_a_rule_that_is_wrong_is_named(config: Path, old: str, new: str, field: str) -> None:
    rewrite(config, (old, new))
    assert problem_of(config).field == f"{POLICY_FILE}: {field}"


# -- the process -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory, codec: dict[str, str]) -> dict[str, str]:
    """A keystore, and what names it and the codec's keys."""
    folder = tmp_path_factory.mktemp("keys")
    passphrase = folder / "passphrase"
    passphrase.write_text("open sesame")
    passphrase.chmod(0o600)
    Keystore(folder / "keystore.json", SecretBytes(b"open sesame")).create()
    return codec | {
        "KEY_PROVIDER": "local",
        "DEAL_KEYSTORE_FILE": str(folder / "keystore.json"),
        "DEAL_KEYSTORE_PASSPHRASE_FILE": str(passphrase),
    }


@pytest.fixture
def start(
    temporal_address: str,
    postgres: Postgres,
    keystore: dict[str, str],
    config: Path,
    tmp_path: Path,
) -> Start:
    """Starts a signer on one database, and stops it when it is ready or waits for its end."""
    database, ready = postgres.migrated(), tmp_path / "ready"
    variables = keystore | {
        "DEAL_ENVIRONMENT": "development",
        "DEAL_CONFIG_DIR": str(config),
        "DEAL_DATABASE_URL": database.role("deal_signer"),
        "DEAL_READY_FILE": str(ready),
        "TEMPORAL_ADDRESS": temporal_address,
    }

    def run() -> tuple[int, list[dict[str, Any]]]:
        with running(SIGNER, **variables) as process:
            until(lambda: ready.exists() or process.poll() is not None, process)
            if process.poll() is None:
                told_to_stop(process, signal.SIGTERM)
            return ended(process)

    return run


def told(lines: list[dict[str, Any]], event: str) -> dict[str, Any]:
    (found,) = (line for line in lines if line["event"] == event)
    return found


def refusal(run: Start) -> dict[str, Any]:
    """What a signer says that does not start."""
    code, lines = run()
    assert code == 2, lines
    assert not [line for line in lines if line["event"] == "ready"]
    return told(lines, "worker cannot run")


def test_a_signer_says_which_policy_it_runs_with_and_whether_it_is_new(
    start: Start, config: Path
) -> None:
    for version, new in ((VERSION, True), (VERSION, False), (VERSION + 1, True)):
        if version > VERSION:
            rewrite(config, raised(0, 1), ("deal_signatures = 500", "deal_signatures = 400"))
        code, lines = start()
        assert code == 0, lines
        line, policy = told(lines, "signing policy"), load_signing_policy(config, PROFILES)
        assert (line["version"], line["digest"], line["new"]) == (version, policy.digest, new)


def test_without_its_policy_a_signer_does_not_start(start: Start, config: Path) -> None:
    (config / POLICY_FILE).unlink()
    assert refusal(start)["field"] == f"{POLICY_FILE}: file"


def test_with_a_policy_that_somebody_has_changed_a_signer_does_not_start(
    start: Start, config: Path
) -> None:
    assert start()[0] == 0
    rewrite(config, ('hour_usd = "1_000_000_000"', 'hour_usd = "9_000_000_000"'))
    problem = refusal(start)
    assert problem["field"] == f"{POLICY_FILE}: version"
    assert "the rules that it had before" in problem["limit"]


def test_with_an_older_policy_a_signer_does_not_start(start: Start, config: Path) -> None:
    rewrite(config, raised(0, 2))
    assert start()[0] == 0
    rewrite(config, raised(2, 1))
    assert "newest" in refusal(start)["limit"]


def test_with_an_address_that_somebody_has_changed_a_signer_does_not_start(
    start: Start, config: Path
) -> None:
    """The names of the policy stand for other contracts then: that is another policy."""
    assert start()[0] == 0
    manifest = config / "138.addresses.json"
    text, contracts = manifest.read_text(), PROFILES[next(iter(PROFILES))].contracts
    manifest.write_text(text.replace(contracts["redemption"], contracts["ledger"], 1))
    assert refusal(start)["field"] == f"{POLICY_FILE}: version"


def test_no_row_can_name_a_policy_that_was_never_in_force(postgres: Postgres) -> None:
    database = postgres.migrated()
    row = (
        "INSERT INTO signing.journal (decision, batch, intent_id, chain_id, account, nonce,"
        " body_digest, no_op, max_fee_per_gas, max_priority_fee_per_gas, transaction_hash,"
        " policy_version, policy_digest, usd8, rated) VALUES ('signed', 'a/wrap/1/1', 'a', 138,"
        " 'x', 0, repeat('0', 64), false, 1, 1, '0x' || repeat('0', 64), 1, repeat('0', 64), 0,"
        " true)"
    )
    with (
        psycopg.connect(database.role("deal_signer")) as connection,
        pytest.raises(psycopg.IntegrityError) as caught,
    ):
        connection.execute(row.encode())
    assert caught.value.diag.constraint_name == "policy_superseded"
