"""Asking the signer about its keys, through Temporal: nobody else has a way to them."""
