"""Who may do what, and what was done: the functions that the command line and the API share."""
