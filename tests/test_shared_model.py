"""One model for many threads."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from test_watching import color_model, color_video  # noqa: F401  the fixture

from harkeras.inference import ActionStream, share_model
from harkeras.inference._shared_model import SharedModel
from harkeras.inference.prediction import predict_image, predict_on_video, predict_single_action
from harkeras.inference.resolve import resolve_model


class Held:
    """A compiled model whose first call waits, and which writes down what it was asked."""

    splits, keeps_memory = False, False

    def __init__(self):
        self.go_on, self.begun, self.asked = threading.Event(), threading.Event(), []

    def classify(self, clips):
        self.asked.append(clips.tolist())
        self.begun.set()
        assert self.go_on.wait(30)
        if 13 in clips:
            raise RuntimeError("out of luck")
        return clips * 10

    def answer(self, clips):
        self.asked.append(list(clips))
        return [each * 100 for each in clips]


def ask_while_it_computes(model, shared, questions):
    """Ask for 1, and for the others before that is answered; return all answers."""
    with ThreadPoolExecutor(len(questions) + 1) as pool:
        first = pool.submit(shared.classify, np.array([1]))
        assert model.begun.wait(30)
        others = []
        for number, (method, question) in enumerate(questions):
            others.append(pool.submit(getattr(shared, method), question))
            while len(shared._waiting) <= number:
                pass
        model.go_on.set()
        return [each.exception() or each.result() for each in (first, *others)]


def test_what_waits_is_computed_together():
    model, calls = Held(), []
    shared = SharedModel(model, None, most_together=2, on_call=calls.append)
    questions = [("classify", np.array([2, 3])), ("answer", [4, 5]), ("classify", np.array([6]))]
    questions += [("classify", np.array([7])), ("answer", [8])]
    answers = ask_while_it_computes(model, shared, questions)
    assert [np.asarray(each).tolist() for each in answers] == [[10], [20, 30], [400, 500], [60], [70], [800]]
    assert model.asked == [[1], [2, 3, 6], [4, 5, 8], [7]]
    assert calls == [1, 2, 2, 1]
    shared.close()


def test_an_error_is_everybodys_who_asked():
    model = Held()
    shared = SharedModel(model, None)
    questions = [("classify", np.array([2])), ("classify", np.array([13]))]
    first, *others = ask_while_it_computes(model, shared, questions)
    assert first.tolist() == [10]
    assert [str(each) for each in others] == ["out of luck"] * 2
    assert shared.classify(np.array([3])).tolist() == [30]  # and it goes on
    shared.close()


def test_many_threads_get_the_answers_of_one(color_video):  # noqa: F811
    model = color_model()
    shared = share_model(model)
    videos = [color_video(letters, seconds=2, name=f"{letters}.mp4") for letters in ("r", "rg", "b", "bgr")]
    expected = [predict_on_video(video, model, progress=False) for video in videos]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda video: predict_on_video(video, shared, progress=False), videos * 4))
    for answer, one in zip(answers, expected * 4, strict=True):
        assert answer.segments == one.segments
        np.testing.assert_allclose(answer.probabilities, one.probabilities, atol=1e-6)
    assert predict_single_action(videos[0], shared) == predict_single_action(videos[0], model)


def test_it_stands_where_a_model_does():
    model = color_model(temperature=2.0)
    shared = share_model(model)
    stream = ActionStream(shared, shared.recipe)
    stream.warm_up()
    clips = np.random.default_rng(0).integers(0, 256, (2, *shared.recipe.clip_shape), np.uint8)
    expected = ActionStream(model, model.recipe).classify(clips)
    np.testing.assert_allclose(stream.classify(clips), expected, atol=1e-6)


def test_wrong_arguments():
    model = color_model()
    with pytest.raises(ValueError, match="most_together must be an integer of at least 1, got 0"):
        share_model(model, most_together=0)
    shared = share_model(model)
    with pytest.raises(ValueError, match="its options are passed to share_model"):
        resolve_model(shared, classes=["a", "b", "c"])
    with pytest.raises(ValueError, match="a shared model takes clips"):
        predict_image(np.zeros((8, 8, 3), np.uint8), shared)
