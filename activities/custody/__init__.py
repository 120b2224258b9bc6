"""The life of keys: retired with their deals, rotated in time, listed; and the journal verified."""
