"""Records of deals in Postgres, for lists and for reading while Temporal is away."""
