"""`deal keys rotate`, `retire` and `reinstate`: have it done, with who and why."""

from uuid import uuid4

import typer
from rich.text import Text

from activities.custody.interface import KeysRotated, KeyView, Rotation
from domain.identifiers import DealId
from domain.identity import Permission
from starters.cli.asking import require_terminal
from starters.cli.control import check_reason
from starters.cli.keys_show import key_facts, open_key_desk
from starters.cli.output import Output, print_json, show
from starters.cli.session import caller
from starters.control.custody import ensure_chosen

_DONE = {
    Rotation.SEED: "a new seed for deals to come, generation {}",
    Rotation.WRAPPING: "a new wrapping key over seeds 1 to {}",
}


async def rotate(reason: str, output: Output, *, seed: bool, wrapping: bool, sure: bool) -> None:
    """Ask whether it is meant, rotate, and print what is in use now."""
    asked = {Rotation.SEED: seed, Rotation.WRAPPING: wrapping}
    rotations = tuple(rotation for rotation, wanted in asked.items() if wanted)
    ensure_chosen(rotations)
    check_reason(reason)
    who = await caller(Permission.KEYS_ACT)
    _ask(f"rotate the {' and the '.join(rotations)}", "keys", sure=sure)
    rotated = await open_key_desk().rotate(who, rotations, reason.strip(), str(uuid4()))
    if output is Output.JSON:
        print_json([each.model_dump(mode="json") for each in rotated])
    else:
        show(*(Text(_line(each)) for each in rotated))


async def change(name: str, deal_id: DealId, reason: str, output: Output, *, sure: bool) -> None:
    """Ask whether it is meant, retire or reinstate, and print the key."""
    check_reason(reason)
    who = await caller(Permission.KEYS_ACT)
    _ask(f"{name} the key of deal {deal_id}", "a key", sure=sure)
    desk = open_key_desk()
    act = desk.retire if name == "retire" else desk.reinstate
    _print(await act(who, deal_id, reason.strip(), str(uuid4())), output)


def _ask(what: str, changed: str, *, sure: bool) -> None:
    """Ask on standard error, so that the answer to the command stays apart."""
    if sure:
        return
    require_terminal(what.partition(" ")[0], changed)
    if not typer.confirm(f"{what}?", err=True):
        typer.echo("nothing was changed", err=True)
        raise typer.Exit(1)


def _print(view: KeyView, output: Output) -> None:
    if output is Output.JSON:
        print_json(view.model_dump(mode="json"))
    else:
        show(key_facts(view))


def _line(rotated: KeysRotated) -> str:
    return rotated.note or _DONE[rotated.rotation].format(rotated.generation)
