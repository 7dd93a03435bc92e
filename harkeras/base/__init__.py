"""What several rooms build on: files written whole, ordered threads, text, Keras's state, settings."""
