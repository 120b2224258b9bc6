"""The local chain, tried against real nodes."""
