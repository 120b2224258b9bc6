"""`deal config check`: profiles that cannot be read, nodes that contradict them, and all well."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

from activities.protocols.abi import Function
from activities.protocols.safe import SENTINEL
from activities.protocols.timelock import CANCELLER, EXECUTOR, PROPOSER, ROLES
from deploy.chain import ChainState, ensure_state, running_anvil
from starters.local.treasury import OwnAccounts, fund
from tests.cli.conftest import Deal
from tests.support.node import OWNER, Node
from workers.runtime.settings import DEFAULT_CONFIG_DIR
from workers.runtime.signing_policy import POLICY_FILE

Edit = Callable[[str], str]
TREASURY = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
FEE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
ANYBODY = "0x" + 40 * "0"
ADMIN = bytes(32)
GRANT = Function("grantRole(bytes32,address)")
REVOKE = Function("revokeRole(bytes32,address)")
UPDATE_DELAY = Function("updateDelay(uint256)")
TRANSFER_OWNERSHIP = Function("transferOwnership(address)")
TIMELOCK_CHECKS = {
    "timelock delay",
    "timelock administrator",
    *(f"timelock {role}" for role in ROLES),
    "timelock powers of the fee account",
    "timelock executors",
    "timelock holders of roles",
    "safe modules",
    "safe guard",
    "safe threshold",
    *(f"owner of {name}" for name in ("desk_registry", "safe_governor", "redemption")),
}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deal: Deal) -> Path:  # noqa: ARG001
    """A copy of the profiles, which the command reads; `deal` has cleared the environment."""
    folder = tmp_path / "config"
    folder.mkdir()
    for file in ("138.toml", "138.addresses.json"):
        shutil.copy(DEFAULT_CONFIG_DIR / file, folder)
    rules = (DEFAULT_CONFIG_DIR / POLICY_FILE).read_text()
    (folder / POLICY_FILE).write_text(rules.partition("[chains.651940]")[0])
    monkeypatch.setenv("DEAL_CONFIG_DIR", str(folder))
    return folder


def replaced(old: str, new: str) -> Edit:
    """An edit that must find what it replaces."""

    def edit(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return edit


def contract(name: str, change: Edit) -> Edit:
    """An edit of one address in the manifest."""

    def edit(text: str) -> str:
        manifest = json.loads(text)
        manifest["contracts"][name] = change(manifest["contracts"][name])
        return json.dumps(manifest)

    return edit


BAD_FILES = [
    # file, edit, field, part of the value, part of the limit
    ("138.toml", replaced("chain_id = 138", "chain_id = "), "file", "", "well-formed TOML"),
    ("138.toml", replaced("chain_id = 138", "chain_id = 139"), "chain_id", "139", "138"),
    ("138.toml", replaced('name = "', 'nom = "'), "name", "None", "required"),
    ("138.toml", replaced("[fees]", "[fees]\ntip = 1"), "fees.tip", "1", "not permitted"),
    ("138.toml", replaced("confirmations = 1", "confirmations = 0"), "confirmations", "0", "1"),
    ("138.toml", replaced('"100000000000"', "-1"), "fees.max_fee_per_gas_wei", "-1", "0"),
    ("138.toml", replaced('par_token = "usdt"', 'par_token = "dai"'), "par_token", "dai", "name"),
    ("138.toml", replaced('kind = "depth"', 'kind = "luck"'), "finality.kind", "luck", "depth"),
    ("138.addresses.json", lambda _: "{", "file", "", "well-formed JSON"),
    ("138.addresses.json", replaced("138", "1"), "addresses.chain_id", "1", "138"),
    ("138.addresses.json", contract("usdt", str.lower), "usdt", "0x", "if every digit is right"),
    ("138.addresses.json", contract("usdt", lambda _: "0x" + 40 * "0"), "usdt", "0x0", "zero"),
    ("138.addresses.json", contract("usdt", lambda _: "0x1"), "usdt", "0x1", "20 bytes"),
]


@pytest.mark.parametrize(("file", "edit", "field", "value", "limit"), BAD_FILES)
@pytest.mark.parametrize("command", [("config", "check"), ("start", "--chain", "138")])
def test_a_bad_file_is_named_with_its_field(  # noqa: PLR0913, PLR0917 - a table's columns
    deal: Deal,
    config: Path,
    command: tuple[str, ...],
    file: str,
    edit: Edit,
    field: str,
    value: str,
    limit: str,
) -> None:
    target = config / file
    target.write_text(edit(target.read_text()))
    if command[0] == "start":
        command = (*command, "--id=a", "--bank=b", "--module=usdtz", "--liquidity=1")
    problem = deal(*command).problem
    assert problem["code"] == "invalid_configuration"
    assert problem["field"].startswith("138.")
    assert field in problem["field"]
    assert value in str(problem.get("value"))
    assert limit in problem["limit"]
    assert "deal config check" in problem["next_action"]
    words = deal(*command, "-o", "table")
    assert words.code == 2
    assert problem["field"] in words.err


BAD_POLICIES = [
    # edit, field, part of the limit
    (replaced("[rates]", "[rates"), "file", "well-formed TOML"),
    (replaced('to = "aave_pool"', 'to = "dai"'), "calls.supply.to", "address manifest"),
    (replaced(', max_ether = "10_000"', ""), "calls.wrap.max_ether", "without"),
    (replaced("hour_usd", "hour_eur"), "rates.hour_usd", "required"),
    (lambda text: text.replace("chains.138", "chains.139"), "chains.139", "a profile: 138"),
]


@pytest.mark.parametrize(("edit", "field", "limit"), BAD_POLICIES)
def test_a_bad_signing_policy_is_named_with_its_field(
    deal: Deal, config: Path, edit: Edit, field: str, limit: str
) -> None:
    target = config / POLICY_FILE
    target.write_text(edit(target.read_text()))
    answer = deal("config", "check")
    problem = answer.problem
    assert (answer.code, problem["code"]) == (2, "invalid_configuration")
    assert problem["field"].startswith(f"{POLICY_FILE}: ")
    assert field in problem["field"]
    assert limit in problem["limit"]


def test_a_signing_policy_that_is_missing_is_named(deal: Deal, config: Path) -> None:
    (config / POLICY_FILE).unlink()
    answer = deal("config", "check")
    assert (answer.code, answer.problem["field"]) == (2, f"{POLICY_FILE}: file")


def test_a_folder_without_profiles_is_named(
    deal: Deal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEAL_CONFIG_DIR", str(tmp_path))
    answer = deal("config", "check")
    assert (answer.code, answer.problem["field"]) == (2, "DEAL_CONFIG_DIR")


@pytest.fixture(scope="module")
def state() -> ChainState:
    """The deployed chain 138, as files."""
    return ensure_state(138)


def findings(deal: Deal, endpoints: str, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The checks that did not pass, with these endpoints."""
    monkeypatch.setenv("DEAL_CHAIN_138_ENDPOINTS", endpoints)
    answer = deal("config", "check")
    checks = answer.document["checks"]
    assert answer.document["ok"] == (answer.code == 0)
    return [check | check["problem"] for check in checks if not check["ok"]]


@pytest.fixture(scope="module")
def deployed(state: ChainState) -> Iterator[Node]:
    """That chain on a node, with the desk's accounts as the local stack makes them."""
    with running_anvil(138, "--load-state", str(state.state_file)) as anvil:
        port = urlsplit(anvil.url).port
        assert port is not None
        node = Node(138, port)
        fund(port, OwnAccounts(TREASURY, FEE), node.contracts)
        yield node


@pytest.fixture
def chain(deployed: Node, monkeypatch: pytest.MonkeyPatch, config: Path) -> Iterator[Node]:  # noqa: ARG001 - the command reads it
    """The node, as it was before when the test ends; the command knows the fee account."""
    monkeypatch.setenv("DEAL_FEE_ADDRESS", FEE)
    snapshot = deployed.ask("evm_snapshot")
    yield deployed
    assert deployed.ask("evm_revert", snapshot)


def url_of(chain: Node) -> str:
    return f"http://127.0.0.1:{chain.port}"


def test_a_node_that_agrees_passes(
    deal: Deal, chain: Node, state: ChainState, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert findings(deal, url_of(chain), monkeypatch) == []
    checks = deal("config", "check").document["checks"]
    words = deal("config", "check", "-o", "table")
    (rules,) = (check["check"] for check in checks if check["endpoint"] == POLICY_FILE)
    assert re.fullmatch(r"signing policy, version \d+, SHA-256 [0-9a-f]{64}", rules)
    assert rules.split()[-1] in words.out
    contracts = json.loads(state.manifest_file.read_text())["contracts"]
    assert f"{len(contracts) + 1 + len(TIMELOCK_CHECKS)} checks passed" in words.out
    assert words.code == 0
    assert {check["check"] for check in checks} >= TIMELOCK_CHECKS


BROKEN = [
    # called by the timelock, calldata, field, value by name or as it is, actual
    ("timelock", UPDATE_DELAY.encode(60), "timelock.min_delay_seconds", "3600", "60 s"),
    *(
        ("timelock", REVOKE.encode(ROLES[role], FEE), f"timelock.roles.{role}", FEE, "it has not")
        for role in (PROPOSER, EXECUTOR, CANCELLER)
    ),
    (
        "timelock", GRANT.encode(ROLES[EXECUTOR], ANYBODY),
        f"timelock.roles.{EXECUTOR}", ANYBODY, "everybody",
    ),
    (
        "timelock", GRANT.encode(ADMIN, FEE),
        "timelock.roles.DEFAULT_ADMIN_ROLE", FEE, "the fee account has it too",
    ),
    *(
        (name, TRANSFER_OWNERSHIP.encode(OWNER), f"contracts.{name}.owner", name, OWNER)
        for name in ("desk_registry", "safe_governor", "redemption")
    ),
]  # fmt: skip


@pytest.mark.parametrize(("target", "data", "field", "value", "actual"), BROKEN)
@pytest.mark.parametrize("form", ["json", "table"])
def test_a_timelock_that_is_not_as_the_profile_says_is_named(  # noqa: PLR0913, PLR0917 - a table's columns
    deal: Deal,
    chain: Node,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    data: str,
    field: str,
    value: str,
    actual: str,
    form: str,
) -> None:
    chain.as_timelock(target, data)
    (found,) = findings(deal, url_of(chain), monkeypatch)
    value = chain.contracts.get(value, value)
    assert (found["code"], found["field"]) == ("invalid_configuration", field)
    assert (found["value"], found["actual"]) == (value, actual)
    assert found["limit"]
    answer = deal("config", "check", "-o", form)
    assert answer.code == 2
    for part in (field, value, " ".join(found["next_action"].split()[:3])):  # the cell is narrow
        assert part in answer.out


@pytest.mark.parametrize("role", [ADMIN, *ROLES.values()])
def test_whoever_else_has_a_role_of_the_timelock_is_found_until_it_is_revoked(
    deal: Deal, chain: Node, monkeypatch: pytest.MonkeyPatch, role: bytes
) -> None:
    chain.as_timelock("timelock", GRANT.encode(role, OWNER))
    chain.as_timelock("timelock", GRANT.encode(role, TREASURY))
    (found,) = findings(deal, url_of(chain), monkeypatch)
    name = next((name for name, known in ROLES.items() if known == role), "DEFAULT_ADMIN_ROLE")
    assert (found["field"], found["value"]) == (f"timelock.roles.{name}", OWNER)
    assert OWNER in found["actual"]
    assert TREASURY in found["actual"]
    chain.as_timelock("timelock", REVOKE.encode(role, OWNER))
    (found,) = findings(deal, url_of(chain), monkeypatch)
    assert found["value"] == TREASURY
    chain.as_timelock("timelock", REVOKE.encode(role, TREASURY))
    assert findings(deal, url_of(chain), monkeypatch) == []


def test_logs_that_do_not_reach_back_to_the_first_role_are_not_believed(
    deal: Deal, chain: Node, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = config / "138.toml"
    since = replaced("since_block = 0", f"since_block = {chain.head()}")
    profile.write_text(since(profile.read_text()))
    (found,) = findings(deal, url_of(chain), monkeypatch)
    assert (found["field"], found["value"]) == ("timelock.since_block", str(chain.head()))


def test_a_node_that_gives_few_logs_at_once_is_asked_for_fewer(
    deal: Deal, chain: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain.as_timelock("timelock", GRANT.encode(ROLES[PROPOSER], OWNER))
    chain.ask("anvil_mine", hex(2_000))
    with stingy_with_logs(url_of(chain), most=600) as (endpoint, asked):
        (found,) = findings(deal, endpoint, monkeypatch)
    assert (found["field"], found["value"]) == (f"timelock.roles.{PROPOSER}", OWNER)
    assert len(asked) > 4
    assert min(last - first for first, last in asked) < 600


SAFE_BROKEN = [
    # called by the Safe itself, calldata, field, actual by name or as it is
    (Function("enableModule(address)"), ("weth",), "modules", "weth"),
    (Function("setGuard(address)"), (ANYBODY,), "guard", "none"),
    (Function("changeThreshold(uint256)"), (1,), "threshold", "1"),
    (Function("disableModule(address,address)"), (SENTINEL, "safe_governor"), "modules", "none"),
]


@pytest.mark.parametrize(("function", "arguments", "field", "actual"), SAFE_BROKEN)
def test_a_safe_that_is_not_governed_is_named(  # noqa: PLR0913, PLR0917 - a table's columns
    deal: Deal,
    chain: Node,
    monkeypatch: pytest.MonkeyPatch,
    function: Function,
    arguments: tuple[object, ...],
    field: str,
    actual: str,
) -> None:
    named = [chain.contracts.get(str(each), each) for each in arguments]
    chain.as_itself("treasury_safe", function.encode(*named))
    (found,) = findings(deal, url_of(chain), monkeypatch)
    assert (found["code"], found["field"]) == (
        "invalid_configuration",
        f"multisig.safe.{field}",
    )
    assert found["value"] == chain.contracts["treasury_safe"]
    assert found["actual"] == chain.contracts.get(actual, actual)
    assert deal("config", "check").code == 2


def test_many_modules_are_all_seen(
    deal: Deal, chain: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    enable = Function("enableModule(address)")
    names = [name for name in chain.contracts if name not in {"safe_governor", "treasury_safe"}]
    for name in names[:12]:
        chain.as_itself("treasury_safe", enable.encode(chain.contracts[name]))
    (found,) = findings(deal, url_of(chain), monkeypatch)
    assert {chain.contracts[name] for name in names[:12]} == set(found["actual"].split(", "))


def test_a_timelock_that_does_not_administer_itself_is_named(
    deal: Deal, chain: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    itself = chain.contracts["timelock"]
    chain.as_timelock("timelock", REVOKE.encode(ADMIN, itself))
    (found,) = findings(deal, url_of(chain), monkeypatch)
    assert (found["field"], found["value"]) == ("timelock.roles.DEFAULT_ADMIN_ROLE", itself)


def test_a_longer_delay_than_the_profiles_is_fine(
    deal: Deal, chain: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain.as_timelock("timelock", UPDATE_DELAY.encode(7_200))
    assert findings(deal, url_of(chain), monkeypatch) == []


def test_the_account_that_has_to_have_the_roles_must_be_known(
    deal: Deal, chain: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEAL_FEE_ADDRESS")
    (found,) = findings(deal, url_of(chain), monkeypatch)
    assert (found["field"], found["code"]) == ("DEAL_FEE_ADDRESS", "invalid_configuration")
    monkeypatch.setenv("DEAL_FEE_ADDRESS", TREASURY)
    found = findings(deal, url_of(chain), monkeypatch)
    *missing, further = found
    assert [each["field"] for each in missing] == [f"timelock.roles.{role}" for role in ROLES]
    assert {each["value"] for each in missing} == {TREASURY}
    assert further["value"] == FEE


def test_a_contract_that_is_no_timelock_is_named(
    deal: Deal, chain: Node, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = config / "138.addresses.json"
    weth = chain.contracts["weth"]
    manifest.write_text(contract("timelock", lambda _: weth)(manifest.read_text()))
    found = findings(deal, url_of(chain), monkeypatch)
    assert {each["code"] for each in found} == {"invalid_configuration"}
    first = found[0]
    assert (first["field"], first["value"]) == ("contracts.timelock", weth)
    assert "getMinDelay()" in first["limit"]


@contextmanager
def stingy_with_logs(url: str, most: int) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """A provider before the node that gives the logs of so many blocks, and what it was asked."""
    asked: list[tuple[int, int]] = []

    class Handler(BaseHTTPRequestHandler):
        """Passes everything on, but not requests for too many logs."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told = json.loads(body)
            answer = b""
            if told["method"] == "eth_getLogs":
                sought = told["params"][0]
                asked.append((int(sought["fromBlock"], 16), int(sought["toBlock"], 16)))
                if asked[-1][1] - asked[-1][0] > most:
                    error = {"code": -32005, "message": "too many blocks"}
                    answer = json.dumps({"jsonrpc": "2.0", "id": 1, "error": error}).encode()
            if not answer:
                passed = Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - a local node
                with urlopen(passed, timeout=10) as reply:  # noqa: S310 - as above
                    answer = reply.read()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("config")
def test_a_node_on_another_chain_is_a_contradiction(
    deal: Deal, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_anvil(31337) as anvil:
        (found,) = findings(deal, anvil.url, monkeypatch)
        assert deal("config", "check").code == 2
    assert (found["field"], found["actual"]) == ("chain_id", "31337")
    assert found["limit"].startswith("138")


@pytest.mark.usefixtures("config")
def test_every_contract_that_is_missing_is_named(
    deal: Deal, state: ChainState, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_anvil(138) as anvil:
        found = findings(deal, anvil.url, monkeypatch)
        words = deal("config", "check", "-o", "table")
    contracts = json.loads(state.manifest_file.read_text())["contracts"]
    assert {finding["field"]: finding["value"] for finding in found} == {
        f"contracts.{name}": address for name, address in contracts.items()
    }
    assert words.code == 2
    assert contracts["usdt"] in words.out


@pytest.mark.usefixtures("config")
def test_a_node_that_is_away_is_not_a_wrong_configuration(
    deal: Deal, monkeypatch: pytest.MonkeyPatch
) -> None:
    (found,) = findings(deal, "http://127.0.0.1:1", monkeypatch)
    assert (found["code"], found["value"]) == ("unavailable", "http://127.0.0.1:1")
    assert deal("config", "check").code == 1


@pytest.fixture(params=[(200, b"hello"), (200, b"{}"), (500, b"oops"), (200, b"[]")])
def strange_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that is no node: no node can be made to answer like this."""
    status, body = request.param

    class Handler(BaseHTTPRequestHandler):
        """Answers everything with the same."""

        def do_POST(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("config")
def test_a_server_that_is_no_node_is_said_to_be_none(
    deal: Deal, strange_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (found,) = findings(deal, strange_server, monkeypatch)
    assert (found["code"], found["value"]) == ("unavailable", strange_server)


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize(
    ("endpoint", "shown"),
    [
        ("http://me:s3cret@127.0.0.1:1/v3/s3cret?key=s3cret", "127.0.0.1:1"),
        ("ws://me:s3cret@127.0.0.1:1/s3cret", "DEAL_CHAIN_138_ENDPOINTS"),
    ],
)
@pytest.mark.parametrize("form", ["json", "table"])
def test_a_key_in_an_endpoint_is_never_shown(
    deal: Deal, endpoint: str, shown: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEAL_CHAIN_138_ENDPOINTS", endpoint)
    answer = deal("config", "check", "-o", form)
    assert answer.code in {1, 2}
    assert shown in answer.out + answer.err
    assert "s3cret" not in answer.out + answer.err
