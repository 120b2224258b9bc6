"""`deal config check`: profiles that cannot be read, nodes that contradict them, and all well."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from deploy.chain import ChainState, ensure_state, running_anvil
from tests.cli.conftest import Deal
from workers.runtime.settings import DEFAULT_CONFIG_DIR
from workers.runtime.signing_policy import POLICY_FILE

Edit = Callable[[str], str]


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


@pytest.mark.usefixtures("config")
def test_a_node_that_agrees_passes(
    deal: Deal, state: ChainState, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_anvil(138, "--load-state", str(state.state_file)) as anvil:
        assert findings(deal, anvil.url, monkeypatch) == []
        checks = deal("config", "check").document["checks"]
        words = deal("config", "check", "-o", "table")
    (rules,) = (check["check"] for check in checks if check["endpoint"] == POLICY_FILE)
    assert re.fullmatch(r"signing policy, version \d+, SHA-256 [0-9a-f]{64}", rules)
    assert rules.split()[-1] in words.out
    contracts = json.loads(state.manifest_file.read_text())["contracts"]
    assert f"{len(contracts) + 1} checks passed" in words.out
    assert words.code == 0


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
