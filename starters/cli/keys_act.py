"""`deal keys rotate`, `retire` and `reinstate`: have it done, with who and why."""

import typer
from rich.text import Text

from activities.custody.interface import KeysRotated, KeyView, Rotation
from domain.errors import InvalidInput
from domain.identifiers import DealId
from domain.identity import Permission
from starters.cli.control import check_reason, parse_message, require_terminal
from starters.cli.keys_show import key_facts, open_keys_client
from starters.cli.output import Output, print_json, show
from starters.cli.session import caller

_DONE = {
    Rotation.SEED: "a new seed for deals to come, generation {}",
    Rotation.WRAPPING: "a new wrapping key over seeds 1 to {}",
}


async def rotate(reason: str, output: Output, *, seed: bool, wrapping: bool, sure: bool) -> None:
    """Ask whether it is meant, rotate, and print what is in use now."""
    asked = {Rotation.SEED: seed, Rotation.WRAPPING: wrapping}
    rotations = tuple(rotation for rotation, wanted in asked.items() if wanted)
    if not rotations:
        raise InvalidInput(
            "it is not said what to rotate",
            field="seed",
            limit="--seed, --wrapping, or both",
            next_action="add --seed for a new seed, --wrapping for a new key over the seeds",
        )
    check_reason(reason)
    who = await caller(Permission.KEYS_ACT)
    message = parse_message(reason, who.who)
    _ask(f"rotate the {' and the '.join(rotations)}", "keys", sure=sure)
    rotated = await (await open_keys_client()).rotate(rotations, message)
    if output is Output.JSON:
        print_json([each.model_dump(mode="json") for each in rotated])
    else:
        show(*(Text(_line(each)) for each in rotated))


async def change(name: str, deal_id: DealId, reason: str, output: Output, *, sure: bool) -> None:
    """Ask whether it is meant, retire or reinstate, and print the key."""
    check_reason(reason)
    who = await caller(Permission.KEYS_ACT)
    message = parse_message(reason, who.who)
    _ask(f"{name} the key of deal {deal_id}", "a key", sure=sure)
    client = await open_keys_client()
    done = await (
        client.retire(deal_id, message) if name == "retire" else client.reinstate(deal_id, message)
    )
    _print(done, output)


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
