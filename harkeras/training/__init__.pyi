from .calibration import (
    calibrate,
    expected_calibration_error,
    fit_temperature,
    plot_calibration,
    tune_threshold,
)
from .fine_tuning import fine_tune
from .loop import train

__all__ = [
    "calibrate",
    "expected_calibration_error",
    "fine_tune",
    "fit_temperature",
    "plot_calibration",
    "train",
    "tune_threshold",
]
