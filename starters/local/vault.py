"""Vault for the tests: found, or built from its Go module (`python -m starters.local.vault`).

Nobody packages Vault where this project looks for packages, but the Go module proxy has its source.
Two things keep that from building as it is: `go.mod` points at folders that the module does not
contain, and three calls follow a newer SDK than any that was published. And the smallest Vault,
which builds in minutes, lacks storage in files. All of it is adjusted in a copy that is removed
afterwards. What is built is exactly known: the module's checksum and those of the three submodules
are pinned here, and Vault's own `go.sum` pins all others.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from starters.local.cache import cache_dir, exclusive
from starters.local.errors import LocalStackError
from starters.local.logs import tail
from starters.local.programs import BUILD_SECONDS, go_folders, go_program, run_go, works
from starters.local.telling import Telling

if TYPE_CHECKING:
    from collections.abc import Callable

MODULE = "github.com/hashicorp/vault"
VERSION = "v1.21.4"
_SUM = "h1:KHGcdSnJtombvae1gDk+jZ50kiFngJPFDOvcCJRnU0c="
_DOWNLOAD_SECONDS = 600.0

_SUBMODULE_SUMS = f"""\
{MODULE}/api v1.22.0 h1:+HYFquE35/B74fHoIeXlZIP2YADVboaPjaSicHEZiH0=
{MODULE}/api v1.22.0/go.mod h1:IUZA2cDvr4Ok3+NtK2Oq/r+lJeXkeCrHRmqdyWfpmGM=
{MODULE}/api/auth/kubernetes v0.10.0 h1:5rqWmUFxnu3S7XYq9dafURwBgabYDFzo2Wv+AMopPHs=
{MODULE}/api/auth/kubernetes v0.10.0/go.mod h1:cZZmhF6xboMDmDbMY52oj2DKW6gS0cQ9g0pJ5XIXQ5U=
{MODULE}/sdk v0.21.0 h1:3gDqdKLhHY2ekmCEE9EeesoNpgsReq2bo/SpMqvBYdw=
{MODULE}/sdk v0.21.0/go.mod h1:BkJpVju7qe2cDe+T8gA84uFtRnNYQIPXkiJqqWGUYrc=
"""


@dataclass(frozen=True)
class Adjustment:
    """One place of the source: `old` stands there exactly once and becomes `new`."""

    file: str
    old: str
    new: str


ADJUSTMENTS = (
    *(
        Adjustment("go.mod", f"replace {MODULE}/{folder} => ./{folder}\n\n", "")
        for folder in ("api", "api/auth/approle", "api/auth/kubernetes", "api/auth/userpass")
    ),
    Adjustment(
        "go.mod",
        f"replace {MODULE}/sdk => ./sdk\n",
        f"replace {MODULE}/sdk => {MODULE}/sdk v0.21.0\n",
    ),
    Adjustment(
        "vault/identity_store.go",
        "ActivationFunc: iStore.activateDeduplication,",
        "ActivationFunc: func(ctx context.Context, req *logical.Request, _ string) error {\n"
        "\t\t\treturn iStore.activateDeduplication(ctx, req)\n\t\t},",
    ),
    Adjustment(
        "vault/logical_system_activation_flags.go",
        "ActivationFunc(ctx, nil)",
        'ActivationFunc(ctx, nil, "")',
    ),
    Adjustment(
        "builtin/logical/transit/path_restore.go",
        "restoredKeyName, err := b.lm.RestorePolicy(",
        "restoredKeyName := keyName\n\terr := b.lm.RestorePolicy(",
    ),
    Adjustment(
        "command/commands.go",
        '\tphysInmem "github.com/hashicorp/vault/sdk/physical/inmem"\n',
        '\tphysFile "github.com/hashicorp/vault/sdk/physical/file"\n'
        '\tphysInmem "github.com/hashicorp/vault/sdk/physical/inmem"\n',
    ),
    Adjustment(
        "command/commands.go",
        "physInmem.NewInmemHA,\n",
        'physInmem.NewInmemHA,\n\t\t\t"file": physFile.NewFileBackend,\n',
    ),
)


def find_vault() -> Path | None:
    """Return a `vault` program that works, from PATH or the cache, or None."""
    on_path = shutil.which("vault")
    candidates = [Path(on_path)] if on_path else []
    candidates.append(built_vault())
    return next((candidate for candidate in candidates if works(candidate)), None)


def ensure_vault(progress: Callable[[str], None] = lambda _: None) -> Path:
    """Return a `vault` program that works, building it once where there is none.

    Args:
        progress: told in a few words what is being done, for as long as it takes.

    Raises:
        LocalStackError: it is missing and could not be built.

    """
    if found := find_vault():
        return found
    progress("waiting for another process that builds Vault")
    with exclusive(cache_dir() / "vault.lock", timeout=BUILD_SECONDS):
        return find_vault() or _build(progress)


def built_vault() -> Path:
    """Return where it is built to: another source or other adjustments are another program."""
    made_of = f"{_SUM}{_SUBMODULE_SUMS}{ADJUSTMENTS}".encode()
    return cache_dir() / "bin" / f"vault-{hashlib.sha256(made_of).hexdigest()[:12]}"


def _build(progress: Callable[[str], None]) -> Path:
    go = go_program()
    if go is None:
        raise LocalStackError(
            what="Vault is missing",
            why="it is not on PATH, and there is no Go to build it with",
            action="Install the `vault` command line tool or Go.",
        )
    # Always the same folder, so that a build goes on where an earlier one was interrupted: Go's
    # cache knows packages by their place.
    source = cache_dir() / "vault-source"
    shutil.rmtree(source, ignore_errors=True)
    try:
        progress("downloading the source of Vault")
        shutil.copytree(_download(go), source)
        adjust(source)
        _compile(go, source, progress)
        built_vault().parent.mkdir(parents=True, exist_ok=True)
        return (source / "vault.built").replace(built_vault())
    finally:
        shutil.rmtree(source, ignore_errors=True)


def _download(go: str) -> Path:
    """Let Go fetch the module into its cache; return its folder there, checked."""
    answer = subprocess.run(  # noqa: S603 - Go as found on PATH, a fixed module
        [go, "mod", "download", "-json", f"{MODULE}@{VERSION}"],
        capture_output=True,
        text=True,
        timeout=_DOWNLOAD_SECONDS,
        cwd=cache_dir(),
        env=dict(os.environ) | _environment(),
        check=False,
    )
    try:
        module = json.loads(answer.stdout)
    except ValueError:
        module = {}
    if "Dir" not in module:
        raise LocalStackError(
            what="The source of Vault could not be downloaded",
            why=f"`go mod download` ended with status {answer.returncode}",
            action="Look whether Go reaches its module proxy, or install the `vault` tool.",
            detail=module.get("Error") or answer.stderr,
        )
    if module.get("Sum") != _SUM:
        raise _unexpected(f"its checksum is {module.get('Sum')}, not {_SUM}")
    return Path(module["Dir"])


def adjust(source: Path) -> None:
    """Make all adjustments to this copy of the source, which is made writable for it.

    Raises:
        LocalStackError: a place does not read as expected; nothing should be built of it.

    """
    for place in ADJUSTMENTS:
        file = source / place.file
        text = file.read_text() if file.exists() else ""
        if text.count(place.old) != 1:
            raise _unexpected(f"{place.file} does not contain exactly once: {place.old.strip()}")
        file.chmod(0o644)
        file.write_text(text.replace(place.old, place.new))
    sums = source / "go.sum"
    sums.chmod(0o644)
    with sums.open("a") as writer:
        writer.write(_SUBMODULE_SUMS)


def _compile(go: str, source: Path, progress: Callable[[str], None]) -> None:
    program = source / "vault.built"
    log = cache_dir() / "vault-build.log"
    status = run_go(
        [go, "build", "-mod=readonly", "-tags=minimal", "-o", str(program), "."],
        log=log,
        progress=lambda seconds: progress(
            f"building Vault with Go, once; this takes about eight minutes ({seconds:.0f} s)"
        ),
        folder=source,
        environment=_environment(),
    )
    if status != 0 or not works(program):
        raise LocalStackError(
            what="Vault could not be built",
            why=f"`go build` ended with status {status}",
            action=f"Install the `vault` command line tool; the log is {log}.",
            detail=tail(log),
        )


def _environment() -> dict[str, str]:
    # Checked against the sums above, so the public checksum database need not be asked.
    return go_folders() | {"GONOSUMDB": MODULE, "GOWORK": "off"}


def _unexpected(why: str) -> LocalStackError:
    return LocalStackError(
        what="The source of Vault is not what it should be",
        why=why,
        action=f"Install the `vault` command line tool, or bring {__name__} up to date.",
    )


def main() -> int:
    """Find or build Vault; print where it is, or in one line what is missing."""
    telling = Telling()
    try:
        found = ensure_vault(telling)
    except LocalStackError as error:
        telling.end()
        sys.stderr.write(f"{error}\n")
        return 1
    telling.end()
    sys.stdout.write(f"{'vault':14} {found}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
