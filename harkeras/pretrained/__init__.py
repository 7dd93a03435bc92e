"""What others published, put into our models."""
