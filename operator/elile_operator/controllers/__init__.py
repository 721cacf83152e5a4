"""Gather, decide, act: one controller per kind."""
