from ._learning import Score
from ._recordings import Added
from ._store import Recording
from .project import Project
from .retraining import Retraining
from .suggesting import Suggestion

__all__ = ["Added", "Project", "Recording", "Retraining", "Score", "Suggestion"]
