"""A model over time: streams, decisions, video files."""
