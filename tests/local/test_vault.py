"""Vault is found where it is, built where it is not, and never from another source."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from starters.local import vault
from starters.local.cache import cache_dir
from starters.local.errors import LocalStackError
from tests.support.vault import needed_vault

WORKS = "#!/bin/sh\necho Vault v9\n"
# Stands in for Go: `mod download` answers as told, `build` writes a program to where `-o` says.
GO = f"""#!/bin/sh
echo "$1 $GOPATH $GONOSUMDB" >> "$DEAL_CACHE_DIR/runs"
if [ "$1" = mod ]; then
    while read -r line; do echo "$line"; done < "$DEAL_CACHE_DIR/module.json"
else
    /bin/sleep 1
    printf '{WORKS.encode("unicode_escape").decode()}' > vault.built
    /bin/chmod +x vault.built
fi
"""


def program(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)
    return file


def source_in(folder: Path) -> Path:
    """A module that has every place which is adjusted, read-only as Go's cache is."""
    for place in vault.ADJUSTMENTS:
        file = folder / place.file
        file.parent.mkdir(parents=True, exist_ok=True)
        before = file.read_text() if file.exists() else "first\n"
        file.write_text(f"{before}{place.old}\n")
    (folder / "go.sum").write_text("sums of others\n")
    for file in folder.rglob("*.*"):
        if file.is_file():
            file.chmod(0o444)
    return folder


def answer(folder: Path, **changes: str) -> None:
    module = {"Dir": str(folder), "Sum": vault._SUM} | changes
    (cache_dir() / "module.json").write_text(json.dumps(module) + "\n")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is all of PATH, beside an empty cache."""
    folder = tmp_path / "path"
    folder.mkdir()
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("DEAL_CACHE_DIR", str(tmp_path / "cache"))
    return folder


def test_the_one_on_path_comes_first(path: Path) -> None:
    cached = program(vault.built_vault(), WORKS)
    assert vault.ensure_vault() == cached
    on_path = program(path / "vault", WORKS)
    assert vault.ensure_vault() == on_path
    program(path / "vault", "#!/bin/sh\nexit 1\n")
    assert vault.ensure_vault() == cached


@pytest.mark.usefixtures("path")
def test_without_go_it_is_named_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert vault.main() == 1
    assert "Vault is missing" in capsys.readouterr().err


def test_it_is_built_once_of_the_adjusted_source_even_for_two_at_once(
    path: Path, tmp_path: Path
) -> None:
    program(path / "go", GO)
    answer(source_in(tmp_path / "module"))
    with ThreadPoolExecutor() as pool:
        found = set(pool.map(lambda _: vault.ensure_vault(), range(2)))
    assert found == {vault.built_vault()}
    runs = [run.split() for run in (cache_dir() / "runs").read_text().splitlines()]
    assert [run[0] for run in runs] == ["mod", "build"]
    assert all(run[1].startswith(str(cache_dir())) for run in runs)
    assert all(run[2] == vault.MODULE for run in runs)
    assert not (cache_dir() / "vault-source").exists()


def test_progress_is_told_while_it_builds(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program(path / "go", GO)
    answer(source_in(tmp_path / "module"))
    assert vault.main() == 0
    shown = capsys.readouterr()
    assert str(vault.built_vault()) in shown.out
    assert [line.partition(" (")[0] for line in shown.err.splitlines()] == [
        "waiting for another process that builds Vault",
        "downloading the source of Vault",
        "building Vault with Go, once; this takes about eight minutes",
    ]


def test_another_source_than_the_known_one_is_not_built(path: Path, tmp_path: Path) -> None:
    program(path / "go", GO)
    answer(source_in(tmp_path / "module"), Sum="h1:other")
    with pytest.raises(LocalStackError, match=r"not what it should be.*h1:other"):
        vault.ensure_vault()
    assert (cache_dir() / "runs").read_text().split()[0] == "mod"
    assert not (vault.built_vault()).exists()


def test_a_source_that_cannot_be_had_is_named(path: Path) -> None:
    program(path / "go", GO)
    (cache_dir() / "module.json").write_text('{"Error": "no route to the proxy"}\n')
    with pytest.raises(LocalStackError) as caught:
        vault.ensure_vault()
    assert caught.value.detail == "no route to the proxy"


def test_a_failed_build_shows_its_log_and_leaves_nothing(path: Path, tmp_path: Path) -> None:
    program(path / "go", GO.replace("/bin/sleep 1", "echo undefined: x; exit 1"))
    answer(source_in(tmp_path / "module"))
    with pytest.raises(LocalStackError, match="status 1") as caught:
        vault.ensure_vault()
    assert caught.value.detail == "undefined: x"
    assert not (cache_dir() / "vault-source").exists()


def test_each_place_is_adjusted_once_and_the_rest_stays(tmp_path: Path) -> None:
    source = source_in(tmp_path)
    vault.adjust(source)
    for place in vault.ADJUSTMENTS:
        text = (source / place.file).read_text()
        assert text.startswith("first\n")
        assert text.count(place.old) == place.new.count(place.old)
        assert place.new in text
    assert (source / "go.sum").read_text().startswith("sums of others\n")
    assert f"{vault.MODULE}/sdk v0.21.0 h1:" in (source / "go.sum").read_text()


@pytest.mark.parametrize("place", vault.ADJUSTMENTS, ids=lambda place: place.old[:40].strip())
@pytest.mark.parametrize("times", [0, 2])
def test_a_place_that_reads_otherwise_is_named(
    tmp_path: Path, place: vault.Adjustment, times: int
) -> None:
    file = source_in(tmp_path) / place.file
    file.chmod(0o644)
    text = file.read_text()
    file.write_text(text.replace(place.old, "") if times == 0 else text + place.old)
    with pytest.raises(LocalStackError, match="exactly once") as caught:
        vault.adjust(tmp_path)
    assert place.file in str(caught.value)


@pytest.mark.usefixtures("path")
def test_without_it_tests_are_skipped_with_a_reason_and_fail_where_nothing_may_be_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="make vault"):
        needed_vault()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="make vault"):
        needed_vault()
