"""Settings of every process, from environment variables; a wrong one is named, never guessed.

Each role has its own class, so a process can only see what its role needs.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from activities.signing.providers.settings import Environment, KeySettings
from domain.deals import invalid_input_from
from domain.errors import InvalidConfiguration
from domain.identifiers import Address
from domain.masking import remember_address

PROJECT_ROOT = Path(__file__).resolve().parents[2]
DEFAULT_CONFIG_DIR = PROJECT_ROOT / "deploy" / "config"


def _directory(path: Path) -> Path:
    if not path.is_dir():
        msg = f"{path} is not a directory"
        raise ValueError(msg)
    return path


class Settings(BaseSettings):
    """What every process needs. Temporal's own variables are read by its environment config."""

    model_config = SettingsConfigDict(
        env_prefix="DEAL_", frozen=True, extra="ignore", populate_by_name=True
    )

    environment: Environment = "production"
    config_dir: Annotated[Path, AfterValidator(_directory)] = DEFAULT_CONFIG_DIR

    @classmethod
    def load(cls) -> Self:
        """Read the environment; raise `InvalidConfiguration` naming the variable that is wrong."""
        try:
            settings = cls()
        except ValidationError as error:
            problem = invalid_input_from(error).problem
            name = cls._variable(problem.field or "")
            raise InvalidConfiguration(
                f"{name}: {problem.message}",
                field=name,
                value=problem.value,
                limit=problem.limit,
                next_action=f"set {name}, or start the local stack with `deal local up`",
            ) from None
        for name in ("database_url", "control_database_url"):
            database = getattr(settings, name, None)
            if database is not None:
                remember_address(database.get_secret_value())
        return settings

    @classmethod
    def _variable(cls, field: str) -> str:
        """The environment variable of a field: its own name if it has one, else with the prefix."""
        if any(field == known.validation_alias for known in cls.model_fields.values()):
            return field
        return f"{cls.model_config.get('env_prefix', '')}{field}".upper()


class ConfigSettings(Settings):
    """Commands that look at the chain profiles."""

    fee_address: Address | None = None
    """The fee account, which has to have the timelock's roles; only `deal config check` asks."""


class CodecSettings(Settings):
    """Whatever talks to Temporal: where the keys of its payloads are."""

    codec_keys: Literal["vault", "file", "off"] = "vault"
    """`off` leaves payloads readable to Temporal; it is refused in production."""
    codec_keys_file: Path | None = None
    codec_vault_path: str = "deal/deal-codec/keys"
    """Mount and path of the keys, in a KV engine of version 2."""

    vault_addr: str | None = Field(default=None, validation_alias="VAULT_ADDR")
    vault_namespace: str | None = Field(default=None, validation_alias="VAULT_NAMESPACE")
    vault_cacert: Path | None = Field(default=None, validation_alias="VAULT_CACERT")
    vault_role_id_file: Path | None = None
    vault_secret_id_file: Path | None = None


class CodecServerSettings(CodecSettings):
    """The codec server: who may ask it, and where it listens."""

    codec_server_address: str = "127.0.0.1:8081"
    """``host:port``; anything but loopback needs `codec_server_token_file`."""
    codec_server_token_file: Path | None = None
    """A file with the bearer token that whoever asks must send; needed in production."""
    web_ui: str | None = None
    """The Web UI, the one page whose scripts may ask."""


class WorkerSettings(Settings):
    """What every worker process needs."""

    database_url: SecretStr
    metrics_address: str | None = None
    """``host:port`` to serve Prometheus metrics on; none are served without it."""
    health_address: str | None = None
    """``host:port`` to tell health on, loopback if only a port is given; none without it."""
    ready_file: Path | None = None
    """Created when the worker polls, removed when it stops."""
    graceful_shutdown_seconds: int = 30


class DealsWorkerSettings(WorkerSettings):
    """The deals worker: workflows and records."""


class ChainWorkerSettings(WorkerSettings):
    """A chain worker: reads and transactions of one or more chains."""

    treasury_address: Address


class KeyStoreSettings(KeySettings, Settings):
    """Where the keys are: enough to make the key store ready before there is a database."""


class SignerSettings(KeySettings, WorkerSettings):
    """The signer: keys and its journal, no endpoints."""


class ClientSettings(Settings):
    """Command line and API: read the records, talk to Temporal."""

    database_url: SecretStr
    control_database_url: SecretStr | None = None
    """As the role deal_control; only what changes who may do what, policies and halts needs it."""
    treasury_address: Address | None = None
    web_ui: str | None = None

    def control_database(self) -> str:
        """The URL to change with; raises `InvalidConfiguration` if there is none."""
        if self.control_database_url is None:
            raise InvalidConfiguration(
                "this command changes the control database, and it is not named",
                field="DEAL_CONTROL_DATABASE_URL",
                limit="postgresql://deal_control@host:port/database",
                next_action="set DEAL_CONTROL_DATABASE_URL, or start the local stack with "
                "`deal local up`",
            )
        return self.control_database_url.get_secret_value()
