"""A deal that a person takes over: what was left where, and who answers for it."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from domain.positions import Position


class Adoption(BaseModel):
    """The written account with which a deal ends that could not be unwound to the last unit."""

    model_config = ConfigDict(frozen=True)

    who: str
    why: str
    answers: str
    """Who answers for what remains from now on."""
    at: datetime
    remains: Position
    """What the account held and owed then, as the chain says."""

    def text(self) -> str:
        """The account in one line."""
        if self.remains.is_empty:
            return f"adopted by {self.who}: {self.why}; nothing is left in the account"
        return f"adopted by {self.who}: {self.why}; {self.answers} answers for {told(self.remains)}"


def told(position: Position) -> str:
    """Everything that an account holds and owes, in smallest units, what is zero left out."""
    assets = {
        "wei": position.wei,
        "wei of WETH": position.weth,
        "units of the par token": position.par,
        "units of the discount token": position.discount,
        "wei of collateral at Aave": position.collateral,
        "units of debt at Aave": position.debt,
    }
    held = ", ".join(f"{units} {name}" for name, units in assets.items() if units)
    return f"{held or 'nothing'} in {position.account}"
