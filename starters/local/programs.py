"""Programs that the stack runs: whether one works, and how Go builds one into the cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

from starters.local.cache import cache_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

BUILD_SECONDS = 3600.0
"""How long any build may take: minutes on an idle machine, half an hour beside other work."""


def go_program() -> str | None:
    """Return Go as found on PATH."""
    return shutil.which("go")


def run_go(
    arguments: Sequence[str],
    *,
    log: Path,
    progress: Callable[[float], None],
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Run Go with its caches in ours; return its exit status, or -9 if it took too long.

    Args:
        arguments: the program and what it is given.
        log: where everything that it prints goes.
        progress: told the seconds so far, every second.
        folder: where to run it.
        environment: what to set besides.

    """
    with log.open("wb") as output:
        build = subprocess.Popen(  # noqa: S603 - Go as found on PATH, fixed modules
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=dict(os.environ) | go_folders() | dict(environment or {}),
        )
    try:
        _follow(build, progress)
    finally:
        if build.poll() is None:
            build.kill()
            build.wait()
    return build.returncode


def go_folders() -> dict[str, str]:
    """Return the settings that keep all of Go's files in the cache folder."""
    root = cache_dir()
    return {
        "GOPATH": str(root / "go"),
        "GOCACHE": str(root / "go-build"),
        "GOBIN": str(root / "bin"),
        "GOFLAGS": "-modcacherw",  # else the cache cannot be removed with a plain rm
    }


def works(binary: Path) -> bool:
    """Tell whether this program is there and can say its version."""
    if not binary.exists():
        return False
    try:
        subprocess.run(  # noqa: S603 - a program found on PATH or in our own cache
            [str(binary), "--version"], check=True, capture_output=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _follow(build: subprocess.Popen[bytes], progress: Callable[[float], None]) -> None:
    began = time.monotonic()
    while True:
        elapsed = time.monotonic() - began
        progress(elapsed)
        try:
            build.wait(timeout=1)
        except subprocess.TimeoutExpired:
            if elapsed > BUILD_SECONDS:
                return
        else:
            return
