"""CNN and LSTM: a network trained on photographs reads each frame, an LSTM reads the sequence.

Carreira and Zisserman, "Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset", CVPR 2017: the
"ConvNet+LSTM" that I3D is measured against. The idea is that of LRCN (Donahue et al., CVPR 2015).

`lrcn` learns to see from the clips at hand. Here a large image network does the seeing, and where its
weights come from millions of photographs (`weights`), a few hundred clips suffice to teach the LSTM what a
sequence of such sights means: frozen (`trainable=False`) quickly, or fine-tuned with a small learning rate
for a little more. What it gains over a vote of single frames is order. What it loses is motion finer than the
last pool keeps: on UCF-101 the paper reports 81.0 % for it and 84.5 % for I3D, before either saw Kinetics.

All frames go through the backbone as one batch, and not one after the other in a `TimeDistributed`, which
takes about twice the time in training and three times else. In a long video each frame's features are
computed once, however many windows hold it. Beware of GoogLeNet from scratch: its batch norm has a long
memory, and it takes thousands of steps until the network is afterwards what it was in training.

Deviation: the paper's LSTM has batch norm inside, between its gates and at each step (Cooijmans et al., ICLR
2017). Keras has no such LSTM; here batch norm stands before it, on the features that come in.
"""

from __future__ import annotations

import os
from typing import Literal

import keras
from keras import KerasTensor, Model, layers, ops

from harkeras.models.backbones import create_backbone
from harkeras.models.blocks import classify, clip_input
from harkeras.models.registry import register

_RNNS = {"lstm": layers.LSTM, "gru": layers.GRU}


@register("cnn_lstm", paper="Carreira & Zisserman, CVPR 2017")
def create_cnn_lstm_model(
    num_classes: int,
    input_shape: tuple[int, int, int, int] = (25, 224, 224, 3),
    *,
    backbone: str = "googlenet",
    weights: str | os.PathLike | None = None,
    rnn: Literal["lstm", "gru"] = "lstm",
    units: int = 512,
    every_step: bool = False,
    trainable: bool = True,
) -> Model:
    """Build a CNN with an LSTM or GRU on top, uncompiled, with random weights but for those of `weights`.

    Args:
        num_classes: Number of actions, at least 2.
        input_shape: Clip shape (frames, height, width, 3), at least as large as the backbone asks for. The
            paper's 25 frames are 5 seconds.
        backbone: "googlenet" (Inception-v1 with batch norm, as in the paper), "mobilenet_v2_0.35" (light), or
            another name that `create_backbone` knows.
        weights: Of the backbone: None for random ones, "imagenet", or the path of a `.weights.h5` file.
        rnn: "lstm" or "gru".
        units: Size of its state.
        every_step: Train on the answer of every step, so that the network hurries to be right, and answer
            with the last. Without, the last step is also all that is trained. The weights are the same, so
            `plain.set_weights(every.get_weights())` gives a model that Keras opens without harkeras.
        trainable: Whether training changes the backbone; if not, its batch norm also stays as it is.

    Returns:
        `keras.Model`: clips (B, T, H, W, 3), RGB 0-255 -> float32 probabilities (B, num_classes).

    Raises:
        ValueError: If there are fewer than 2 classes, the clip is too small or not RGB, `rnn` is not one of
            the two, there is no such backbone, or the file is not for it.
        FileNotFoundError, OSError: If there are no such weights, see `image_backbone`.
    """
    if rnn not in _RNNS:
        raise ValueError(f"rnn must be lstm or gru, got {rnn!r}")
    clip = clip_input(num_classes, input_shape)
    cnn = create_backbone(backbone, input_shape[1:], weights=weights)
    cnn.trainable = trainable
    x = ops.reshape(clip, (-1, *input_shape[1:]))  # (B * T, H, W, 3): all frames are one batch of images
    x = ops.reshape(cnn(x), (-1, input_shape[0], cnn.output_shape[-1]))  # (B, T, F)
    x = layers.BatchNormalization(name="batch_norm")(x)
    x = _RNNS[rnn](units, return_sequences=every_step, name=rnn)(x)  # (B, T, units) or (B, units)
    if not every_step:
        return Model(clip, classify(x, num_classes), name="cnn_lstm")
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)  # (B, T, num_classes)
    return Model(clip, EveryStep(dtype="float32", name="probabilities")(logits), name="cnn_lstm")


@keras.saving.register_keras_serializable(package="harkeras")
class EveryStep(layers.Layer):
    """Turn the logits of all steps (B, T, C) into probabilities (B, C): those of the last step.

    In training, cross entropy of what comes out, plus the loss that this layer adds, is the mean of the cross
    entropies at all steps; labels (B,) are enough. Let m be the mean over time of the logarithms of the
    probabilities: the mean of the losses is -m[label]. But Keras makes whatever cross entropy is given sum to
    1, so of exp(m) it is -m[label] + log(sum(exp(m))). The added loss takes the second part away again. It
    knows nothing of the weights of classes or clips.
    """

    def call(self, logits: KerasTensor, training: bool | None = None) -> KerasTensor:
        """Choose the last step, or in training weigh up all."""
        if not training:
            return ops.softmax(logits[:, -1])
        means = ops.mean(ops.log_softmax(logits), axis=1)  # (B, C)
        self.add_loss(-ops.mean(ops.logsumexp(means, axis=-1)))
        return ops.softmax(means)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """(B, T, C) -> (B, C)."""
        return (input_shape[0], input_shape[2])
