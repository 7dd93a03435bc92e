"""What stands on the inside of Keras and TensorFlow, where there is no public way.

Each test touches one thing. When it fails, it says what has changed there, and which module stands on it.
"""

from contextlib import contextmanager

import keras
import numpy as np
import pytest
from keras import layers, ops


@contextmanager
def stands_on(module, what):
    try:
        yield
    except Exception as error:
        pytest.fail(f"no longer so in Keras: {what}. {module} stands on it: {type(error).__name__}: {error}")


def test_nodes_of_functional_models():
    what = "a functional model lists, by depth, the nodes of its calls with operation, arguments and tensors"
    with stands_on("harkeras.models.graph", what):
        x, y = keras.Input((3,)), keras.Input((3,))
        dense = layers.Dense(2)
        model = keras.Model([x, y], ops.add(dense(x), x2=dense(y)))
        depths = model._nodes_by_depth
        assert sorted(depths) == [0, 1, 2]
        assert all(node.is_input for node in depths[2])
        assert [node.operation for node in depths[1]] == [dense, dense]
        (addition,) = depths[0]
        assert not addition.is_input
        assert addition.outputs[0] is model.outputs[0]
        tensors = [*addition.arguments.args, *addition.arguments.kwargs.values()]
        assert [id(tensor) for tensor in tensors] == [id(tensor) for tensor in addition.input_tensors]
        assert len(tensors) == 2


def test_names_of_operations():
    what = "operations have these classes, with these attributes"
    with stands_on("harkeras.models.table and harkeras.inference", what):
        x, kernel = keras.Input((4, 4, 3)), np.ones((3, 3, 3, 1), "float32")

        def operation(tensor):
            return keras.Model(x, tensor)._nodes_by_depth[0][0].operation

        for name, tensor in {
            "Reshape": ops.reshape(x, (-1, 48)),
            "Conv": ops.conv(x, kernel),
            "DepthwiseConv": ops.depthwise_conv(x, kernel),
            "Matmul": ops.matmul(x, np.ones((3, 2), "float32")),
            "Einsum": ops.einsum("bhwc,cd->bhwd", x, np.ones((3, 2), "float32")),
            "Tensordot": ops.tensordot(x, np.ones((3, 2), "float32"), 1),
        }.items():
            assert type(operation(tensor)).__name__ == name
        assert operation(ops.conv(x, kernel)).data_format in (None, "channels_last")
        assert operation(ops.einsum("bhwc->bc", x)).subscripts == "bhwc->bc"


def test_the_operation_of_a_convolution():
    with stands_on("harkeras.models.blocks", "a convolution calls its attribute `convolution_op`"):
        conv = layers.Conv3D(2, 1, use_bias=False)
        conv.convolution_op = lambda inputs, kernel: inputs + 7
        assert float(conv(np.zeros((1, 1, 1, 1, 1), "float32"))[0, 0, 0, 0, 0]) == 7


def test_state_of_a_thread():
    what = "the tracker of global state has names, seeds and policies as its attributes"
    with stands_on("harkeras.base.keras_state", what):
        from keras.src.backend.common import global_state

        keras.utils.clear_session()
        keras.utils.set_random_seed(27)
        keras.random.normal(())
        layers.Dense(1)
        attributes = vars(global_state.GLOBAL_STATE_TRACKER)
        assert {"global_random_seed", "global_seed_generator"} <= attributes.keys()
        assert global_state.get_global_attribute("global_random_seed") == 27
        assert attributes["object_name_uids"]["dense"] == 1


def test_seed_of_tensorflow():
    with stands_on("harkeras.base.keras_state", "TensorFlow's context has `_seed` and `_rng`"):
        from tensorflow.python.eager import context

        keras.utils.set_random_seed(27)
        keras.random.normal(())
        assert vars(context.context())["_seed"] == 27
        assert "_rng" in vars(context.context())


def test_weights_without_values():
    what = "what is built in a StatelessScope without initialization has weights, and no values in `_value`"
    with stands_on("harkeras.models.registry.no_weights and tests/test_keras_state.py", what):
        with keras.StatelessScope(initialize_variables=False):
            dense = layers.Dense(2)
            dense.build((None, 3))
        assert (dense.kernel.shape, dense.kernel._value) == ((3, 2), None)
        keras.utils.clear_session()  # else Keras would make the values later


def test_places_of_weights_in_an_optimizer():
    with stands_on(
        "harkeras.training.fine_tuning", "an optimizer knows the place of a weight that it trains"
    ):
        weights = [keras.Variable([1.0]) for _ in range(2)]
        optimizer = keras.optimizers.Adam()
        optimizer.build(weights)
        assert [optimizer._get_variable_index(weight) for weight in weights] == [0, 1]
