"""The codec for people: a server that decrypts for the Web UI, and the keys' life."""
