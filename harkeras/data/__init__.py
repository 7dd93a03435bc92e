"""Labelled clips: data sets and their sources, splits, leakage, augmentation, annotations, samples."""
