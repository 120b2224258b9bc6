"""The embedded stack as a whole: up, down, status.

```python
stack = Stack(folder)
stack.up()  # returns when everything is healthy
environment = load_environment(folder)
stack.down()
```
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from domain.masking import mask
from starters.local import (
    anvil,
    api,
    codec,
    identities,
    owners,
    policy,
    postgres,
    probes,
    redis,
    temporal,
    treasury,
    workers,
)
from starters.local.cache import exclusive
from starters.local.errors import ComponentFailedError, LocalStackError, StartCancelledError
from starters.local.graph import Step, run_steps
from starters.local.logs import tail
from starters.local.ports import LOOPBACK, PortReservations
from starters.local.processes import (
    ProcessRecord,
    ProcessSpec,
    base_environment,
    end_marked,
    kill,
    marked,
    memory,
    spawn,
    stop,
    wait_until,
)
from starters.local.state import StackState, default_dir, load_state, project_dir, save_state

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from starters.local.workers import Services, WorkerSpec

CHAINS = (138, 651940)

_LOCK_SECONDS = 600.0
_HEALTHY_SECONDS = 90.0
_SCHEDULES_SECONDS = 120.0
_HUNG_SECONDS = 15.0  # for one that runs already

# How to reach and be let in by a Temporal of somebody else: what the SDK reads, and nothing more.
_TEMPORAL_SETTINGS = (
    "TEMPORAL_ADDRESS",
    "TEMPORAL_NAMESPACE",
    "TEMPORAL_API_KEY",
    "TEMPORAL_TLS",
    "TEMPORAL_GRPC_META_",
    "TEMPORAL_CODEC_",
    "TEMPORAL_PROFILE",
    "TEMPORAL_CONFIG_FILE",
)
# Of that, what is kept in the stack's file; credentials stay where their owner keeps them.
_TEMPORAL_PLACE = ("TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE")


@dataclass(frozen=True)
class ComponentStatus:
    """One component as seen now. `memory` in bytes and `uptime` in seconds, 0 if it is not up."""

    name: str
    state: str  # "healthy", "unhealthy", or "stopped"
    pid: int | None
    address: str
    memory: int
    uptime: float
    log: str

    @property
    def healthy(self) -> bool:
        """Tell whether it runs and answers."""
        return self.state == "healthy"


def _silent(name: str, event: str) -> None:
    """Take progress reports nowhere."""


class Stack:
    """All servers and workers of one folder.

    Args:
        folder: where everything is kept; default `DEAL_LOCAL_DIR`, or `.local` in the project.
        block_time: seconds between blocks; None for a block per transaction, at once.
        chains: the chains to run.
        worker_specs: the workers to run; default all three roles. Without one that has keys,
            the keystore and the treasury are left out too.
        migrate: brings the database, given the stack's folder, to its newest schema; None leaves
            it empty.
        with_api: whether the HTTP API is run as well, where there are workers with keys.
        progress: told the component's name and what happens to it, from several threads.

    An existing server is used instead of starting Temporal if `TEMPORAL_ADDRESS` is set. All
    methods block; from asynchronous code call them by `asyncio.to_thread`. Errors are
    `LocalStackError`s.

    """

    def __init__(  # noqa: PLR0913 - each is one independent choice, with a default
        self,
        folder: Path | None = None,
        block_time: int | None = 1,
        chains: Sequence[int] = CHAINS,
        *,
        worker_specs: Sequence[WorkerSpec] | None = None,
        migrate: Callable[[Path], object] | None = postgres.migrate,
        with_api: bool = True,
        progress: Callable[[str, str], None] = _silent,
    ) -> None:
        """Choose what to run; nothing is started yet."""
        self.folder = (folder or default_dir()).expanduser().absolute()
        self.block_time = block_time
        self.chains = tuple(chains)
        self.workers = tuple(
            workers.default_workers(self.chains) if worker_specs is None else worker_specs
        )
        self._migrate = migrate
        self._with_api = with_api
        self._report = progress
        self._state = StackState()
        self._guard = threading.RLock()
        self._cancelled = threading.Event()
        self._started: list[ProcessRecord] = []
        self._reservations = PortReservations()
        self._chosen: dict[str, dict[str, int]] = {}

    @classmethod
    def remembered(
        cls, folder: Path | None = None, progress: Callable[[str, str], None] = _silent
    ) -> Self:
        """Return the stack with the chains and the block time of its last `up`."""
        folder = folder or default_dir()
        state = load_state(folder)
        return cls(folder, state.block_time, state.chains or CHAINS, progress=progress)

    # -- commands -------------------------------------------------------------------------------

    def up(self) -> dict[str, str]:
        """Start what does not run, restart what runs with other settings, wait for health.

        Returns the environment for the command line. If anything fails, or on an interrupt, what
        this call has started is stopped again.
        """
        with self._session():
            end_marked(self.folder, self._running_pids())
            self._state.block_time, self._state.chains = self.block_time, self.chains
            with self._undone_on_failure():
                run_steps(self._steps(), self._cancelled)
            self._state.environment = self._environment()
            self._save()
            return dict(self._state.environment)

    def down(self) -> None:
        """Stop everything, workers first, and verify that nothing is left; data is kept."""
        with self._session():
            self._stop_in_order(self._state.processes.values())
            end_marked(self.folder)
            postgres.tidy(self.folder)
            self._state.processes.clear()
            self._state.environment.clear()
            self._save()
            if left := marked(self.folder):
                raise LocalStackError(
                    what="The stack could not be stopped",
                    why=f"processes {[process.pid for process in left]} do not end",
                    action="End them by hand.",
                )

    def start(self, name: str) -> None:
        """Start one component (if it does not run) and wait for its health."""
        with self._session(), self._undone_on_failure():
            self._ensure(self._spec(name))

    def stop(self, name: str) -> None:
        """Stop one component the way `down` does."""
        with self._session():
            stop(self._record(name))

    def kill(self, name: str) -> None:
        """SIGKILL one component, for tests and drills."""
        with self._session():
            kill(self._record(name))

    def restart(self, name: str) -> None:
        """Stop one component and start it again."""
        self.stop(name)
        self.start(name)

    def status(self) -> list[ComponentStatus]:
        """Look at each component that was started, without waiting for anybody."""
        state = load_state(self.folder)
        records = sorted(state.processes.values(), key=lambda record: (record.stage, record.name))
        with ThreadPoolExecutor(max_workers=max(1, len(records))) as pool:
            seen = list(pool.map(_look, records))
        if temporal.NAME not in state.processes and "TEMPORAL_ADDRESS" in state.environment:
            seen.insert(0, _look_outside(temporal.NAME, state.environment["TEMPORAL_ADDRESS"]))
        return seen

    def port(self, name: str) -> int:
        """Return a port by its name: `temporal`, `temporal-ui`, `redis`, `chain-138`, ...

        Raises:
            LocalStackError: the stack has chosen no such port.

        """
        ports = load_state(self.folder).ports
        if name not in ports:
            raise _unknown(name, ports)
        return ports[name]

    # -- what is to run -------------------------------------------------------------------------

    def _steps(self) -> list[Step]:
        chains = tuple(anvil.name(chain_id) for chain_id in self.chains)
        servers = (temporal.NAME, codec.NAME, postgres.NAME, redis.NAME, *chains)
        steps = [self._server(name) for name in servers]
        if self._external_temporal():
            steps[0] = Step(temporal.NAME, self._check_external_temporal)
        steps.append(self._server(anvil.KEEPER, *chains))
        steps.append(Step("database", self._prepare_database, (postgres.NAME,)))
        if any(worker.keys for worker in self.workers):
            steps.append(Step("treasury", self._open_treasury))
            steps.append(Step("owners", lambda: owners.ensure_owners(self.folder)))
            steps.append(Step("funding", self._fund, ("treasury", *chains)))
            servers_and_keys = (*servers, "treasury", "database")
            steps.append(Step("schedules", self._apply_schedules, servers_and_keys))
            if self._with_api:
                steps.append(self._server(api.NAME, *servers, "database", "treasury"))
        needs = (*servers, "database", "treasury", "funding")
        return [*steps, *(self._server(worker.name, *needs) for worker in self.workers)]

    def _server(self, name: str, *needs: str) -> Step:
        return Step(name, lambda: self._ensure(self._spec(name)), needs)

    def _spec(self, name: str) -> ProcessSpec:
        for chain_id in self.chains:
            if name == anvil.name(chain_id):
                ports = self._ports(name, anvil.usual_ports(chain_id))
                return anvil.spec(self.folder, chain_id, ports, self.block_time)
        for index, worker in enumerate(self.workers):
            if name == worker.name:
                ports = self._ports(name, workers.usual_ports(worker, index))
                return workers.spec(self.folder, worker, ports, self._services())
        makers: Mapping[str, Callable[[], ProcessSpec]] = {
            temporal.NAME: self._temporal_spec,
            codec.NAME: self._codec_spec,
            postgres.NAME: lambda: postgres.spec(self.folder),
            redis.NAME: lambda: redis.spec(self.folder, self._ports(name, redis.USUAL_PORTS)),
            anvil.KEEPER: lambda: anvil.keeper_spec(self.folder, self._chain_ports()),
            api.NAME: self._api_spec,
        }
        if name not in makers:
            raise _unknown(name, [*makers, *map(anvil.name, self.chains)])
        return makers[name]()

    def _temporal_spec(self) -> ProcessSpec:
        binary = temporal.ensure_temporal(self._report_fetching)
        ports = self._ports(temporal.NAME, temporal.USUAL_PORTS)
        return temporal.spec(self.folder, ports, binary, codec.url(self._codec_port()))

    def _codec_spec(self) -> ProcessSpec:
        return codec.spec(self.folder, self._codec_port(), self._web_ui())

    def _api_spec(self) -> ProcessSpec:
        port = self._ports(api.NAME, api.USUAL_PORTS)[api.NAME]
        return api.spec(self.folder, port, self._services(), self._web_ui())

    def _web_ui(self) -> str:
        """Return the Web UI's address; empty if none is known."""
        if self._external_temporal():
            return os.environ.get("DEAL_WEB_UI", "")
        return temporal.web_ui(self._ports(temporal.NAME, temporal.USUAL_PORTS))

    def _codec_port(self) -> int:
        return self._ports(codec.NAME, codec.USUAL_PORTS)[codec.NAME]

    def _report_fetching(self, event: str) -> None:
        if self._cancelled.is_set():
            raise StartCancelledError(temporal.NAME)
        self._report(temporal.NAME, event)

    def _ports(self, name: str, usual: Mapping[str, int]) -> dict[str, int]:
        """Return the component's ports: those it listens on if it runs, else ones that are free."""
        with self._guard:
            record = self._state.processes.get(name)
            if record is not None and record.alive() and usual.keys() <= record.ports.keys():
                return record.ports
            if name in self._chosen:  # it and its neighbours have to be told the same
                return self._chosen[name]
            chosen = {
                label: self._reservations.choose(port, self._state.ports.get(label))
                for label, port in usual.items()
            }
            self._state.ports |= chosen
            self._chosen[name] = chosen
            return chosen

    def _chain_ports(self) -> dict[int, int]:
        return {chain_id: self._state.ports[anvil.name(chain_id)] for chain_id in self.chains}

    def _external_temporal(self) -> str | None:
        """Return the address of a server somebody else runs, if the environment names one."""
        address = os.environ.get("TEMPORAL_ADDRESS")
        own = f"{LOOPBACK}:{self._state.ports.get(temporal.NAME)}"
        # This stack's own address gets there when somebody works in the environment it prints.
        return address if address and address != own else None

    def _temporal_environment(self) -> dict[str, str]:
        if self._external_temporal():
            given = {
                name: value
                for name, value in os.environ.items()
                if name.startswith(_TEMPORAL_SETTINGS)
            }
            return {"TEMPORAL_NAMESPACE": temporal.NAMESPACE} | given
        address = f"{LOOPBACK}:{self._state.ports[temporal.NAME]}"
        return {"TEMPORAL_ADDRESS": address, "TEMPORAL_NAMESPACE": temporal.NAMESPACE}

    def _services(self) -> Services:
        return workers.Services(
            temporal=self._temporal_environment(),
            redis_port=self._state.ports[redis.NAME],
            chains=self._chain_ports(),
            treasury=self._state.treasury,
            config=project_dir() / "deploy" / "config",
            codec=codec.variables(self.folder),
        )

    def _environment(self) -> dict[str, str]:
        services = self._services()
        environment = workers.common(services) | workers.endpoints(services)
        for name in services.temporal:
            if name not in _TEMPORAL_PLACE:
                del environment[name]
        environment["DEAL_DATABASE_URL"] = postgres.url(self.folder, "deal_reader")
        environment["DEAL_CONTROL_DATABASE_URL"] = postgres.url(self.folder, "deal_control")
        environment["DEAL_CREDENTIAL_FILE"] = str(identities.key_file(identities.DESK, self.folder))
        environment["DEAL_REDIS_URL"] = redis.url(services.redis_port)
        environment["DEAL_FEE_ADDRESS"] = self._state.fee
        environment["DEAL_WEB_UI"] = self._web_ui()
        if self._with_api and api.NAME in self._state.processes:
            environment["DEAL_API_URL"] = api.url(self._state.ports[api.NAME])
        return {name: value for name, value in environment.items() if value}

    # -- steps that start no server -------------------------------------------------------------

    def _check_external_temporal(self) -> None:
        address = self._external_temporal()
        if not probes.answers(f"tcp://{address}"):
            raise LocalStackError(
                what="Temporal cannot be reached",
                why=f"TEMPORAL_ADDRESS is {address}, and nothing answers there",
                action="Start that server, or unset TEMPORAL_ADDRESS to have one started.",
            )
        self._report(temporal.NAME, f"using {address}")

    def _prepare_database(self) -> None:
        postgres.create_database(self.folder)
        if self._migrate is not None:
            self._report("database", "migrating")
            self._migrate(self.folder)
            identities.ensure_identities(self.folder)
            policy.ensure_policy(self.folder)
        self._report("database", "ready")

    def _open_treasury(self) -> None:
        chosen = next(worker.environment for worker in self.workers if worker.keys)
        provider = chosen.get("KEY_PROVIDER", workers.LOCAL_KEYS)
        if not self._has_own_accounts(provider):
            self._report("treasury", "opening the key store")
            opened = treasury.open_key_store(self.folder, chosen)
            self._state.treasury, self._state.fee = opened.treasury, opened.fee
            self._state.key_provider = provider
            self._save()
        self._report("treasury", "ready")

    def _has_own_accounts(self, provider: str) -> bool:
        """Whether the accounts are known, and their keys where they were."""
        if not self._state.fee or provider != self._state.key_provider:
            return False
        kept = workers.keystore_file(self.folder), workers.passphrase_file(self.folder)
        return provider != workers.LOCAL_KEYS or all(file.exists() for file in kept)

    def _fund(self) -> None:
        accounts = treasury.OwnAccounts(self._state.treasury, self._state.fee)
        for chain_id, port in self._chain_ports().items():
            treasury.fund(port, accounts, anvil.manifest(chain_id)["contracts"])
        self._report("funding", "ready")

    def _apply_schedules(self) -> None:
        """Have what happens by itself, such as the rotation of keys, happen here too."""
        done = subprocess.run(
            [sys.executable, "-m", "starters.cli.main", "schedules", "apply"],
            check=False,
            capture_output=True,
            cwd=project_dir(),
            env=base_environment(self.folder, self.folder)
            | workers.common(self._services())
            | {
                "DEAL_DATABASE_URL": postgres.url(self.folder, "deal_reader"),
                "DEAL_CONTROL_DATABASE_URL": postgres.url(self.folder, "deal_control"),
                "DEAL_CREDENTIAL_FILE": str(identities.key_file(identities.DESK, self.folder)),
            },
            timeout=_SCHEDULES_SECONDS,
        )
        if done.returncode != 0:
            raise LocalStackError(
                what="The schedules could not be applied",
                why=f"`deal schedules apply` ended with status {done.returncode}",
                action="See below; Temporal may not be ready, then run `deal local up` again.",
                detail=done.stderr.decode(errors="replace")[-2000:],
            )
        self._report("schedules", "ready")

    # -- starting and stopping ------------------------------------------------------------------

    def _ensure(self, spec: ProcessSpec) -> None:
        """Have the server run with these settings, and healthy."""
        if self._keeps(spec):
            return
        self._report(spec.name, "starting")
        log_start = spec.log.stat().st_size if spec.log.exists() else 0
        if self._cancelled.is_set():
            raise StartCancelledError(spec.name)
        record = self._spawn(spec)
        with self._guard:
            self._started.append(record)
            self._state.processes[spec.name] = record
            self._save()
        self._await_health(record, log_start)
        self._report(spec.name, "healthy")

    def _keeps(self, spec: ProcessSpec) -> bool:
        """Keep the server that runs; stop it if it hangs or runs with other settings."""
        record = self._state.processes.get(spec.name)
        if record is None or not record.alive():
            return False
        if record.digest == spec.digest() and self._answers(record, _HUNG_SECONDS):
            self._report(spec.name, "healthy")
            return True
        self._report(spec.name, "stopping, to start it anew")
        stop(record)
        return False

    def _spawn(self, spec: ProcessSpec) -> ProcessRecord:
        try:
            return spawn(spec)
        except OSError as error:
            raise LocalStackError(
                what=f"{spec.name} could not be started",
                why=f"{spec.command[0]}: {error.strerror or error}",
                action="Check that the program exists and may be run by this user.",
            ) from error

    def _await_health(self, record: ProcessRecord, log_start: int) -> None:
        if not self._answers(record, _HEALTHY_SECONDS):
            why = f"it gave no answer in {_HEALTHY_SECONDS:.0f} s"
            raise _failed(record, why if record.alive() else "its process ended", log_start)

    def _answers(self, record: ProcessRecord, within: float) -> bool:
        """Wait until the server answers; not if it ends first, or when the time is up."""

        def settled() -> bool:
            if self._cancelled.is_set():
                raise StartCancelledError(record.name)
            return not record.alive() or probes.answers(record.probe)

        # Alive as well: it can be another server that answers on its port.
        return wait_until(settled, timeout=within) and record.alive()

    def _stop_in_order(self, records: Collection[ProcessRecord]) -> None:
        """Stop the highest stage first, and those of one stage at the same time."""
        for stage in sorted({record.stage for record in records}, reverse=True):
            together = [record for record in records if record.stage == stage]
            with ThreadPoolExecutor(max_workers=len(together)) as pool:
                list(pool.map(self._stop, together))

    def _stop(self, record: ProcessRecord) -> None:
        if record.alive():
            self._report(record.name, "stopping")
            self._report(record.name, "stopped" if stop(record) else "killed")

    @contextmanager
    def _undone_on_failure(self) -> Iterator[None]:
        """Stop what was started inside if it fails, whatever the reason."""
        self._started.clear()
        self._cancelled.clear()
        with _interrupted_once(self._cancelled):
            try:
                yield
            except BaseException:
                self._cancelled.set()
                self._undo()
                raise

    def _undo(self) -> None:
        self._stop_in_order(self._started)
        for record in self._started:
            self._state.processes.pop(record.name, None)
        self._save()

    # -- state ----------------------------------------------------------------------------------

    @contextmanager
    def _session(self) -> Iterator[None]:
        """Be the only one to change this stack, with its state as it is now."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (
            exclusive(self.folder / ".lock", timeout=_LOCK_SECONDS),
            PortReservations() as self._reservations,
        ):
            self._state = load_state(self.folder)
            self._chosen.clear()
            yield

    def _save(self) -> None:
        with self._guard:
            save_state(self.folder, self._state)

    def _running_pids(self) -> list[int]:
        return [record.pid for record in self._state.processes.values() if record.alive()]

    def _record(self, name: str) -> ProcessRecord:
        if name not in self._state.processes:
            raise _unknown(name, self._state.processes)
        return self._state.processes[name]


def _look(record: ProcessRecord) -> ComponentStatus:
    if not record.alive():
        return ComponentStatus(record.name, "stopped", None, mask(record.address), 0, 0, record.log)
    return ComponentStatus(
        name=record.name,
        state="healthy" if probes.answers(record.probe) else "unhealthy",
        pid=record.pid,
        address=mask(record.address),
        memory=memory(record.pid),
        uptime=max(0.0, time.time() - record.started_at),
        log=record.log,
    )


def _look_outside(name: str, address: str) -> ComponentStatus:
    state = "healthy" if probes.answers(f"tcp://{address}") else "unhealthy"
    return ComponentStatus(name, state, None, mask(address), 0, 0, "")


def _failed(record: ProcessRecord, why: str, log_start: int) -> ComponentFailedError:
    end = tail(Path(record.log), start=log_start) or "(it wrote nothing)"
    return ComponentFailedError(record.name, why=why, log=record.log, tail=end)


def _unknown(name: str, known: Sequence[str] | Mapping[str, object]) -> LocalStackError:
    return LocalStackError(
        what=f"The stack has no {name!r}",
        why="nothing was started under that name",
        action=f"There are: {', '.join(known) or 'none'}.",
    )


@contextmanager
def _interrupted_once(cancelled: threading.Event) -> Iterator[None]:
    """Take the first Ctrl-C or SIGTERM as an interrupt, and let none disturb the cleaning up."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is interrupted, and only it may say how
        return

    def interrupt(_number: int, _frame: object) -> None:
        if not cancelled.is_set():
            cancelled.set()
            raise KeyboardInterrupt

    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, interrupt) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
