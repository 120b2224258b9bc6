"""The signer: the one place with key access, its policy and its journal."""
