"""The easy path: inputs and heads compared inside the training clips, the best one fitted and saved."""

from functools import partial

import keras
import numpy as np
import pytest

from harkeras import VideoWriter, predict_on_video, predict_single_action, read_recipe
from harkeras.data.datasets import list_videos
from harkeras.data.intervals import clustered_interval
from harkeras.data.splits import read_groups
from harkeras.evaluation.scores import evaluate
from harkeras.training.calibration import fit_temperature
from harkeras.training.loop import train
from harkeras.transfer._trials import score, smallest_input
from harkeras.transfer.auto import head_features, train_auto
from harkeras.transfer.feature_table import Input, read_feature_table
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
def table(folder):
    keras.utils.set_random_seed(0)
    return read_feature_table(list_videos(folder)[0], **SMALL)


@pytest.fixture(scope="module")
def labels(folder):
    return list_videos(folder)[1]


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    options = {**SMALL, "heads": QUICK, "folds": 3}
    return train_on_folder(folder, output_dir=tmp_path_factory.mktemp("models"), model_options=options)


def test_a_table_holds_each_input(table):
    assert list(table.features) == [Input(4, 32, 32), Input(6, 32, 32)]
    assert table.features[Input(6, 32, 32)].shape == (24, 6, 1472)
    assert table.pick(Input(4, 32, 32), ("last",)).shape == (24, 4, 1280)
    assert table.clip_seconds == pytest.approx(np.full(24, 1.2))
    assert table.rows.tolist() == list(range(24))


def test_the_longer_side_follows_the_clips(folder):
    paths = list_videos(folder)[0][:2]
    options = {"backbone": "mobilenet_v2_0.35", "weights": None, "inputs": ((2, 64),)}
    (given,) = read_feature_table(paths, **options).features
    assert given == (2, 64, 96)  # 4 : 3, to the next 32
    with pytest.raises(ValueError, match="inputs must name at least one"):
        read_feature_table(paths, **{**options, "inputs": ()})


def test_choice_looks_at_training_clips_alone(table, labels):
    """Labels and features of test clips can be anything."""
    train = np.flatnonzero(np.arange(24) % 12 < 8)
    groups = read_groups(table.video_paths)
    options = {"classes": ("a", "b"), "groups": groups, "heads": QUICK, "folds": 3}
    first = train_auto(table, labels, train, **options)
    test = np.setdiff1d(np.arange(24), train)
    other_labels = labels.copy()
    other_labels[test] = 1 - other_labels[test]
    spoilt = {given: each.copy() for given, each in table.features.items()}
    for each in spoilt.values():
        each[test] = np.nan
    second = train_auto(type(table)(**{**vars(table), "features": spoilt}), other_labels, train, **options)
    assert second.report == first.report
    for mine, theirs in zip(first.head.get_weights(), second.head.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_report_says_what_was_tried(table, labels):
    rows = np.arange(24)
    result = train_auto(
        table, labels, rows, classes=("a", "b"), groups=read_groups(table.video_paths), heads=QUICK, folds=3
    )
    assert result.report.startswith(
        "auto compared 15 candidates by 3-fold cross-validation (by source video)"
    )
    assert f"\n* {result.chosen}\n" in result.report
    assert all(str(trial) in result.report for trial in result.trials)
    assert [trial.accuracy for trial in result.trials] == sorted(
        (trial.accuracy for trial in result.trials), reverse=True
    )
    assert result.chosen.accuracy > 0.9
    said = result.head.predict(head_features(table, result.chosen, rows), verbose=0)
    assert (said.argmax(axis=1) == labels).mean() > 0.9
    at_random = train_auto(table, labels, rows, classes=("a", "b"), heads=QUICK, folds=3)
    assert "(at random, sources on both sides)" in at_random.report
    assert "No sources were known to the folds" in at_random.report
    assert "No sources were known" not in result.report


def test_report_when_each_clip_is_a_source_of_its_own(table, labels):
    options = {"classes": ("a", "b"), "heads": QUICK, "folds": 2}
    result = train_auto(table, labels, np.arange(24), groups=np.arange(24), **options)
    assert "cross-validation (each clip a source of its own)" in result.report
    assert "No sources were known to the folds" in result.report


@pytest.mark.parametrize(("lost", "chosen"), [(2, 0), (20, 1)])
def test_a_larger_input_must_be_worth_it(lost, chosen):
    """Of 225 clips, two more named right are no reason for four times the pixels; twenty are."""
    inputs = Input(8, 224, 384), Input(16, 320, 576)
    labels, rng = np.arange(225) % 2, np.random.default_rng(0)
    trials = []
    for given, misses in zip(inputs, (52 + lost, 52), strict=True):
        named = labels.copy()
        named[rng.permutation(225)[:misses]] ^= 1
        trials.append(score(given, (("last",),), ("mean_std",), (1.0,), np.eye(2)[named] * 0.8 + 0.1, labels))
    assert trials[1].accuracy == pytest.approx(1 - 52 / 225)
    assert smallest_input(trials, labels) == inputs[chosen]


def test_few_clips_have_fewer_folds(table, labels):
    """Three clips of one class, one of the other, each of a source of its own."""
    options = {"classes": ("a", "b"), "heads": ("mean_std",)}
    result = train_auto(table, labels, np.array([0, 1, 2, 12, 13]), groups=np.arange(24), **options)
    assert "by 3-fold cross-validation" in result.report
    with pytest.raises(ValueError, match="train_rows must hold at least 2 clips of a class, got 2 clips"):
        train_auto(table, labels, np.array([0, 12]), groups=np.arange(24), **options)


def test_cross_validation_and_test_that_disagree_are_told(table, labels):
    """Clips of a source that name each other, and a test whose labels are the other way round."""
    groups, rows = read_groups(table.video_paths), np.arange(24)
    options = {"classes": ("a", "b"), "heads": QUICK, "folds": 3}
    result = train_auto(table, labels, rows, groups=groups, **options)
    assert result.interval == clustered_interval(result.chosen.probabilities.argmax(axis=1) == labels, groups)
    values = head_features(table, result.chosen, rows)
    same = evaluate(result.head, values, labels, classes=("a", "b"), groups=groups)
    assert result.compare_with_test(same.accuracy, same.group_interval) == ""
    other = evaluate(result.head, values, 1 - labels, classes=("a", "b"), groups=groups)
    words = result.compare_with_test(other.accuracy, other.group_interval)
    assert "disagree by more than chance: " in words
    assert "The test is the one to believe." in words
    low, high = other.group_interval
    assert f"{other.accuracy:.3f} ({low:.3f} to {high:.3f}) on the test clips" in words
    worse = result._replace(interval=(0.1, 0.2))
    assert "overstates the accuracy of the test" in worse.compare_with_test(
        same.accuracy, same.group_interval
    )


def test_probabilities_are_made_honest(table, labels):
    """By what was said of clips whose sources took no part; head and model have it in their recipe."""
    groups, rows = read_groups(table.video_paths), np.arange(24)
    options = {"classes": ("a", "b"), "heads": QUICK, "folds": 3}
    result = train_auto(table, labels, rows, groups=groups, **options)
    temperature = fit_temperature(labels, result.chosen.probabilities)
    assert result.model.recipe.temperature == result.head.recipe.temperature == temperature
    assert temperature < 10
    assert f"temperature of its probabilities: {temperature:.2f}" in result.report
    features = head_features(table, result.chosen, rows)
    evaluation = evaluate(result.head, features, labels, classes=("a", "b"))
    said = result.model.recipe.sharpen(result.head.predict(features, verbose=0))
    np.testing.assert_allclose(evaluation.probabilities, said, atol=1e-6)

    # A class of one source cannot be named where that source is left out, which is no fault of certainty.
    alone, fair = np.where(groups == groups[0], 2, labels), groups != groups[0]
    result = train_auto(table, alone, rows, groups=groups, **options | {"classes": ("a", "b", "c")})
    expected = fit_temperature(alone[fair], result.chosen.probabilities[fair])
    assert result.model.recipe.temperature == expected < 10


def test_tuning_the_model_leaves_the_table_as_it_is(table, labels):
    """Its features, and the models of other folds, come from the same encoder."""
    groups = read_groups(table.video_paths)
    result = train_auto(table, labels, np.arange(24), classes=("a", "b"), groups=groups, heads=QUICK, folds=3)
    encoder = table.encoders[result.chosen.input]
    before = encoder.get_weights()
    for weight in result.model.weights:
        weight.assign(weight + 1)
    assert all(map(np.array_equal, before, encoder.get_weights()))
    assert not encoder.trainable_weights


def test_slow_heads_are_tried_on_the_best_input(table, labels):
    groups = read_groups(table.video_paths)
    heads = ("mean_diff", "tcn")
    result = train_auto(table, labels, np.arange(24), classes=("a", "b"), groups=groups, heads=heads, folds=2)
    assert "tcn" in result.report


def test_folder_to_model(trained, folder):
    assert trained.history is None
    assert trained.evaluation.accuracy > 0.8
    assert trained.path.name.startswith("transfer__")
    assert [path.name.removeprefix(trained.path.stem) for path in trained.report] == [
        "__report.txt",
        "__confusion.png",
    ]
    text = trained.report[0].read_text()
    assert "by source video: 24 clips of 6 sources" in text
    assert "auto compared 15 candidates by 3-fold cross-validation (by source video)" in text
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


def test_without_weights_lrcn_is_trained_instead(folder, tmp_path, monkeypatch):
    def fail(*_args, **_kwargs):
        raise OSError("the ImageNet weights are out of reach")

    monkeypatch.setattr("harkeras.workflow.check_weights", fail)
    monkeypatch.setattr("harkeras.workflow.train", partial(train, epochs=1, verbose=False))
    options = {"input_shape": (4, 64, 64, 3)}
    with pytest.warns(UserWarning, match="auto has no pretrained weights and trains LRCN(.|\n)*out of reach"):
        trained = train_on_folder(folder, output_dir=tmp_path, **options)
    assert trained.path.name.startswith("lrcn__")
    with pytest.raises(OSError, match="out of reach"):
        train_on_folder(folder, output_dir=tmp_path, model_options={"weights": "file.h5"}, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": ("lstm",)}, "heads must be among mean_std, .*, one of them of mean_std"),
        ({"heads": ("mean_std", "svm")}, "heads must be among"),
        ({"groups": np.zeros(24)}, "train_rows must hold 2 classes and at least 2 source videos"),
    ],
)
def test_what_is_refused(table, labels, options, message):
    with pytest.raises(ValueError, match=message):
        train_auto(table, labels, np.arange(24), classes=("a", "b"), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_shape": (4, 32, 32, 2)}, "input_shape must have 3 or 5 channels for auto"),
        ({"model_options": {"weights": None, "units": 3}}, "options of auto must be among backbone"),
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
    paths, labels = list_videos(real_data / "surveillance_fights")
    some = np.flatnonzero(np.arange(len(paths)) % 6 == 0)
    table = read_feature_table(
        [paths[row] for row in some],
        backbone="mobilenet_v2_0.35",
        weights=weights,
        inputs=((8, 96),),
        cache=tmp_path,
    )
    groups = read_groups(table.video_paths)
    train, test = np.flatnonzero(np.arange(len(some)) % 3), np.arange(0, len(some), 3)
    result = train_auto(table, labels[some], train, classes=("Fight", "NoFight"), groups=groups, heads=QUICK)
    said = result.head.predict(head_features(table, result.chosen, test), verbose=0)
    assert (said.argmax(axis=1) == labels[some][test]).mean() >= 0.5
    assert len(list(tmp_path.iterdir())) == len(some)
