"""What a user's script looks like: a folder of clips, a model, its score, and the actions in a long video.

A type checker follows it through the package (`mypy`), and a test runs it.
"""

from pathlib import Path

import keras

import harkeras
from harkeras.data import list_videos

SHAPE = (20, 64, 64, 3)


def name_actions(folder: Path, *, shape: tuple[int, int, int, int] = SHAPE, epochs: int = 40) -> list[str]:
    """Train LRCN on rendered clips in `folder`, and return the actions in a long video, in order."""
    data_dir = harkeras.create_sample_dataset(folder / "sample", groups=4, clips_per_group=1)
    print(f"{len(list_videos(data_dir)[0])} clips of {', '.join(harkeras.list_classes(data_dir))}")
    dataset = harkeras.create_dataset(data_dir, frames=shape[0], height=shape[1], width=shape[2])
    train_set, test_set = dataset.split(seed=27)

    keras.utils.set_random_seed(27)
    model = harkeras.create_lrcn_model(len(dataset.classes), shape)
    history = harkeras.train(
        model, train_set, epochs=epochs, batch_size=8, callbacks=[keras.callbacks.TerminateOnNaN()]
    )
    harkeras.plot_metric(history, "loss", "val_loss", "Loss").savefig(folder / "loss.png")
    evaluation = harkeras.evaluate(model, test_set)
    low, high = evaluation.interval
    print(f"accuracy {evaluation.accuracy:.2f} ({low:.2f} to {high:.2f})")
    path = harkeras.save_model(model, folder, loss=evaluation.loss, accuracy=evaluation.accuracy)

    harkeras.create_sample_video(folder / "long.mp4", seed=27)
    prediction = harkeras.predict_on_video(folder / "long.mp4", path, folder / "actions.mp4", progress=False)
    single = harkeras.predict_single_action(dataset.video_paths[0], harkeras.load_model(path))
    print(f"{single.label} {single.confidence:.0%}")
    return [segment.label for segment in prediction.segments]
