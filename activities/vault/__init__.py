"""Vault as this system uses it: one session a process, secrets of KV v2, encryption by transit."""
