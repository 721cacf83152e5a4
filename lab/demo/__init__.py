"""`make demo`: what Elile does, shown step by step on a cluster of its own."""
