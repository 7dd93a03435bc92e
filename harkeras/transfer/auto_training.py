"""What `auto` leaves: a model, and what it says of its choice, as text and as plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harkeras.training.trainer import Training
from harkeras.transfer._trials import Preference, Trial, best_at_each_cost
from harkeras.transfer.features import ChosenBackbone
from harkeras.transfer.learning_curve import LearningCurve, plot_learning_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RULES: dict[Preference, str] = {
    "balanced": "the cheapest that the clips cannot tell from the best:\n"
    "behind it by no more than one standard error over the sources",
    "speed": "the cheapest that is behind the best by no more than\n"
    "two standard errors over the sources (prefer speed)",
    "accuracy": "the best, whatever it costs (prefer accuracy)",
}


@dataclass(frozen=True, kw_only=True)
class AutoTraining(Training):
    """What was chosen and fitted: a `Training` whose model names the action of clips (B, T, H, W, C).

    Its recipe holds the temperature that was fitted to the probabilities of the cross-validation.

    Attributes:
        chosen: The trial that was fitted: the cheapest that does as well as any, or as was preferred.
        trials: All trials, the best first.
        prefer: What was preferred.
        backbone: On what the heads stand.
        report: What was tried and why this was chosen, and the learning curve, as text.
        interval: The 95 % interval of the chosen trial's accuracy, by the sources of the training clips.
        learning_curve: What the chosen trial does with fewer sources to learn from; None where there are too
            few. Networks that are trained from end to end have none: it would take as long as training them
            anew for each point.
    """

    chosen: Trial
    trials: list[Trial]
    prefer: Preference
    backbone: ChosenBackbone
    report: str
    interval: tuple[float, float]
    learning_curve: LearningCurve | None

    def explain(self, accuracy: float, interval: tuple[float, float]) -> str:
        """Return the report, and what it may mean if it and the test disagree by more than chance."""
        return f"{self.report}\n{self.compare_with_test(accuracy, interval)}".strip()

    def details(self) -> dict[str, Any]:
        """Return what was tried, what was chosen, and the learning curve, as plain numbers."""
        details = {
            "backbone": self.backbone._asdict(),
            "prefer": self.prefer,
            "chosen": trial_numbers(self.chosen) | {"interval": list(self.interval)},
            "candidates": [trial_numbers(trial) for trial in self.trials],
        }
        if self.learning_curve is not None:
            details["learning_curve"] = self.learning_curve.numbers()
        return details

    def figures(self) -> dict[str, Figure]:
        """Return the learning curve as a picture, if there is one."""
        return (
            {}
            if self.learning_curve is None
            else {"learning_curve": plot_learning_curve(self.learning_curve)}
        )

    def compare_with_test(self, accuracy: float, interval: tuple[float, float]) -> str:
        """Return what it may mean if cross-validation and test disagree by more than chance; else nothing."""
        (low, high), (test_low, test_high) = self.interval, interval
        if low <= test_high and test_low <= high:
            return ""
        words = (
            f"The cross-validation and the test disagree by more than chance: {self.chosen.accuracy:.3f} "
            f"({low:.3f} to {high:.3f}) inside the training clips, {accuracy:.3f} "
            f"({test_low:.3f} to {test_high:.3f}) on the test clips. "
        )
        if low > test_high:
            return words + (
                "Training clips may share sources that are not known, and name each other; or the test clips "
                "are of another kind. The test is the one to believe."
            )
        return words + (
            "The test clips may be easier, or share sources with the training clips, which overstates the "
            "accuracy of the test."
        )


def describe_trials(
    trials: Sequence[Trial],
    chosen: Trial,
    given_up: Sequence[str],
    *,
    clips: int,
    how: str,
    folds: int,
    prefer: Preference,
) -> str:
    """Say what was tried and why one was chosen.

    Args:
        trials: All trials.
        chosen: The one that was fitted.
        given_up: Names of the heads that were given up after the first fold.
        clips: Number of training clips.
        how: Of what the folds were made, in words.
        folds: Number of folds.
        prefer: What was preferred.
    """
    lines = [
        f"auto compared {len(trials)} candidates by {folds}-fold cross-validation ({how}) inside the {clips} "
        "training clips;",
        "test clips took no part. Here is the best of each cost (billions of multiply-adds, and milliseconds",
        "on this machine, for a clip).",
        f"* was fitted: {_RULES[prefer]}.",
        f"  {'input':<27} {'accuracy':>8} {'loss':>6} {'billions':>8} {'ms':>7}  head of which features",
        *(f"{'*' if trial is chosen else ' '} {trial}" for trial in best_at_each_cost(trials)),
    ]
    if len(subjects := sorted({trial.input.subject for trial in trials})) > 1:
        lines.append(
            f"Of {', '.join(subjects)}, the one with the lowest loss on its dearest input was taken first."
        )
    if subjects != ["frame"]:
        lines.append("Finding people comes on top of these costs.")
    if how != "by source video":
        lines.append(
            "No sources were known to the folds: if clips come from one video, they were on both sides, and "
            "these accuracies are too high."
        )
    if given_up:
        lines.append(f"given up after the first fold, being behind the best: {', '.join(given_up)}")
    return "\n".join(lines)


def trial_numbers(trial: Trial) -> dict[str, Any]:
    """Return a trial as JSON can hold it."""
    return {
        "frames": trial.input.frames,
        "height": trial.input.height,
        "width": trial.input.width,
        "subject": trial.input.subject,
        "heads": [
            {"head": head, "parts": list(parts), "strength": strength}
            for head, parts, strength in zip(trial.heads, trial.parts, trial.strengths, strict=True)
        ],
        "accuracy": trial.accuracy,
        "loss": trial.loss,
        "multiply_adds": trial.cost.multiply_adds,
        "milliseconds": trial.cost.milliseconds,
    }
