"""Running a deal dry: the same steps over a snapshot of the chain, of which nothing is kept."""
