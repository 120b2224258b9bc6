"""What a workflow is told of who began it."""

import pytest
from pydantic import ValidationError

from domain.identity import PrincipalId, Via
from domain.launches import Launch


def test_a_launch_survives_the_way_to_the_workflow() -> None:
    launch = Launch(command_id="start-7", initiator=PrincipalId("carol"), via=Via.API)
    assert Launch.model_validate_json(launch.model_dump_json()) == launch
    assert launch.model_dump(mode="json") == {
        "command_id": "start-7",
        "initiator": "carol",
        "via": "api",
    }


@pytest.mark.parametrize("command_id", ["", "with blank", "line\nbreak", "x" * 201, "ümlaut"])
def test_a_command_id_is_printable_and_has_no_blanks(command_id: str) -> None:
    with pytest.raises(ValidationError):
        Launch(command_id=command_id, initiator=PrincipalId("carol"), via=Via.CLI)
