"""Critical operations: scheduled in the timelock, waited for, executed once."""
