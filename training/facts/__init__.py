"""Facts about lmx, read from its code: commands, settings, routes and keys, and the topics that state them."""
