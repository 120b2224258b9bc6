"""Workflows about the signer's keys: what people ask for, and what a schedule does."""
