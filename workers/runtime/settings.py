"""Settings of every process, from environment variables; a wrong one is named, never guessed.

Each role has its own class, so a process can only see what its role needs.
"""

from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self
from urllib.parse import urlsplit

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


class Oidc(NamedTuple):
    """Whose tokens count: who issues them, whom they must be for, and where the keys are."""

    issuer: str
    audience: str
    jwks_url: str


class AccessSettings(Settings):
    """Whatever lets people in: the identity provider, if there is one."""

    oidc_issuer: str | None = None
    """The claim ``iss``, letter by letter."""
    oidc_audience: str | None = None
    """What the claim ``aud`` must hold."""
    oidc_jwks_url: str | None = None
    """Where its keys are; HTTPS, but for loopback outside production."""
    oidc_cache_seconds: Annotated[float, Field(gt=0, le=3600)] = 300.0
    """How long its keys are kept: one that it takes back counts no longer than that."""
    oidc_leeway_seconds: Annotated[float, Field(ge=0, le=60)] = 10.0
    """By how much its clock may differ from ours."""

    def oidc(self) -> Oidc | None:
        """The identity provider, or None; raises `InvalidConfiguration` if it is told in part."""
        told = (self.oidc_issuer, self.oidc_audience, self.oidc_jwks_url)
        if not any(told):
            return None
        if not (self.oidc_issuer and self.oidc_audience and self.oidc_jwks_url):
            raise InvalidConfiguration(
                "the identity provider is told in part only",
                field="DEAL_OIDC_ISSUER",
                limit="DEAL_OIDC_ISSUER, DEAL_OIDC_AUDIENCE and DEAL_OIDC_JWKS_URL together",
                next_action="set all three, or none",
            )
        self._check_jwks_url(self.oidc_jwks_url)
        return Oidc(self.oidc_issuer, self.oidc_audience, self.oidc_jwks_url)

    def _check_jwks_url(self, url: str) -> None:
        parts = urlsplit(url)
        loopback = parts.hostname in {"localhost", "127.0.0.1", "::1"}
        local = parts.scheme == "http" and loopback and self.environment != "production"
        if parts.hostname and (parts.scheme == "https" or local):
            return
        raise InvalidConfiguration(
            "the identity provider's keys must come by HTTPS",
            field="DEAL_OIDC_JWKS_URL",
            value=url,
            limit="https://, or http:// on loopback outside production",
            next_action="correct the address",
        )


class ClientSettings(AccessSettings):
    """Command line and API: read the records, talk to Temporal."""

    database_url: SecretStr
    control_database_url: SecretStr | None = None
    """As the role deal_control; only what changes who may do what, policies and halts needs it."""
    treasury_address: Address | None = None
    web_ui: str | None = None
    credential_file: Path | None = None
    """A file of mode 0600 with the API key or the token of whoever gives commands."""

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
