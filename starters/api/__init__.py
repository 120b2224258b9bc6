"""The HTTP API: the same functions as the command line's, over the network."""
