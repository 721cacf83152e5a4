"""Rotation of secrets: schedules, generators, and the engine that knows nothing of Kubernetes."""
