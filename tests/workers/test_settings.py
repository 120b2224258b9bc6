"""Settings from environment variables: each wrong or missing one is named."""

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from domain.errors import InvalidConfiguration, Problem
from workers.runtime.profiles import load_profiles, load_profiles_without_nodes
from workers.runtime.settings import (
    DEFAULT_CONFIG_DIR,
    ChainWorkerSettings,
    ClientSettings,
    DealsWorkerSettings,
    KeyStoreSettings,
    Settings,
    SignerSettings,
    WorkerSettings,
)

TREASURY = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
DATABASE = "postgresql://engine@localhost/deals"


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of ours is set."""
    for name in [name for name in os.environ if name.upper().startswith("DEAL_")]:
        monkeypatch.delenv(name)


def problem_of(kind: type[Settings]) -> Problem:
    with pytest.raises(InvalidConfiguration) as caught:
        kind.load()
    assert caught.value.exit_code == 2
    return caught.value.problem


def test_without_any_variable_it_is_production_with_the_committed_profiles() -> None:
    settings = Settings.load()
    assert settings.environment == "production"
    assert settings.config_dir == DEFAULT_CONFIG_DIR
    assert (DEFAULT_CONFIG_DIR / "138.toml").is_file()


def test_variables_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    variables = {
        "DEAL_ENVIRONMENT": "development",
        "DEAL_CONFIG_DIR": str(tmp_path),
        "DEAL_DATABASE_URL": DATABASE,
        "DEAL_METRICS_ADDRESS": "127.0.0.1:9000",
        "DEAL_READY_FILE": str(tmp_path / "ready"),
        "DEAL_GRACEFUL_SHUTDOWN_SECONDS": "7",
        "DEAL_TREASURY_ADDRESS": TREASURY,
        "DEAL_UNKNOWN": "is nobody's business",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = ChainWorkerSettings.load()
    assert settings.model_dump() == {
        "environment": "development",
        "config_dir": tmp_path,
        "database_url": SecretStr(DATABASE),
        "metrics_address": "127.0.0.1:9000",
        "health_address": None,
        "ready_file": tmp_path / "ready",
        "graceful_shutdown_seconds": 7,
        "treasury_address": TREASURY,
    }


@pytest.mark.parametrize(
    ("kind", "given", "missing"),
    [
        (WorkerSettings, {}, "DEAL_DATABASE_URL"),
        (DealsWorkerSettings, {}, "DEAL_DATABASE_URL"),
        (ClientSettings, {}, "DEAL_DATABASE_URL"),
        (ChainWorkerSettings, {"DEAL_DATABASE_URL": DATABASE}, "DEAL_TREASURY_ADDRESS"),
        (SignerSettings, {}, "DEAL_DATABASE_URL"),
    ],
)
def test_a_missing_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, kind: type[Settings], given: dict[str, str], missing: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    problem = problem_of(kind)
    assert (problem.field, problem.value) == (missing, None)
    assert "missing" in problem.message
    assert f"set {missing}" in problem.next_action


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEAL_ENVIRONMENT", "staging"),
        ("DEAL_CONFIG_DIR", "nowhere"),
        ("DEAL_GRACEFUL_SHUTDOWN_SECONDS", "soon"),
        ("DEAL_TREASURY_ADDRESS", TREASURY.lower()),
        ("DEAL_TREASURY_ADDRESS", "treasury"),
        ("DEAL_TREASURY_ADDRESS", "0x" + "0" * 40),
    ],
)
def test_a_wrong_variable_is_named_with_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("DEAL_DATABASE_URL", DATABASE)
    monkeypatch.setenv("DEAL_TREASURY_ADDRESS", TREASURY)
    monkeypatch.setenv(name, value)
    problem = problem_of(ChainWorkerSettings)
    assert (problem.field, problem.value) == (name, value)


def test_a_config_dir_that_is_a_file_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("DEAL_CONFIG_DIR", str(file))
    assert problem_of(Settings).field == "DEAL_CONFIG_DIR"


def test_what_is_wrong_first_is_named_and_the_database_password_never() -> None:
    problem = problem_of(ChainWorkerSettings)
    assert problem.field == "DEAL_DATABASE_URL"
    assert "postgresql" not in problem.model_dump_json()


def test_the_key_provider_is_vault_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("KEY_PROVIDER", raising=False)
    assert KeyStoreSettings.load().key_provider == "vault"
    monkeypatch.setenv("KEY_PROVIDER", "pkcs11")
    assert KeyStoreSettings.load().key_provider == "pkcs11"
    monkeypatch.setenv("KEY_PROVIDER", "paper")
    assert problem_of(KeyStoreSettings).field == "KEY_PROVIDER"


def test_the_signer_is_given_profiles_without_a_node() -> None:
    profiles = load_profiles_without_nodes(DEFAULT_CONFIG_DIR, {})
    assert set(profiles) == set(load_profiles(DEFAULT_CONFIG_DIR, {}))
    for profile in profiles.values():
        assert not profile.endpoints
        assert not profile.submission_endpoints


@pytest.mark.parametrize("kind", ["ENDPOINTS", "SUBMISSION_ENDPOINTS"])
def test_a_signer_that_is_given_a_node_does_not_start(kind: str) -> None:
    name = f"DEAL_CHAIN_138_{kind}"
    with pytest.raises(InvalidConfiguration) as caught:
        load_profiles_without_nodes(DEFAULT_CONFIG_DIR, {name: "http://key@127.0.0.1:1"})
    assert caught.value.problem.field == name
    assert "127.0.0.1" not in caught.value.problem.model_dump_json()


def test_each_role_sees_only_what_is_its_own() -> None:
    assert "treasury_address" not in SignerSettings.model_fields
    for kind in (ChainWorkerSettings, DealsWorkerSettings, ClientSettings):
        assert "keystore_file" not in kind.model_fields


def test_the_control_database_is_asked_for_only_where_it_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DEAL_DATABASE_URL", DATABASE)
    with pytest.raises(InvalidConfiguration) as caught:
        ClientSettings.load().control_database()
    assert caught.value.problem.field == "DEAL_CONTROL_DATABASE_URL"
    monkeypatch.setenv("DEAL_CONTROL_DATABASE_URL", DATABASE)
    assert ClientSettings.load().control_database() == DATABASE
