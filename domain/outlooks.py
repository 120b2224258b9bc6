"""How the launch of a deal would be decided if it came now: said beside a dry run of it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from domain.amounts import Usd8
from domain.errors import Problem
from domain.identity import GroupId


class Outlook(BaseModel):
    """Whether a deal would be admitted, by which rule, and whose approval it would wait for.

    It is no promise: a launch is decided when it comes, and counted with what was admitted by then.
    """

    model_config = ConfigDict(frozen=True)

    allowed: bool
    problem: Problem | None = None
    """What it would be denied for."""
    policy_version: int | None = None
    """The policy in force; null if there is none."""
    rule: str | None = None
    """The rule of it that decides; null if none fits, or if it does not come to that."""
    approvals_needed: Annotated[int, Field(ge=0)] = 0
    """How many people of the desk would have to approve it."""
    approver_group: GroupId | None = None
    """The group that they would have to be in, if the policy asks for one."""
    value_usd8: Usd8
    """What it is worth to whoever decides, in 1e-8 USD."""
    together_usd8: Usd8
    """With what else its bank has been given within the chain's window."""
    owners_decide: bool
    """Whether the owners of the chain's Safe would have to sign for it as well."""
