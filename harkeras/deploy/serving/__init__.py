"""A model behind HTTP: what comes from outside is counted, checked, and answered together."""
