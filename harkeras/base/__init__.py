"""What several rooms build on: whole files, ordered threads, text, Keras's state, the look of plots."""
