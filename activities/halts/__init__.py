"""Halts, as engine, signer and workflows see them."""
