"""The easy path: inputs and heads compared inside the training clips, the one to choose fitted and saved."""

import json
from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pytest
from PIL import Image

from harkeras import (
    VideoWriter,
    create_dataset,
    create_lrcn_model,
    predict_on_video,
    predict_single_action,
    read_recipe,
)
from harkeras.data.folders import read_folder
from harkeras.data.intervals import clustered_interval
from harkeras.data.sources import given_sources
from harkeras.evaluation.scores import evaluate
from harkeras.models import count_multiply_adds
from harkeras.people import read_clip
from harkeras.recipe import ClipFormat
from harkeras.training.calibration import fit_temperature
from harkeras.training.loop import train
from harkeras.transfer import feature_dataset
from harkeras.transfer._costs import Cost, measure_cost
from harkeras.transfer._fitting import fit_model
from harkeras.transfer._trials import average_views, choose_trial, score
from harkeras.transfer.auto import AutoTrainer, train_auto
from harkeras.transfer.feature_dataset import Input, create_feature_dataset
from harkeras.transfer.features import frame_encoder
from harkeras.workflow import evaluate_on_folder, train_on_folder

SMALL = {"backbone": "mobilenet_v2_0.35", "weights": None, "inputs": ((4, 32, 32), (6, 32))}
QUICK = ("mean_std", "mean_diff")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Dark clips that flicker and dark clips that do not; two clips of each class in each of six sources."""
    folder, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    for label, name in enumerate(("Flickering", "Still")):
        for group, clip in np.ndindex(6, 2):
            path = folder / name / f"v_{name}_g{group:02d}_c{clip:02d}.mp4"
            with VideoWriter(path, fps=10) as writer:
                for frame in range(12):
                    image = rng.integers(40, 60, (48, 64, 3)).astype(np.uint8)
                    image[8:40, 8:56] += np.uint8(150 * (frame % 5 < 2) * (1 - label) + 5 * group)
                    writer.write(image)
    return folder


@pytest.fixture(scope="module")
def dataset(folder):
    keras.utils.set_random_seed(0)
    return create_feature_dataset(folder, **SMALL)


def with_groups(dataset, groups):
    view = dataset[:]
    view.sources = given_sources(groups, len(view))
    return view


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    options = {**SMALL, "heads": QUICK, "folds": 3}
    return train_on_folder(folder, output_dir=tmp_path_factory.mktemp("models"), model_options=options)


def test_a_data_set_holds_each_input(dataset):
    table, last = dataset.features, ("last",)
    assert list(table.features) == [Input(4, 32, 32), Input(6, 32, 32)]
    assert table.features[Input(6, 32, 32)].shape == (24, 6, 1472)
    assert table.pick(Input(4, 32, 32), last).shape == (24, 4, 1280)
    assert dataset.clip_seconds == pytest.approx(1.2)
    assert len(dataset) == 24
    part = dataset[np.array([3, 5])][np.array([1])].features
    np.testing.assert_array_equal(part.pick(Input(4, 32, 32), last), table.pick(Input(4, 32, 32), last)[[5]])
    assert part.features is table.features  # nothing is copied


def test_the_longer_side_follows_the_clips(folder):
    some = read_folder(folder)[np.array([0, 12])]
    options = {"backbone": "mobilenet_v2_0.35", "weights": None, "inputs": ((2, 64),)}
    (given,) = create_feature_dataset(some, **options).features.features
    assert given[:3] == (2, 64, 96)  # 4 : 3, to the next 32
    with pytest.raises(ValueError, match="inputs must name at least one"):
        create_feature_dataset(some, **{**options, "inputs": ()})


def test_choice_looks_at_training_clips_alone(dataset):
    """Labels and features of test clips can be anything."""
    train = np.flatnonzero(np.arange(24) % 12 < 8)
    first = train_auto(dataset[train], heads=QUICK, folds=3)
    test = np.setdiff1d(np.arange(24), train)
    spoilt = {given: each.copy() for given, each in dataset.features.features.items()}
    for each in spoilt.values():
        each[test] = np.nan
    other = dataset[:]
    other.features = replace(other.features, features=spoilt)
    other.labels = np.where(np.isin(np.arange(24), test), 1 - other.labels, other.labels)
    second = train_auto(other[train], heads=QUICK, folds=3)
    assert second.report == first.report
    for mine, theirs in zip(first.model.get_weights(), second.model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_report_says_what_was_tried(dataset):
    result = train_auto(dataset, heads=QUICK, folds=3)
    assert result.report.startswith("auto compared 5 candidates by 3-fold cross-validation (by source video)")
    table = result.report.partition("head of which features\n")[2].splitlines()[:4]
    assert f"* {result.chosen}" in table
    costs = [trial.cost.multiply_adds for line in table for trial in result.trials if line[2:] == str(trial)]
    assert costs == sorted({trial.cost.multiply_adds for trial in result.trials})  # two inputs, two depths
    assert [trial.accuracy for trial in result.trials] == sorted(
        (trial.accuracy for trial in result.trials), reverse=True
    )
    assert result.chosen.accuracy > 0.9
    assert evaluate(result.model, dataset).accuracy > 0.9
    assert "No sources were known" not in result.report
    alone = train_auto(dataset.without_sources(), heads=QUICK, folds=2)
    assert "cross-validation (each clip a source of its own)" in alone.report
    assert "No sources were known to the folds" in alone.report


def test_the_model_is_scored_on_features_as_on_clips(dataset, folder):
    """Of features, only its head is asked; a model of another kind has none for them."""
    result = train_auto(dataset, heads=QUICK, folds=3)
    frames, height, width, *_ = result.chosen.input
    clips = create_dataset(folder, frames=frames, height=height, width=width)
    of_features = evaluate(result.model, dataset).probabilities
    np.testing.assert_allclose(of_features, evaluate(result.model, clips).probabilities, atol=1e-4)
    with pytest.raises(ValueError, match="model must stand on one of the encoders of these features"):
        evaluate(create_lrcn_model(2, (4, 64, 64, 3)), dataset)


def trials_that_miss(misses, labels):
    """A trial for each number of clips to miss, each ten times as dear as the one before."""
    trials = []
    for number, count in enumerate(misses):
        named = labels.copy()
        named[np.random.default_rng(number).permutation(len(labels))[:count]] ^= 1
        cost = Cost(10 ** (9 + number), 10.0**number)
        said = np.eye(2)[named] * 0.8 + 0.1
        heads = (("last",),), ("mean_std",), (1.0,)
        trials.append(score((Input(8, 224, 384 + 32 * number),), *heads, cost, said, labels))
    return trials


@pytest.mark.parametrize(
    ("misses", "prefer", "chosen"),
    [
        ((54, 52), "balanced", 0),  # of 225 clips, two more named right are no reason for ten times the cost
        ((66, 52), "balanced", 1),
        ((66, 52), "speed", 0),  # fourteen are, but for who prefers speed,
        ((92, 52), "speed", 1),  # forty are for everyone
        ((54, 52), "accuracy", 1),
        ((52, 52), "accuracy", 0),
        ((66, 54, 52), "balanced", 1),
    ],
)
def test_what_is_dearer_must_be_worth_it(misses, prefer, chosen):
    labels = np.arange(225) % 2
    trials = trials_that_miss(misses, labels)
    assert choose_trial(trials[::-1], labels, np.arange(225), prefer) is trials[chosen]


def test_what_to_look_at_is_chosen_by_the_dearest_inputs():
    """Not by the luckiest of several; and then, what it costs is no reason to look at something else."""
    labels = np.arange(225) % 2
    frames, people = trials_that_miss((40, 66), labels), trials_that_miss((62, 60), labels)
    people = [replace(trial, inputs=(trial.input._replace(subject="people"),)) for trial in people]
    assert choose_trial([*frames, *people], labels, np.arange(225)) is people[0]
    assert choose_trial([*frames, *people], labels, np.arange(225), "accuracy") is people[1]
    assert choose_trial([*people, *frames[::-1]], labels, np.arange(225), "accuracy") is people[1]


def test_the_surer_of_two_subjects_is_taken():
    """Frames name one clip more, and squares are as good as sure of what they name."""
    labels = np.arange(225) % 2
    (frame,), (people,) = trials_that_miss((40,), labels), trials_that_miss((41,), labels)
    surer = np.where(people.probabilities > 0.5, 0.85, 0.15)
    people = score(
        (Input(8, 224, 224, "people"),), (("last",),), ("mean_std",), (1.0,), people.cost, surer, labels
    )
    assert people.accuracy < frame.accuracy
    assert people.loss < frame.loss
    assert choose_trial([frame, people], labels, np.arange(225)) is people


def test_whole_frames_and_people_are_tried_together():
    labels = np.arange(225) % 2
    frames = trials_that_miss((40, 50), labels)
    frames[1] = replace(frames[1], inputs=(Input(8, 384, 224),))
    (square, other), inputs = trials_that_miss((60, 20), labels), (Input(8, 224, 224), Input(16, 224, 224))
    people = [
        replace(trial, inputs=(given._replace(subject="people"),))
        for trial, given in zip((square, other), inputs, strict=True)
    ]
    wide, high = sorted(average_views([*frames, *people], labels), key=lambda trial: str(trial.input))
    assert str(wide.input) == "8 x 224 x 608 frame+people"
    assert str(high.input) == "8 x 608 x 224 frame+people"
    assert wide.cost.multiply_adds == frames[0].cost.multiply_adds + square.cost.multiply_adds
    np.testing.assert_allclose(wide.probabilities, (frames[0].probabilities + square.probabilities) / 2)


@pytest.mark.slow
def test_a_model_sees_both_side_by_side(dataset, folder):
    """The squares are the frames upside down here: features of one picture are those of its halves."""
    given = Input(6, 32, 32)
    square, encoder = given._replace(subject="people"), dataset.features.encoders[given]
    clips = np.stack([read_clip(path, ClipFormat(*given[:3])) for path in dataset.video_paths])
    seen = encoder.predict(clips[:, :, ::-1].reshape(-1, 32, 32, 3), verbose=0).reshape(24, 6, -1)
    view = dataset[:]
    table = view.features
    features, encoders = table.features | {square: seen}, table.encoders | {square: encoder}
    view.features = replace(table, features=features, encoders=encoders)
    result = train_auto(view, heads=("mean_std_diff",), folds=2)
    assert "Of frame, frame+people, people, the one with the lowest loss" in result.report
    both = next(trial for trial in result.trials if trial.input.subject == "frame+people")
    assert both.input == Input(6, 32, 64, "frame+people")
    model = fit_model(both, view, 27)
    assert (model.recipe.clip_shape, model.recipe.subject) == ((6, 32, 64, 3), "frame+people")
    pictures = np.concatenate([clips, clips[:, :, ::-1]], axis=3)
    np.testing.assert_allclose(
        model.predict(pictures, verbose=0), evaluate(model, view).probabilities, atol=1e-4
    )
    head = count_multiply_adds(model.get_layer("head"))
    assert count_multiply_adds(model) == both.cost.multiply_adds + head


def test_what_one_source_says_is_said_once():
    """The dearer one names ten clips more, all of one source: it may know that recording, no more."""
    labels, groups = np.arange(220) % 2, np.arange(220) // 10
    cheap, dear = trials_that_miss((0, 0), labels)
    named = np.eye(2)[np.where(groups == 3, 1 - labels, labels)] * 0.8 + 0.1
    cheap = score(cheap.inputs, cheap.parts, cheap.heads, cheap.strengths, cheap.cost, named, labels)
    assert choose_trial([cheap, dear], labels, groups) is cheap
    assert choose_trial([cheap, dear], labels, np.arange(220)) is dear


@pytest.mark.parametrize(("more", "chosen"), [(6, 0), (7, 1)])
def test_the_error_is_that_of_the_best(more, chosen):
    """The cheap one misses what the dear one does and a few more: 1 error of 52 in 225 is 6.3 clips."""
    labels = np.arange(225) % 2
    trials = []
    for count, like in zip((52 + more, 52), trials_that_miss((0, 0), labels), strict=True):
        named = np.eye(2)[np.where(np.arange(225) < count, 1 - labels, labels)] * 0.8 + 0.1
        trials.append(score(like.inputs, like.parts, like.heads, like.strengths, like.cost, named, labels))
    assert choose_trial(trials, labels, np.arange(225)) is trials[chosen]


def test_the_cost_that_is_reported_is_what_the_model_computes(dataset):
    result = train_auto(dataset, heads=QUICK, folds=3)
    head = count_multiply_adds(result.model.get_layer("head"))
    assert count_multiply_adds(result.model) == result.chosen.cost.multiply_adds + head
    assert head < result.chosen.cost.multiply_adds / 50
    assert 0 < result.chosen.cost.milliseconds < 1000


def test_the_middle_alone_needs_no_last_blocks():
    encoder = frame_encoder("mobilenet_v2_0.35", (32, 32, 3), weights=None)
    middle, last, both = (
        measure_cost(encoder, 4, parts) for parts in (["middle"], ["last"], ["middle", "last"])
    )
    assert 0.5 < middle.multiply_adds / last.multiply_adds < 0.9
    assert both.multiply_adds == last.multiply_adds


def test_flow_costs_too():
    encoder = frame_encoder("mobilenet_v2_0.35", (32, 32, 5), weights=None)
    without, flow, both = (
        measure_cost(encoder, 4, parts) for parts in (["last"], ["flow"], ["last", "flow"])
    )
    assert 0 < flow.multiply_adds
    assert both.multiply_adds == without.multiply_adds + flow.multiply_adds
    assert flow.milliseconds > 0


@pytest.mark.slow
def test_every_step_has_a_bar_that_says_what_it_is(folder, capsys):
    dataset = create_feature_dataset(folder, **SMALL)
    train_auto(dataset, heads=("mean_diff", "tcn"), folds=2)
    shown = capsys.readouterr().err
    for words in (
        "Computing features 1 of 2: 4 x 32 x 32",
        "Computing features 2 of 2: 6 x 32 x 64",
        "Comparing heads: 100%",
        "Training heads 1 of 1: tcn",
        "Learning curve: 100%",
    ):
        assert words.replace("6 x 32 x 64", "6 x 32 x 32") in shown


def test_the_learning_curve_ends_with_the_cross_validation(dataset):
    result = train_auto(dataset, heads=QUICK, folds=3)
    curve = result.learning_curve
    assert curve.points[-1].accuracy == result.chosen.accuracy
    assert [point.sources for point in curve.points] == [1, 2, 4]
    assert str(curve) in result.report
    assert list(result.figures()) == ["learning_curve"]
    numbers = json.loads(json.dumps(result.details()))
    assert len(numbers["candidates"]) == len(result.trials)
    assert numbers["chosen"]["accuracy"] == result.chosen.accuracy
    assert numbers["chosen"]["multiply_adds"] == result.chosen.cost.multiply_adds
    assert numbers["learning_curve"]["points"][-1]["sources"] == 4
    two = train_auto(dataset[np.isin(dataset.groups, np.unique(dataset.groups)[:2])], heads=QUICK)
    assert two.learning_curve is None
    assert "Too few sources for a learning curve" in two.report
    assert two.figures() == {}
    assert "learning_curve" not in two.details()


def test_few_clips_have_fewer_folds(dataset):
    """Three clips of one class, one of the other, each of a source of its own."""
    alone = with_groups(dataset, np.arange(24))
    result = train_auto(alone[np.array([0, 1, 2, 12, 13])], heads=("mean_std",))
    assert "by 3-fold cross-validation" in result.report
    with pytest.raises(ValueError, match="dataset must hold at least 2 clips of a class, got 2 clips"):
        train_auto(alone[np.array([0, 12])], heads=("mean_std",))


def test_cross_validation_and_test_that_disagree_are_told(dataset):
    """Clips of a source that name each other, and a test whose labels are the other way round."""
    result = train_auto(dataset, heads=QUICK, folds=3)
    right = result.chosen.probabilities.argmax(axis=1) == dataset.labels
    assert result.interval == clustered_interval(right, dataset.groups)
    same = evaluate(result.model, dataset)
    assert result.compare_with_test(same.accuracy, same.group_interval) == ""
    assert result.explain(same.accuracy, same.group_interval) == result.report
    wrong = dataset[:]
    wrong.labels = 1 - wrong.labels
    other = evaluate(result.model, wrong)
    words = result.compare_with_test(other.accuracy, other.group_interval)
    assert "disagree by more than chance: " in words
    assert "The test is the one to believe." in words
    low, high = other.group_interval
    assert f"{other.accuracy:.3f} ({low:.3f} to {high:.3f}) on the test clips" in words
    worse = replace(result, interval=(0.1, 0.2))
    words = worse.compare_with_test(same.accuracy, same.group_interval)
    assert "overstates the accuracy of the test" in words


def test_probabilities_are_made_honest(dataset):
    """By what was said of clips whose sources took no part; the model has it in its recipe."""
    result = train_auto(dataset, heads=QUICK, folds=3)
    temperature = fit_temperature(dataset.labels, result.chosen.probabilities)
    assert result.model.recipe.temperature == temperature < 10
    assert f"temperature of its probabilities: {temperature:.2f}" in result.report
    head, features = dataset.for_model(result.model)
    probabilities = result.model.recipe.sharpen(head.predict(features, verbose=0))
    np.testing.assert_allclose(evaluate(result.model, dataset).probabilities, probabilities, atol=1e-6)

    # A class of one source cannot be named where that source is left out, which is no fault of certainty.
    fair, three = dataset.groups != dataset.groups[0], dataset[:]
    three.labels, three.classes = np.where(fair, three.labels, 2), ("a", "b", "c")
    result = train_auto(three, heads=QUICK, folds=3)
    expected = fit_temperature(three.labels[fair], result.chosen.probabilities[fair])
    assert result.model.recipe.temperature == expected < 10


def test_tuning_the_model_leaves_the_data_set_as_it_is(dataset):
    """Its features, and the models of other folds, come from the same encoder."""
    result = train_auto(dataset, heads=QUICK, folds=3)
    encoder = dataset.features.encoders[result.chosen.input]
    before = encoder.get_weights()
    for weight in result.model.weights:
        weight.assign(weight + 1)
    assert all(map(np.array_equal, before, encoder.get_weights()))
    assert not encoder.trainable_weights


def test_slow_heads_are_tried_on_the_best_input(dataset):
    assert "tcn" in train_auto(dataset, heads=("mean_diff", "tcn"), folds=2).report


def test_folder_to_model(trained, folder):
    assert trained.history is None
    assert trained.evaluation.accuracy > 0.8
    assert trained.folder.name.startswith("auto__")
    names = {path.name for path in trained.folder.iterdir()} - {"mistakes.png", "learning_curve.png"}
    assert names == {"model.keras", "report.txt", "report.json", "clips.csv", "confusion.png"}
    settings = json.loads((trained.folder / "report.json").read_text())["settings"]
    assert settings["model_options"]["folds"] == 3
    assert settings["model_options"]["backbone"] == "mobilenet_v2_0.35"
    assert evaluate_on_folder(trained.folder).accuracy == trained.evaluation.accuracy
    text = trained.report.read_text()
    assert "by source video: 24 clips of 6 sources" in text
    assert "auto compared 5 candidates by 3-fold cross-validation (by source video)" in text
    recipe = read_recipe(trained.path)
    assert recipe.classes == ("Flickering", "Still")
    assert recipe.clip_seconds == pytest.approx(1.2)
    assert evaluate_on_folder(trained.path, folder).accuracy == trained.evaluation.accuracy


def test_the_saved_model_needs_nothing_else(trained, folder):
    clip = next((folder / "Still").iterdir())
    prediction = predict_on_video(clip, trained.path, progress=False)
    assert prediction.classes == ("Flickering", "Still")
    opened = keras.saving.load_model(trained.path)
    assert opened.input_shape == trained.model.input_shape
    assert predict_single_action(clip, trained.path).label in prediction.classes


def test_without_weights_lrcn_is_trained_instead(folder, tmp_path, monkeypatch, eager):
    def fail(*_args, **_kwargs):
        raise OSError("the ImageNet weights are out of reach")

    monkeypatch.setattr(AutoTrainer, "check", fail)
    monkeypatch.setattr("harkeras.training.trainer.train", partial(train, epochs=1, verbose=False))
    options = {"input_shape": (4, 64, 64, 3)}
    with pytest.warns(UserWarning, match="auto has no pretrained weights and trains lrcn(.|\n)*out of reach"):
        trained = train_on_folder(folder, output_dir=tmp_path, **options)
    assert trained.folder.name.startswith("lrcn__")
    with pytest.raises(OSError, match="out of reach"):
        train_on_folder(folder, output_dir=tmp_path, model_options={"weights": "file.h5"}, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": ("lstm",)}, "heads must be among mean_std, .*, one of them of mean_std"),
        ({"heads": ("mean_std", "svm")}, "heads must be among"),
        ({"prefer": "size"}, "prefer must be one of balanced, speed, accuracy, got 'size'"),
    ],
)
def test_what_is_refused(dataset, options, message):
    with pytest.raises(ValueError, match=message):
        train_auto(dataset, **options)


def test_one_source_is_refused(dataset):
    with pytest.raises(ValueError, match="dataset must hold 2 classes and at least 2 source videos"):
        train_auto(with_groups(dataset, np.zeros(24)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_shape": (4, 32, 32, 2)}, r"input_shape must be \(frames, height, width, 3 or 5\) for auto"),
        ({"model_options": {"weights": None, "units": 3}}, "options of auto must be among backbone"),
        ({"model_options": {"prefer": "size"}}, "prefer must be one of balanced, speed, accuracy"),
        (
            {"augment": lambda clips, seed: clips},
            "augment must be left out with 'auto', which trains no network from end to end",
        ),
    ],
)
def test_what_the_workflow_refuses(folder, tmp_path, options, message):
    options = {"model_options": {"weights": None}, **options}
    with pytest.raises(ValueError, match=message):
        train_on_folder(folder, output_dir=tmp_path, **options)


@pytest.mark.real_data
def test_a_few_fights_with_the_published_weights(real_data, tmp_path):
    weights = real_data.parent / "models" / "mobilenet_v2_0.35_96_no_top_from_drq.weights.h5"
    if not weights.is_file():
        pytest.skip("no published weights: ../shared/models is absent")
    folder = read_folder(real_data / "surveillance_fights")
    some = folder[np.arange(0, len(folder.video_paths), 6)]
    dataset = create_feature_dataset(
        some, backbone="mobilenet_v2_0.35", weights=weights, inputs=((8, 96),), cache=tmp_path
    )
    train, test = np.flatnonzero(np.arange(len(dataset)) % 3), np.arange(0, len(dataset), 3)
    result = train_auto(dataset[train], heads=QUICK)
    assert evaluate(result.model, dataset[test]).accuracy >= 0.5
    assert len(list(tmp_path.iterdir())) == len(dataset)


def test_pictures_are_one_frame_for_a_head_that_needs_no_more(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for number in range(12):
        path = tmp_path / ("Dark", "Bright")[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        image = rng.integers(0, 60, (40, 40, 3)) + 150 * (number % 2)
        Image.fromarray(image.astype(np.uint8)).save(path)
    monkeypatch.setattr(feature_dataset, "INPUTS", SMALL["inputs"])
    dataset = create_feature_dataset(tmp_path, **SMALL)
    assert {given.frames for given in dataset.features.features} == {1}
    result = train_auto(dataset, folds=2)
    assert result.chosen.heads == ("mean_std",)
    assert evaluate(result.model, dataset).accuracy == 1
    assert result.model.recipe.frames == 1
