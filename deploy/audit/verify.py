"""Verify an exported audit trail. Needs Python 3.8 or newer and nothing else, least of all ours.

    python verify.py FILE [--head HASH]...

FILE is what `deal audit export` wrote: JSON lines, the first about the export, each other one row.
Every row is bound to the one before it by a hash, computed anew here from what the row says:

    digest(fields) = SHA-256 over the fields, each as "length:text" (in bytes of UTF-8), or "-"
                     where there is none, joined by commas
    content_digest = digest(the row's fields, as in FIELDS below)
    hash           = digest("1", sequence, previous_hash, content_digest)

In the export of one deal the rows of others stand as their content's digest alone: the chain can be
followed through them, and what they say is not told. Each row of the deal names the one before it
of the same deal, so that none can be hidden among those.

A head is a row's hash that was kept elsewhere, where whoever could change the database could not
reach it. Rows that are cut off the end, and a trail that is written anew, are found with one only.
Exit code 0: whole; 1: not, and what is said names the row; 2: the file cannot be read.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Iterable, Iterator  # noqa: UP035 - for older Pythons

GENESIS = "0" * 64
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)  # noqa: UP017 - for older Pythons
FIELDS = (
    "at",
    "actor",
    "actor_kind",
    "via",
    "address",
    "action",
    "subject_kind",
    "subject",
    "deal",
    "previous_of_deal",
    "bank",
    "why",
    "request_id",
    "command_id",
    "request_digest",
    "policy_version",
    "workflow_id",
    "run_id",
    "event",
    "transaction_hashes",
    "change",
    "written_by",
)
ROW = {"sequence", "content_digest", "previous_hash", "hash", *FIELDS}
LINK = {"sequence", "content_digest", "hash"}


class Broken(Exception):
    """The trail is not whole."""


def digest(fields: Iterable[Any]) -> str:
    """SHA-256 over length-prefixed fields: no two different lists of fields have the same text."""
    parts = []
    for field in fields:
        if field is None:
            parts.append(b"-")
        else:
            text = str(field).encode()
            parts.append(b"%d:%s" % (len(text), text))
    return hashlib.sha256(b",".join(parts)).hexdigest()


def content_of(row: dict[str, Any]) -> str:
    """The digest of what a row says."""
    fields = [row[name] for name in FIELDS]
    when = datetime.fromisoformat(row["at"])
    fields[FIELDS.index("at")] = (when - EPOCH) // timedelta(microseconds=1)
    hashes = row["transaction_hashes"]
    if hashes is not None:
        fields[FIELDS.index("transaction_hashes")] = "{" + ",".join(hashes) + "}"
    return digest(fields)


class Trail:
    """The chain as far as it was followed."""

    def __init__(self, header: dict[str, Any]) -> None:
        """Begin where the export begins."""
        self.deal = header["deal"]
        self.last = header["first"] - 1
        self.head = header["previous_hash"]
        self.of_deal: dict[str, int] = {}
        self.rows = 0
        if self.deal is None and (self.last, self.head) != (0, GENESIS):
            raise Broken("the export of a whole trail begins with row 1")

    def follow(self, row: dict[str, Any]) -> None:
        """Take the next line; raise `Broken` naming the row at fault."""
        sequence = row["sequence"]
        if sequence != self.last + 1:
            raise Broken(
                f"row {self.last + 1} is missing; row {sequence} stands in its place"
                if sequence > self.last
                else f"row {sequence} stands after row {self.last}"
            )
        if set(row) == ROW:
            self._check(row)
        elif self.deal is None or set(row) != LINK:
            raise Broken(f"row {sequence} is not told whole")
        if row["hash"] != digest(["1", sequence, self.head, row["content_digest"]]):
            raise Broken(f"row {sequence} was changed, or does not follow from the one before")
        self.last, self.head = sequence, row["hash"]

    def _check(self, row: dict[str, Any]) -> None:
        sequence, deal = row["sequence"], row["deal"]
        if row["previous_hash"] != self.head:
            raise Broken(f"row {sequence} does not follow from the one before")
        if content_of(row) != row["content_digest"]:
            raise Broken(f"row {sequence} was changed")
        if self.deal is not None and deal != self.deal:
            raise Broken(f"row {sequence} is not of deal {self.deal}")
        if deal is not None:
            before = self.of_deal.get(deal, 0)
            if row["previous_of_deal"] != before:
                left_out = row["previous_of_deal"]
                raise Broken(f"row {left_out} of deal {deal} is left out before row {sequence}")
            self.of_deal[deal] = sequence
        self.rows += 1


def verify(lines: Iterator[str], heads: Iterable[str]) -> tuple[Trail, set[str]]:
    """Follow all lines; return the trail and the kept heads that were not found in it."""
    header = json.loads(next(lines))
    if header.get("audit_export") != 1:
        raise ValueError("the first line is not that of an export of the audit trail, version 1")
    trail = Trail(header)
    missing = set(heads) - {GENESIS, trail.head}
    for line in lines:
        trail.follow(json.loads(line))
        missing.discard(trail.head)
    if (trail.last, trail.head) != (header["last"], header["head"]):
        raise Broken(f"row {trail.last + 1} is missing: the export goes to row {header['last']}")
    return trail, missing


def main(arguments: list[str]) -> int:
    """Verify one file, say what was found, and return the exit code."""
    parser = argparse.ArgumentParser(description="Verify an exported audit trail.")
    parser.add_argument("file", help="the export, or - for standard input")
    parser.add_argument("--head", action="append", default=[], help="a hash that was kept")
    chosen = parser.parse_args(arguments)
    try:
        with sys.stdin if chosen.file == "-" else Path(chosen.file).open(encoding="utf-8") as file:
            trail, missing = verify(iter(file), chosen.head)
    except Broken as broken:
        return say(1, f"BROKEN: {broken}")
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        return say(2, f"cannot be read: {type(error).__name__}: {error}")
    if missing:
        return say(
            1,
            f"BROKEN: no row has the head {' or '.join(sorted(missing))}: rows after row "
            f"{trail.last} were cut off, or the trail was written anew",
        )
    about = "the trail" if trail.deal is None else f"deal {trail.deal}"
    return say(
        0,
        f"whole: {trail.rows} rows of {about}, up to row {trail.last}, whose hash is {trail.head}",
    )


def say(code: int, text: str) -> int:
    """Print what was found, and return the exit code."""
    sys.stdout.write(f"{text}\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
