import pytest

from harkeras.training.schedules import cosine_schedule, plateau_schedule, step_schedule


def rates(schedule, epochs, logs=()):
    return [schedule(epoch, list(logs)[:epoch]) for epoch in range(epochs)]


def test_step():
    assert rates(step_schedule(1.0, [2, 4]), 6) == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert rates(step_schedule(1.0, [1], factor=0.5), 2) == [1, 0.5]
    assert rates(step_schedule(0.3, []), 3) == [0.3] * 3


def test_cosine():
    plain = rates(cosine_schedule(1.0, 4), 6)
    assert plain == pytest.approx([1, 0.853553, 0.5, 0.146447, 0, 0], abs=1e-6)
    warm = rates(cosine_schedule(1.0, 7, warmup_epochs=3), 7)
    assert warm[:4] == pytest.approx([0.25, 0.5, 0.75, 1])
    assert warm[3:] == pytest.approx(plain[:4])


def test_plateau():
    losses = [5, 4, 4.5, 4.2, 3, 3, 3, 3]
    logs = [{"val_loss": loss} for loss in losses]
    assert rates(plateau_schedule(1.0, patience=2), 8, logs) == pytest.approx(
        [1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01]
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: step_schedule(0, []), "learning_rate must be positive, got 0"),
        (lambda: step_schedule(1, [], factor=-1), "factor must be positive, got -1"),
        (lambda: cosine_schedule(1, 0), "epochs must be positive, got 0"),
        (lambda: cosine_schedule(1, 5, warmup_epochs=5), "warmup_epochs must lie in 0 to 4, got 5"),
        (lambda: plateau_schedule(1, patience=0), "patience must be positive, got 0"),
        (lambda: plateau_schedule(1)(1, [{"loss": 1}]), "monitor must be one of loss, got 'val_loss'"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
