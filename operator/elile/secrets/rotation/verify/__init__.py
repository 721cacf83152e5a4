"""Hooks that prove a new value works, each against a real server, before anybody is given it."""
