"""`deal config check`: do the profiles, the address manifests and the nodes agree?"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain as chained
from typing import Final

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from domain.chains import ChainProfile
from domain.errors import DealError, InvalidConfiguration, Problem
from domain.identifiers import Address
from starters.cli import config_safe, config_timelock
from starters.cli.node import Node, public_name
from starters.cli.output import Output, print_json, show
from starters.cli.session import load_config_settings
from workers.runtime.profiles import load_profiles
from workers.runtime.signing_policy import POLICY_FILE, load_signing_policy

_THREADS: Final = 8


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; fine if there is no problem."""

    chain_id: int
    endpoint: str
    check: str
    error: DealError | None = None

    @property
    def problem(self) -> Problem | None:
        """What is wrong."""
        return self.error.problem if self.error else None

    def document(self) -> dict[str, object]:
        """As JSON."""
        return {
            "chain_id": self.chain_id,
            "endpoint": self.endpoint,
            "check": self.check,
            "ok": self.error is None,
            "problem": self.problem.model_dump(exclude_none=True) if self.problem else None,
        }


def check(output: Output) -> None:
    """Look at every chain, print what was found, and leave with the exit code of the worst.

    A profile or a signing policy that cannot be used ends it at once: `InvalidConfiguration` naming
    file and field.
    """
    settings = load_config_settings()
    config_dir = settings.config_dir
    profiles = load_profiles(config_dir)
    policy = load_signing_policy(config_dir, profiles)
    looks = [
        (profile, endpoint.url.get_secret_value(), settings.fee_address)
        for profile in profiles.values()
        for endpoint in profile.endpoints
    ]
    rules = f"signing policy, version {policy.version}, SHA-256 {policy.digest}"
    findings = [Finding(chain_id, POLICY_FILE, rules) for chain_id in policy.chains]
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        findings += list(chained.from_iterable(pool.map(lambda look: check_endpoint(*look), looks)))
    if output is Output.JSON:
        documents = [finding.document() for finding in findings]
        print_json({"ok": _exit_code(findings) == 0, "checks": documents})
    else:
        show(_table(findings, rules))
    raise typer.Exit(_exit_code(findings))


def check_endpoint(profile: ChainProfile, endpoint: str, fee: Address | None) -> list[Finding]:
    """Ask one node for its chain id, every contract in the manifest, the timelock and the Safe.

    `fee` is the account that speaks to the timelock.
    """
    found: list[Finding] = []
    missing: set[str] = set()
    name = public_name(endpoint)
    try:
        node = Node(endpoint)
        _check_chain_id(profile, node)
        found.append(Finding(profile.chain_id, name, "chain id"))
        for contract, address in sorted(profile.contracts.items()):
            error = None if node.has_code(address) else _missing(profile, contract, address)
            missing |= {contract} if error else set()
            found.append(Finding(profile.chain_id, name, f"contract {contract}", error))
        looks: list[Iterator[tuple[str, DealError | None]]] = []
        if not missing & config_timelock.needed_contracts(profile):
            looks.append(config_timelock.check_timelock(profile, node, fee))
        if not missing & config_safe.needed_contracts(profile):
            looks.append(config_safe.check_safe(profile, node))
        for look, problem in chained.from_iterable(looks):
            found.append(Finding(profile.chain_id, name, look, problem))
    except DealError as error:
        found.append(Finding(profile.chain_id, name, "node", error))
    return found


def _check_chain_id(profile: ChainProfile, node: Node) -> None:
    actual = node.chain_id()
    if actual != profile.chain_id:
        raise InvalidConfiguration(
            "the node is on another chain",
            field="chain_id",
            value=profile.chain_id,
            limit=f"{profile.chain_id}, as the profile says",
            actual=actual,
            next_action=f"correct endpoints or chain_id in {profile.chain_id}.toml",
        )


def _missing(profile: ChainProfile, contract: str, address: Address) -> InvalidConfiguration:
    return InvalidConfiguration(
        f"there is no contract at the address of {contract}",
        field=f"contracts.{contract}",
        value=address,
        limit="an address with code",
        actual="no code",
        next_action=f"correct the address manifest of chain {profile.chain_id}, or deploy it",
    )


def _exit_code(findings: list[Finding]) -> int:
    return max((finding.error.exit_code for finding in findings if finding.error), default=0)


def _table(findings: list[Finding], rules: str) -> Table:
    """A line for each problem; what is fine is counted, a line a node."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, caption=rules, caption_justify="left")
    for column in ("chain", "node", "found", "what to do"):
        table.add_column(column, overflow="fold")
    fine: dict[tuple[int, str], int] = {}
    for finding in findings:
        place = (finding.chain_id, finding.endpoint)
        fine[place] = fine.get(place, 0) + (finding.error is None)
    for (chain_id, endpoint), count in fine.items():
        if count:
            passed = f"{count} checks passed"
            table.add_row(str(chain_id), endpoint, Text(passed, style="green"), "")
    for finding in findings:
        if finding.problem is not None:
            table.add_row(
                str(finding.chain_id),
                finding.endpoint,
                Text(_sentence(finding.problem), style="red"),
                finding.problem.next_action,
            )
    return table


def _sentence(problem: Problem) -> str:
    facts = f"{problem.message}: {problem.field} {problem.value}"
    return f"{facts}, found {problem.actual}" if problem.actual else facts
