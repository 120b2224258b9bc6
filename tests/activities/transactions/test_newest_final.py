"""Which block is final is worked out in one place, for whoever asks."""

from typing import Any

import pytest

from activities.transactions.finality import NO_BLOCK, final_head, newest_final
from domain.chains import Finality
from tests.activities.desk import Desk, profile_for

DEPTH, TAG = Finality(kind="depth", depth=3), Finality(kind="tag")


@pytest.mark.parametrize(
    ("finality", "head", "tagged", "final"),
    [
        (DEPTH, 10, None, 7),
        (DEPTH, 10, 9, 7),
        (Finality(kind="depth", depth=0), 10, None, 10),
        (TAG, 10, 6, 6),
        (TAG, 10, 0, 0),
        (TAG, 10, None, NO_BLOCK),
    ],
)
def test_it_is_by_depth_or_by_the_nodes_own_word(
    finality: Finality, head: int, tagged: int | None, final: int
) -> None:
    profile = profile_for("http://127.0.0.1:1", finality=finality)
    assert newest_final(profile, head, tagged) == final


@pytest.mark.parametrize("finality", [DEPTH, TAG])
async def test_a_real_node_is_asked_for_what_the_profile_goes_by(
    desk: Desk, finality: Finality
) -> None:
    profile = desk.profile.model_copy(update={"finality": finality})
    head = desk.node.head()
    tagged: dict[str, Any] = desk.node.ask("eth_getBlockByNumber", "finalized", False)  # noqa: FBT003 - positional
    expected = head - 3 if finality is DEPTH else int(tagged["number"], 16)
    assert await final_head(desk.rpc, profile) == expected
