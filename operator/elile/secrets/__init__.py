"""Typed access to secrets: the client library of Elile."""

__all__: list[str] = []
