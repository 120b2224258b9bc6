"""What an auditor takes along: it needs nothing of ours."""
