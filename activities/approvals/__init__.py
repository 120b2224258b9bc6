"""Approvals: what banks move without the owners of a Safe, and what owners are asked for."""
