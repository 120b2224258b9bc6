"""The keys that encrypt what Temporal keeps."""
