"""Chain profiles from files: what is wrong is named by file and field, before anything is asked."""

import json
import shutil
import tomllib
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from domain.chains import ChainProfile, EndpointProfile, Finality, PublicFallback
from domain.errors import InvalidConfiguration, Problem
from domain.identifiers import ChainId, ModuleId
from workers.runtime.profiles import load_profiles
from workers.runtime.settings import DEFAULT_CONFIG_DIR

CHAIN = ChainId(138)
ENDPOINTS = "DEAL_CHAIN_138_ENDPOINTS"
TOML, MANIFEST = "138.toml", "138.addresses.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one profile, that of the local chain."""
    for name in (TOML, MANIFEST):
        shutil.copy(DEFAULT_CONFIG_DIR / name, tmp_path)
    return tmp_path


def edit(folder: Path, name: str, *, old: str, new: str) -> None:
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))


def manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((folder / MANIFEST).read_text())
    change(content)
    (folder / MANIFEST).write_text(json.dumps(content))


def problem_of(folder: Path, **variables: str) -> Problem:
    with pytest.raises(InvalidConfiguration) as caught:
        load_profiles(folder, variables)
    assert caught.value.exit_code == 2
    assert "deal config check" in caught.value.problem.next_action
    return caught.value.problem


def addresses(endpoints: list[EndpointProfile]) -> list[str]:
    return [endpoint.url.get_secret_value() for endpoint in endpoints]


def test_the_committed_profiles_are_whole() -> None:
    profiles = load_profiles(DEFAULT_CONFIG_DIR, {})
    assert list(profiles) == [138, 651940]
    for chain_id, profile in profiles.items():
        assert profile.chain_id == chain_id
        assert profile.module(ModuleId("usdtz")).par_token == "usdt"
        assert profile.confirmations >= 1


def test_a_profile_is_what_its_files_say(folder: Path) -> None:
    profile: ChainProfile = load_profiles(folder, {})[CHAIN]
    fields = tomllib.loads((folder / TOML).read_text())
    assert profile.name == fields["name"]
    assert addresses(profile.endpoints) == fields["endpoints"]
    assert profile.finality == Finality(kind="depth", depth=0, on_violation="resend")
    assert profile.fees.max_fee_per_gas_wei == 100 * 10**9
    assert profile.fees.gas_margin == Decimal("1.5")
    assert profile.limits.poll_interval_seconds == Decimal("0.05")
    assert profile.contracts == json.loads((folder / MANIFEST).read_text())["contracts"]


def test_the_manifest_may_have_another_name(folder: Path) -> None:
    (folder / MANIFEST).rename(folder / "local.json")
    edit(folder, TOML, old='addresses = "138.addresses.json"', new='addresses = "local.json"')
    assert load_profiles(folder, {})[CHAIN].contracts


def test_without_a_name_the_manifest_is_called_after_the_chain(folder: Path) -> None:
    edit(folder, TOML, old='addresses = "138.addresses.json"', new="")
    assert load_profiles(folder, {})[CHAIN].contracts


def test_other_files_of_the_folder_are_left_alone(folder: Path) -> None:
    (folder / "README.md").write_text("not a profile")
    assert list(load_profiles(folder, {})) == [CHAIN]


def test_a_folder_without_profiles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        load_profiles(tmp_path, {})
    assert (caught.value.problem.field, caught.value.problem.value) == (
        "DEAL_CONFIG_DIR",
        str(tmp_path),
    )


class TestEndpoints:
    def test_the_environment_replaces_those_of_the_file(self, folder: Path) -> None:
        variables = {ENDPOINTS: "http://one:1, https://two/key ,http://three"}
        assert addresses(load_profiles(folder, variables)[CHAIN].endpoints) == [
            "http://one:1",
            "https://two/key",
            "http://three",
        ]

    @pytest.mark.parametrize(
        "variables", [{}, {ENDPOINTS: ""}, {"DEAL_CHAIN_1_ENDPOINTS": "http://other"}]
    )
    def test_without_them_those_of_the_file_stand(
        self, folder: Path, variables: dict[str, str]
    ) -> None:
        profile = load_profiles(folder, variables)[CHAIN]
        assert addresses(profile.endpoints) == ["http://127.0.0.1:8545"]

    def test_they_are_taken_from_the_process_unless_others_are_given(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(ENDPOINTS, "http://elsewhere")
        assert addresses(load_profiles(folder)[CHAIN].endpoints) == ["http://elsewhere"]
        assert addresses(load_profiles(folder, {})[CHAIN].endpoints) == ["http://127.0.0.1:8545"]

    @pytest.mark.parametrize(
        "bad",
        ["", "localhost:8545", "ws://node", "http://", "node", "http://[", "http://a:99999", ","],
    )
    def test_what_is_no_address_of_a_node_is_named_by_variable_and_place(
        self, folder: Path, bad: str
    ) -> None:
        problem = problem_of(folder, **{ENDPOINTS: f"http://secret-key,{bad}"})
        assert (problem.field, problem.value) == (ENDPOINTS, "endpoint 2")
        assert "secret-key" not in problem.model_dump_json()

    def test_in_the_file_it_is_named_by_file(self, folder: Path) -> None:
        edit(folder, TOML, old="http://127.0.0.1:8545", new="127.0.0.1:8545")
        problem = problem_of(folder)
        assert (problem.field, problem.value) == (f"{TOML}: endpoints", "endpoint 1")


class TestTables:
    """Endpoints with a name and a weight, and private ones."""

    def test_an_endpoint_may_have_a_name_and_a_weight(self, folder: Path) -> None:
        table = '{url = "https://one/key", name = "own", weight = 3}, "http://two"'
        edit(folder, TOML, old='"http://127.0.0.1:8545"', new=table)
        endpoints = load_profiles(folder, {})[CHAIN].endpoints
        assert addresses(endpoints) == ["https://one/key", "http://two"]
        assert [(e.name, e.weight) for e in endpoints] == [("own", 3), (None, 1)]

    def test_transactions_may_have_endpoints_of_their_own(self, folder: Path) -> None:
        assert load_profiles(folder, {})[CHAIN].submission_endpoints == []
        new = 'submission_endpoints = ["https://relay/key"]\nchain_id = 138'
        edit(folder, TOML, old="chain_id = 138", new=new)
        profile = load_profiles(folder, {})[CHAIN]
        assert addresses(profile.submission_endpoints) == ["https://relay/key"]
        assert profile.public_fallback == "never"
        assert profile.goes_public_after is None

    def test_the_environment_may_name_them(self, folder: Path) -> None:
        edit(folder, TOML, old='fallback = "never"', new="fallback = {after_blocks = 5}")
        assert load_profiles(folder, {})[CHAIN].goes_public_after is None
        variables = {"DEAL_CHAIN_138_SUBMISSION_ENDPOINTS": "https://a/key, https://b"}
        profile = load_profiles(folder, variables)[CHAIN]
        assert addresses(profile.submission_endpoints) == ["https://a/key", "https://b"]
        assert addresses(profile.endpoints) == ["http://127.0.0.1:8545"]
        assert profile.public_fallback == PublicFallback(after_blocks=5)
        assert profile.goes_public_after == 5

    @pytest.mark.parametrize(
        ("endpoint", "field", "value"),
        [
            ('{url = "http://secret", weight = 0}', "endpoints.0.weight", "0"),
            ('{url = "http://secret", name = "Mine"}', "endpoints.0.name", "Mine"),
            ('{url = "http://secret", name = "7"}', "endpoints.0.name", "7"),
            ('{url = "http://secret", key = "secret"}', "endpoints.0.key", None),
            ('{name = "secret"}', "endpoints.0.url", None),
            ('["http://secret"]', "endpoints.0", None),
        ],
    )
    def test_what_is_wrong_of_one_is_named_without_its_address(
        self, folder: Path, endpoint: str, field: str, value: str | None
    ) -> None:
        edit(folder, TOML, old='"http://127.0.0.1:8545"', new=endpoint)
        problem = problem_of(folder)
        assert (problem.field, problem.value) == (f"{TOML}: {field}", value)
        assert problem.limit
        assert "http://secret" not in problem.model_dump_json()

    def test_a_text_in_place_of_the_list_is_not_repeated(self, folder: Path) -> None:
        edit(folder, TOML, old='["http://127.0.0.1:8545"]', new='"http://secret"')
        problem = problem_of(folder)
        assert problem.field == f"{TOML}: endpoints"
        assert "secret" not in problem.model_dump_json()

    def test_a_private_one_that_is_no_address_is_named(self, folder: Path) -> None:
        variable = "DEAL_CHAIN_138_SUBMISSION_ENDPOINTS"
        problem = problem_of(folder, **{variable: "https://secret,relay"})
        assert (problem.field, problem.value) == (variable, "endpoint 2")

    def test_no_two_have_the_same_name(self, folder: Path) -> None:
        twice = '{url = "http://a", name = "own"}, {url = "http://b", name = "own"}'
        edit(folder, TOML, old='"http://127.0.0.1:8545"', new=twice)
        problem = problem_of(folder)
        assert problem.field is not None
        assert "endpoints" in problem.field
        assert "http://" not in problem.model_dump_json().replace("http://host:port", "")


class TestBadFiles:
    @pytest.mark.parametrize(
        ("old", "new", "field"),
        [
            ("chain_id = 138", "", "chain_id"),
            ("chain_id = 138", 'chain_id = "one"', "chain_id"),
            ('name = "DeFi Oracle Meta Mainnet"', "name = 7", "name"),
            ('endpoints = ["http://127.0.0.1:8545"]', "endpoints = []", "endpoints"),
            ("block_time_seconds = 1", "block_time_seconds = 0", "block_time_seconds"),
            ("confirmations = 1", "confirmations = 0", "confirmations"),
            ("max_head_lag_blocks = 3", "max_head_lag_blocks = 0", "max_head_lag_blocks"),
            ('kind = "dynamic"', 'kind = "free"', "fees.kind"),
            ("confirmations = 1", "confirmations = 1\nconfirmation = 2", "confirmation"),
            ("depth = 0", "depth = -1", "finality.depth"),
            ('kind = "depth"', 'kind = "vote"', "finality.kind"),
            ('"100000000000"', "1.5", "fees.max_fee_per_gas_wei"),
            ("priority_percentile = 50", "priority_percentile = 100", "fees.priority_percentile"),
            ('gas_margin = "1.5"', 'gas_margin = "0.9"', "fees.gas_margin"),
            ('"0.05"', '"0"', "limits.poll_interval_seconds"),
            ("pool_fee = 100", "pool_fee = 0", "modules.usdtz.pool_fee"),
            ("fund = 28_000", "fund = 0", "modules.usdtz.gas_units.fund"),
            ("fund = 28_000", "", "modules.usdtz.gas_units"),
            ("fund = 28_000", "fly = 28_000", "modules.usdtz.gas_units.fly.[key]"),
            ("[modules.usdtz]", "[modules.USDTz]", "modules.USDTz.[key]"),
        ],
    )
    def test_a_wrong_field_is_named_with_its_file(
        self, folder: Path, old: str, new: str, field: str
    ) -> None:
        edit(folder, TOML, old=old, new=new)
        assert problem_of(folder).field == f"{TOML}: {field}"

    @pytest.mark.parametrize(
        "field",
        [
            *("par_token", "discount_token", "collateral", "collateral_receipt", "debt_token"),
            *("pool", "redemption", "par_feed", "discount_feed"),
        ],
    )
    def test_a_modules_contract_that_the_manifest_lacks_is_named(
        self, folder: Path, field: str
    ) -> None:
        known = tomllib.loads((folder / TOML).read_text())["modules"]["usdtz"][field]
        edit(folder, TOML, old=f'\n{field} = "{known}"', new=f'\n{field} = "dai"')
        problem = problem_of(folder)
        assert (problem.field, problem.value) == (f"{TOML}: modules.usdtz.{field}", "dai")

    @pytest.mark.parametrize(
        "name",
        [
            *("aave_pool", "aave_oracle", "aave_data_provider", "multicall3"),
            *("uniswap_router", "uniswap_quoter"),
        ],
    )
    def test_a_contract_that_every_module_needs_is_named(self, folder: Path, name: str) -> None:
        manifest(folder, lambda content: content["contracts"].pop(name))
        assert problem_of(folder).field == f"{MANIFEST}: contracts.{name}"

    def test_a_file_of_another_chain_is_found_by_its_name(self, folder: Path) -> None:
        for name in (TOML, MANIFEST):
            (folder / name).rename(folder / name.replace("138", "139"))
        edit(folder, "139.toml", old="138.addresses.json", new="139.addresses.json")
        problem = problem_of(folder)
        assert (problem.field, problem.value) == ("139.toml: chain_id", "138")
        assert problem.limit is not None
        assert problem.limit.startswith("139")

    def test_one_wrong_file_of_two_is_the_one_that_is_named(self, folder: Path) -> None:
        for name in ("651940.toml", "651940.addresses.json"):
            shutil.copy(DEFAULT_CONFIG_DIR / name, folder)
        edit(folder, "651940.toml", old="confirmations = 1", new="confirmations = 0")
        assert problem_of(folder).field == "651940.toml: confirmations"

    @pytest.mark.parametrize("content", ["chain_id = ", "chain_id = 1\nchain_id = 2", "\0", "{}"])
    def test_what_is_no_toml_is_named(self, folder: Path, content: str) -> None:
        (folder / TOML).write_text(content)
        problem = problem_of(folder)
        assert (problem.field, problem.limit) == (f"{TOML}: file", "well-formed TOML")

    @pytest.mark.parametrize("content", ["", "{", "[1, 2]", '"text"', "7", "null"])
    def test_what_is_no_json_object_is_named(self, folder: Path, content: str) -> None:
        (folder / MANIFEST).write_text(content)
        problem = problem_of(folder)
        assert (problem.field, problem.limit) == (f"{MANIFEST}: file", "well-formed JSON")

    @pytest.mark.parametrize("name", [TOML, MANIFEST])
    def test_bytes_that_are_no_text_are_named(self, folder: Path, name: str) -> None:
        (folder / name).write_bytes(b"\xff\xfe")
        assert problem_of(folder).field == f"{name}: file"

    def test_a_manifest_that_is_not_there_is_named(self, folder: Path) -> None:
        (folder / MANIFEST).unlink()
        problem = problem_of(folder)
        assert (problem.field, problem.value) == (f"{MANIFEST}: file", "No such file or directory")

    def test_a_folder_in_place_of_a_profile_is_named(self, folder: Path) -> None:
        (folder / "7.toml").mkdir()
        problem = problem_of(folder)
        assert (problem.field, problem.limit) == ("7.toml: file", "a readable file")


class TestBadManifests:
    @pytest.mark.parametrize(
        ("address", "limit"),
        [
            (
                "0x5fbdb2315678afecb367f032d93f642f64180aa3",
                "0x5FbDB2315678afecb367f032d93F642f6418",
            ),
            ("0x" + "0" * 40, "not zero"),
            ("0x5FbDB2315678afecb367f032d93F642f64180a", "20 bytes in EIP-55 form"),
            ("weth.eth", "20 bytes in EIP-55 form"),
        ],
    )
    def test_a_bad_address_is_named_with_what_it_should_be(
        self, folder: Path, address: str, limit: str
    ) -> None:
        manifest(folder, lambda content: content["contracts"].update(weth=address))
        problem = problem_of(folder)
        assert (problem.field, problem.value) == (f"{TOML}: contracts.weth", address)
        assert problem.limit is not None
        assert limit in problem.limit

    @pytest.mark.parametrize("chain_id", [1, "138", None])
    def test_the_manifest_of_another_chain_is_found_out(self, folder: Path, chain_id: Any) -> None:
        manifest(folder, lambda content: content.update(chain_id=chain_id))
        assert problem_of(folder).field == f"{TOML}: addresses.chain_id"

    @pytest.mark.parametrize("contracts", [None, [], "all", {"weth": 7}])
    def test_contracts_that_are_no_names_with_addresses_are_named(
        self, folder: Path, contracts: Any
    ) -> None:
        manifest(folder, lambda content: content.update(contracts=contracts))
        problem = problem_of(folder)
        assert problem.field is not None
        assert problem.field.startswith(f"{TOML}: contracts")
