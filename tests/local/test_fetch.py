"""Temporal is found where it is, fetched where it is not, and named where it cannot be had."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from starters.local import fetch, temporal
from starters.local.cache import cache_dir, exclusive, try_lock
from starters.local.errors import LocalStackError

WORKS = "#!/bin/sh\necho temporal version 9\n"
BROKEN = "#!/bin/sh\nexit 1\n"
# Installs a program that works into GOBIN, a second later, and counts how often it was run.
GO = f"""#!/bin/sh
echo "$GOPATH $GOCACHE $GOBIN" >> "$DEAL_CACHE_DIR/runs"
/bin/sleep 1
/bin/mkdir -p "$GOBIN"
printf '{WORKS.encode("unicode_escape").decode()}' > "$GOBIN/temporal"
/bin/chmod +x "$GOBIN/temporal"
"""


def program(file: Path, text: str) -> Path:
    """Write a script that can be run."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)
    return file


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty folder that is all of PATH, beside an empty cache and no network."""
    folder = tmp_path / "path"
    folder.mkdir()
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("DEAL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(temporal, "_download", lambda: None)
    return folder


def test_the_one_on_path_comes_first(path: Path) -> None:
    program(cache_dir() / "bin" / "temporal", WORKS)
    on_path = program(path / "temporal", WORKS)
    assert temporal.ensure_temporal() == on_path


def test_one_that_does_not_work_is_passed_over(path: Path) -> None:
    program(path / "temporal", BROKEN)
    program(cache_dir() / "bin" / "temporal", BROKEN)
    cached = program(cache_dir() / "bin" / "temporal-downloaded", WORKS)
    assert temporal.ensure_temporal() == cached


@pytest.mark.usefixtures("path")
def test_a_missing_one_is_named_with_what_to_do() -> None:
    with pytest.raises(LocalStackError) as caught:
        temporal.ensure_temporal()
    line = str(caught.value)
    assert "\n" not in line
    assert "Temporal is missing" in line
    assert "TEMPORAL_ADDRESS" in line


@pytest.mark.usefixtures("path")
def test_a_missing_one_ends_the_fetch_with_that_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch.main() == 1
    assert "Temporal is missing" in capsys.readouterr().err


def test_go_builds_it_once_inside_the_cache_even_for_two_at_once(path: Path) -> None:
    program(path / "go", GO)
    with ThreadPoolExecutor() as pool:
        found = set(pool.map(lambda _: temporal.ensure_temporal(), range(2)))
    assert found == {cache_dir() / "bin" / "temporal"}
    runs = (cache_dir() / "runs").read_text().splitlines()
    assert len(runs) == 1
    assert all(folder.startswith(str(cache_dir())) for folder in runs[0].split())


def test_a_failed_build_shows_its_log(path: Path) -> None:
    program(path / "go", "#!/bin/sh\necho no such module\nexit 1\n")
    with pytest.raises(LocalStackError, match="status 1") as caught:
        temporal.ensure_temporal()
    assert caught.value.detail == "no such module"


def test_a_cancelled_build_is_ended(path: Path) -> None:
    program(path / "go", '#!/bin/sh\necho $$ > "$DEAL_CACHE_DIR/pid"\nexec /bin/sleep 600\n')

    def cancel(event: str) -> None:
        if "building" in event and (cache_dir() / "pid").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        temporal.ensure_temporal(cancel)
    pid = int((cache_dir() / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("text", "found"), [(WORKS, "bin/temporal-downloaded"), (BROKEN, None), (None, None)]
)
def test_a_download_counts_only_if_it_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, found: str | None
) -> None:
    def download(staging: Path) -> None:
        if text is None:
            raise subprocess.CalledProcessError(1, "download")
        program(staging / "any-name", text)

    monkeypatch.setenv("DEAL_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(temporal, "_download_into", download)
    if found:
        assert temporal.ensure_temporal() == tmp_path / found
    else:
        with pytest.raises(LocalStackError, match="its download failed"):
            temporal.ensure_temporal()
    assert not (tmp_path / "download").exists()


def test_a_lock_waits_no_longer_than_told(tmp_path: Path) -> None:
    held = try_lock(tmp_path / "lock")
    assert held is not None
    with (
        pytest.raises(LocalStackError, match="is locked"),
        exclusive(tmp_path / "lock", timeout=0.2),
    ):
        pytest.fail("the lock was held")
    os.close(held)
    with exclusive(tmp_path / "lock", timeout=0.2):
        assert try_lock(tmp_path / "lock") is None
