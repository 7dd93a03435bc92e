"""Training with early stopping, schedules, fine-tuning, calibration."""
