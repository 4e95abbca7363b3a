"""Training of the built-in model lmx/guide. The package itself is not shipped, only the weights it makes."""
