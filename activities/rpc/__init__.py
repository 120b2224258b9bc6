"""Talking to the nodes of one chain: transport and prices."""
