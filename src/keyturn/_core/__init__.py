"""The pure core: what documents say, and what to do about it. No clock, socket, thread, log or environment."""
