"""What starts deals and the system: the command line, the HTTP API, the embedded stack."""
