"""Where the keys are: one interface, one module for each kind of key store."""
