"""What a model answers, and the gradient of each of its weights, on TensorFlow and on JAX."""

import keras
import numpy as np


def run(model, clips, **options):
    """What a model or layer makes of clips, as NumPy has it."""
    if keras.backend.backend() != "jax":
        return keras.ops.convert_to_numpy(model(clips, **options))
    import jax  # where each operation alone would be compiled

    answer = jax.jit(lambda *state: model.stateless_call(*state, clips, **options))
    outputs, other = answer(_values(model.trainable_variables), _values(model.non_trainable_variables))
    for variable, value in zip(model.non_trainable_variables, other, strict=True):
        variable.assign(value)
    return np.asarray(outputs)


def gradients_of(model, clips, labels):
    """For each trainable weight, the gradient of the cross entropy in training; None where there is none."""
    if keras.backend.backend() == "jax":
        return _gradients_on_jax(model, clips, labels)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = keras.losses.sparse_categorical_crossentropy(labels, model(clips, training=True))
    gradients = tape.gradient(loss, model.trainable_variables)
    return [None if each is None else np.asarray(tf.convert_to_tensor(each)) for each in gradients]


def _gradients_on_jax(model, clips, labels):
    import jax

    def loss(trainable, other):
        answers, _ = model.stateless_call(trainable, other, clips, training=True)
        return keras.losses.sparse_categorical_crossentropy(labels, answers).sum()

    gradient = jax.jit(jax.grad(loss))
    state = _values(model.trainable_variables), _values(model.non_trainable_variables)
    return list(map(np.asarray, gradient(*state)))


def _values(variables):
    return [variable.value for variable in variables]
