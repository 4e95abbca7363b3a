"""Makes the built-in model lmx/guide. Not shipped: only its weights are."""
