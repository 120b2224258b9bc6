"""What the command line and the API do with deals."""
