"""Where the operator's CPU goes: a profiler in each of its threads, for a cold start and for rest."""
