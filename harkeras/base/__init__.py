"""What several rooms build on: files written whole, text, Keras's state, settings as JSON."""
