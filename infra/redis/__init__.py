"""Redis: a cache, and the small state that processes show each other. Nothing here is needed to be right."""
