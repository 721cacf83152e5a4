"""Where new values become valid."""
