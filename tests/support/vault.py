"""Real Vault servers for tests: in dev mode, or with storage in files, seals and short tokens."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import hvac
import pytest
import requests

from activities.vault.credentials import VaultLogin
from starters.local.logs import tail
from starters.local.ports import LOOPBACK, PortReservations
from starters.local.vault import find_vault

PROJECT: Final = Path(__file__).resolve().parents[2]
_USUAL_PORT: Final = 8200
_WITHIN: Final = 60.0
_LOOK_SECONDS: Final = 0.02
_SHARES, _THRESHOLD = 3, 2
_STATES: Final = {429: "standby", 501: "not initialised", 503: "sealed"}


def needed_vault() -> Path:
    """The program; without it tests are skipped, and where `CI` is set they fail."""
    if found := find_vault():
        return found
    why = "no Vault: `make vault` builds it if Go is there, or install the `vault` tool"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


@dataclass(frozen=True)
class Role:
    """What the signer is given by `deploy/vault/setup`."""

    name: str
    folder: Path
    address: str
    ca_file: Path | None = None

    @property
    def role_id_file(self) -> Path:
        return self.folder / "role-id"

    @property
    def secret_id_file(self) -> Path:
        return self.folder / "secret-id"

    @property
    def transit_key(self) -> str:
        return f"transit/{self.name}"

    @property
    def seed_path(self) -> str:
        return f"deal/{self.name}/seed"

    @property
    def login(self) -> VaultLogin:
        """How to log in as this role."""
        return VaultLogin(
            self.address, self.role_id_file, self.secret_id_file, ca_file=self.ca_file
        )

    @property
    def environment(self) -> dict[str, str]:
        """The settings of a signer that works with it."""
        given = {
            "KEY_PROVIDER": "vault",
            "VAULT_ADDR": self.address,
            "DEAL_VAULT_ROLE_ID_FILE": str(self.role_id_file),
            "DEAL_VAULT_SECRET_ID_FILE": str(self.secret_id_file),
            "DEAL_VAULT_TRANSIT_KEY": self.transit_key,
            "DEAL_VAULT_SEED_PATH": self.seed_path,
        }
        return given | ({"VAULT_CACERT": str(self.ca_file)} if self.ca_file else {})


@dataclass
class VaultServer:
    """One server process and how to break it. `root` is the token of its administrator."""

    program: Path
    folder: Path
    port: int
    options: tuple[str, ...]
    root: str = ""
    unseal_keys: list[str] = field(default_factory=list)
    ca_file: Path | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"{'https' if self.ca_file else 'http'}://{LOOPBACK}:{self.port}"

    @property
    def admin(self) -> hvac.Client:
        """A client with all rights."""
        return hvac.Client(
            url=self.address,
            token=self.root,
            namespace="",
            verify=str(self.ca_file) if self.ca_file else True,
        )

    def start(self) -> None:
        """Start the process and wait until it answers, sealed or not."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.program), "server", *self.options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
            )
        self._until(self._answers, "answers")

    def stop(self) -> None:
        """End the process, by its own id."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def restart(self) -> None:
        """End it and start it again: one with storage is sealed then."""
        self.stop()
        self.start()

    def seal(self) -> None:
        self.admin.sys.seal()
        self._until(lambda: self._status()["sealed"], "is sealed")

    def unseal(self, *states: str) -> None:
        """Unseal it and wait until it is in one of these states: active, if none is given."""
        self.admin.sys.submit_unseal_keys(self.unseal_keys[:_THRESHOLD])
        self._until(lambda: self.state() in (states or ("active",)), "is unsealed")

    def initialise(self) -> None:
        """Make a new server's keys and unseal it."""
        made = self.admin.sys.initialize(_SHARES, _THRESHOLD)
        self.root, self.unseal_keys = made["root_token"], made["keys"]
        self.unseal()

    def join(self, other: VaultServer) -> None:
        """Become a standby of a server with raft storage."""
        self.admin.sys.join_raft_cluster(other.address)
        self.root, self.unseal_keys = other.root, other.unseal_keys
        self.unseal("standby")

    def state(self) -> str:
        """What it says of its health."""
        answer = self.admin.sys.read_health_status(method="GET")
        if isinstance(answer, dict):
            return "active"
        return _STATES.get(answer.status_code, str(answer.status_code))

    def role(self, name: str | None = None, **settings: str) -> Role:
        """Set it up for a signer as operators do; each role has a seed of its own.

        `settings` are those of `deploy/vault/setup`, in lower case and without their prefix.
        """
        name = name or f"signer-{uuid4().hex[:8]}"
        role = Role(name, self.folder / name, self.address, self.ca_file)
        given = {f"DEAL_VAULT_{key.upper()}": value for key, value in settings.items()}
        self.set_up(role, given)
        return role

    def set_up(self, role: Role, settings: Mapping[str, str]) -> None:
        """Run the operators' own command; again for the same role gives it a new secret id."""
        command = (str(PROJECT / "deploy" / "vault" / "setup"), str(role.folder), role.name)
        self._as_operator(command, settings)

    def tool(self, *arguments: str) -> None:
        """Run the `vault` tool as an operator does."""
        self._as_operator((str(self.program), *arguments), {})

    def _as_operator(self, command: tuple[str, ...], settings: Mapping[str, str]) -> None:
        given = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "VAULT": str(self.program),
            "VAULT_ADDR": self.address,
            "VAULT_TOKEN": self.root,
        }
        if self.ca_file:
            given["VAULT_CACERT"] = str(self.ca_file)
        done = subprocess.run(
            command, env={**given, **settings}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr + done.stdout

    def revoke_tokens(self, role: Role) -> None:
        """Revoke every token that this role has: as if each had expired this moment."""
        for accessor in self.accessors(role):
            self.admin.auth.token.revoke_accessor(accessor)

    def accessors(self, role: Role) -> list[str]:
        """The accessors of the tokens that this role has now."""
        found = []
        for accessor in self.admin.auth.token.list_accessors()["data"]["keys"]:
            try:
                token = self.admin.auth.token.lookup_accessor(accessor)["data"]
            except hvac.exceptions.VaultError:
                continue  # it has expired since it was listed
            if token["meta"] and token["meta"].get("role_name") == role.name:
                found.append(accessor)
        return found

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            msg = f"Vault ended with {self.process.returncode}:\n{tail(self.folder / 'log')}"
            raise AssertionError(msg)
        try:
            status = self._status()
        except requests.RequestException:
            return False
        # In dev mode it serves a moment before it has made its mounts.
        return not self._is_dev or (not status["sealed"] and self._is_mounted())

    @property
    def _is_dev(self) -> bool:
        return "-dev" in self.options

    def _status(self) -> dict[str, Any]:
        return self.admin.sys.read_seal_status()

    def _is_mounted(self) -> bool:
        active = self.state() == "active"
        return active and "secret/" in self.admin.sys.list_mounted_secrets_engines()

    def _until(self, holds: Any, what: str) -> None:
        deadline = time.monotonic() + _WITHIN
        while not holds():
            assert time.monotonic() < deadline, f"Vault not within {_WITHIN:.0f} s: {what}"
            time.sleep(_LOOK_SECONDS)


@contextmanager
def dev_vault(program: Path) -> Iterator[VaultServer]:
    """Run a server in dev mode: unsealed at once, everything in memory."""
    with _folder() as folder, _port() as port:
        root = uuid4().hex
        options = (
            "-dev",
            "-dev-no-store-token",
            f"-dev-root-token-id={root}",
            f"-dev-listen-address={LOOPBACK}:{port}",
        )
        yield from _running(VaultServer(program, folder, port, options, root))


@contextmanager
def file_vault(program: Path, *, tls: bool = False) -> Iterator[VaultServer]:
    """Run a server that keeps everything in files, initialised and unsealed, optionally by TLS."""
    with _configured(program, "file", tls=tls) as server:
        server.initialise()
        yield server


@contextmanager
def raft_pair(program: Path) -> Iterator[tuple[VaultServer, VaultServer]]:
    """Run an active server and a standby, which share their storage; neither works alone."""
    with _configured(program, "raft") as active, _configured(program, "raft") as standby:
        active.initialise()
        standby.join(active)
        yield active, standby


@contextmanager
def _configured(program: Path, storage: str, *, tls: bool = False) -> Iterator[VaultServer]:
    with _folder() as folder, _port() as port, _port() as cluster:
        certificate = _certificate(folder) if tls else None
        server = VaultServer(
            program, folder, port, (f"-config={folder / 'vault.hcl'}",), ca_file=certificate
        )
        (folder / "data").mkdir()
        (folder / "vault.hcl").write_text(_config(server, storage, cluster))
        yield from _running(server)


def _running(server: VaultServer) -> Iterator[VaultServer]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="vault-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _port() -> Iterator[int]:
    """A port that stays ours also while the server is down between two starts."""
    with PortReservations() as reservations:
        yield reservations.choose(_USUAL_PORT)


def _config(server: VaultServer, storage: str, cluster_port: int) -> str:
    secure = "tls_disable = true"
    if server.ca_file:
        key = server.folder / "key.pem"
        secure = f'tls_cert_file = "{server.ca_file}"\n  tls_key_file = "{key}"'
    return f"""\
storage "{storage}" {{
  path = "{server.folder / "data"}"
}}
listener "tcp" {{
  address = "{LOOPBACK}:{server.port}"
  cluster_address = "{LOOPBACK}:{cluster_port}"
  {secure}
}}
api_addr = "{server.address}"
cluster_addr = "https://{LOOPBACK}:{cluster_port}"
disable_mlock = true
log_level = "warn"
"""


def _certificate(folder: Path) -> Path:
    """Make a certificate for loopback that is its own authority."""
    certificate = folder / "certificate.pem"
    make = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 "
        f"-subj /CN=vault -addext subjectAltName=IP:{LOOPBACK}"
    )
    files = ["-keyout", str(folder / "key.pem"), "-out", str(certificate)]
    subprocess.run([*make.split(), *files], check=True, capture_output=True)
    return certificate
