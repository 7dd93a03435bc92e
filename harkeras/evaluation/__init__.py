"""Scores, plots, probing, cross-validation, comparison."""
