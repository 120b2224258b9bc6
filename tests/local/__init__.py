"""Tests of the embedded stack, against its real servers."""
