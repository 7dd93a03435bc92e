from ._comparison_page import plot_comparison
from .comparison import Contestant, compare, markdown_table
from .cross_validation import CrossValidation, cross_validate
from .held_out import evaluate_on_folder
from .mistakes import plot_mistakes
from .people_sheet import plot_people
from .plots import plot_confusion_matrix, plot_metric
from .probing import (
    MotionReport,
    early_recognition,
    grad_cam,
    motion_report,
    plot_early_recognition,
    plot_grad_cam,
)
from .real_time import RealTimeReport, bench_model
from .recording_scores import RecordingsEvaluation
from .recordings import evaluate_recordings
from .scores import Evaluation, evaluate

__all__ = [
    "Contestant",
    "CrossValidation",
    "Evaluation",
    "MotionReport",
    "RealTimeReport",
    "RecordingsEvaluation",
    "bench_model",
    "compare",
    "cross_validate",
    "early_recognition",
    "evaluate",
    "evaluate_on_folder",
    "evaluate_recordings",
    "grad_cam",
    "markdown_table",
    "motion_report",
    "plot_comparison",
    "plot_confusion_matrix",
    "plot_early_recognition",
    "plot_grad_cam",
    "plot_metric",
    "plot_mistakes",
    "plot_people",
]
