"""Everything that touches the world, one folder a feature; workflows see only `interface`."""
