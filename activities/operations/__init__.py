"""Critical operations through the timelock: what they stand at, their records."""
