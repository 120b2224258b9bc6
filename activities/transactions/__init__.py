"""The transaction engine: prepares, delivers and finalises batches, each exactly once."""
