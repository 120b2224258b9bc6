"""What is said when a tool is missing, and when the packages count as installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.chain import ChainError, anvil_binary, running_anvil
from deploy.chain import packages as npm
from deploy.chain.anvil import has_anvil


@pytest.fixture
def no_tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the empty folder of a machine with nothing on PATH and no packages installed."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ANVIL", raising=False)
    monkeypatch.setattr("deploy.chain.anvil.NODE_MODULES", tmp_path)
    return tmp_path


def _script(file: Path, output: str, then: str = "") -> Path:
    file.write_text(f"#!/bin/sh\necho '{output}' {then}\n")
    file.chmod(0o755)
    return file


def test_a_missing_anvil_is_named_in_one_line(no_tools: Path) -> None:
    assert not list(no_tools.iterdir())
    assert not has_anvil()
    with pytest.raises(ChainError, match=r"^anvil is missing: run .*build`, or set ANVIL[^\n]*$"):
        anvil_binary()


def test_a_platform_without_a_packaged_anvil_is_told_what_to_install(
    no_tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not list(no_tools.iterdir())
    monkeypatch.setattr("deploy.chain.anvil.platform.system", lambda: "Plan9")
    with pytest.raises(ChainError, match="install Foundry"):
        anvil_binary()


def test_a_missing_node_is_named_in_one_line(no_tools: Path) -> None:
    assert not list(no_tools.iterdir())
    with pytest.raises(ChainError, match=r"^npm is missing: install Node\.js[^\n]*$"):
        npm.node_tool("npm")


def test_an_anvil_on_path_is_taken_unless_it_is_too_old(no_tools: Path) -> None:
    fitting = _script(no_tools / "anvil", "anvil Version: 1.7.1")
    assert anvil_binary() == fitting
    _script(no_tools / "anvil", "anvil Version: 0.3.0")
    assert not has_anvil()


@pytest.mark.usefixtures("no_tools")
def test_an_anvil_that_was_asked_for_must_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ANVIL", str(tmp_path / "absent"))
    with pytest.raises(ChainError, match="is no anvil of version"):
        anvil_binary()
    chosen = _script(tmp_path / "mine", "anvil Version: 1.8.0")
    monkeypatch.setenv("ANVIL", str(chosen))
    assert anvil_binary() == chosen


def test_an_anvil_that_stops_says_why() -> None:
    with (
        pytest.raises(ChainError, match=r"anvil did not start: .*--nonsense"),
        running_anvil(138, "--nonsense"),
    ):
        pass


def test_an_anvil_ends_with_its_block() -> None:
    with running_anvil(138) as anvil:
        folder = Path(f"/proc/{anvil.process_id}")
        assert folder.exists()
    assert not folder.exists()


WANTED = {"": {}, "node_modules/a": {"version": "1"}, "node_modules/b": {"version": "2"}}


@pytest.mark.parametrize(
    ("present", "installed"),
    [
        (None, False),
        ({"node_modules/a": {"version": "1"}}, False),
        ({"node_modules/a": {"version": "1"}, "node_modules/b": {"version": "1"}}, False),
        ({"node_modules/a": {"version": "1"}, "node_modules/b": {"version": "2"}}, True),
    ],
)
def test_packages_count_as_installed_when_npm_accounts_for_each(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    present: dict[str, dict[str, str]] | None,
    installed: bool,  # noqa: FBT001 - a column of the table above
) -> None:
    lock = tmp_path / "package-lock.json"
    optional = {"node_modules/c": {"version": "3", "optional": True}}
    lock.write_text(json.dumps({"packages": {**WANTED, **optional}}))
    monkeypatch.setattr(npm, "LOCK_FILE", lock)
    monkeypatch.setattr(npm, "NODE_MODULES", tmp_path)
    if present is not None:
        (tmp_path / ".package-lock.json").write_text(json.dumps({"packages": present}))
    assert npm.installed() is installed


def test_a_failed_installation_gives_npms_reason(
    monkeypatch: pytest.MonkeyPatch, no_tools: Path
) -> None:
    output = "npm warn old setting\nnpm error code ENET\nnpm error no route\nnpm error help"
    _script(no_tools / "npm", output, ">&2; exit 1")
    monkeypatch.setattr(npm, "installed", lambda: False)
    monkeypatch.setattr(npm, "BUILD_DIR", no_tools / "build")
    with pytest.raises(ChainError, match=r"could not install deploy/chain's packages: no route"):
        npm.install()
