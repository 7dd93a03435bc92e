"""What a picture of an architecture shows: the layers of a model, folded into a dozen boxes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import keras

from harkeras.models.graph import Call, list_calls

Shape = tuple[int | None, ...]
Kind = Literal["input", "convolution", "recurrent", "attention", "dense", "other"]
# A part of a layer's class name -> its kind; the first one that is found counts, and gives a box its color.
_KINDS: dict[str, Kind] = {
    "Attention": "attention",
    "LSTM": "recurrent",
    "GRU": "recurrent",
    "RNN": "recurrent",
    "Conv": "convolution",
    "Dense": "dense",
}
_SHORT = {"convolution": "conv"}
_LONGEST_NAME = 15  # letters; of a longer name the beginning is shown
_ORDER = ("attention", "recurrent", "convolution", "dense", "other", "input")
_MOST_INPUTS = 3  # of more, one is drawn: the others are states


@dataclass(eq=False)
class Box:
    """One or more layers that are drawn as one, with the layers without weights that follow them.

    Attributes:
        name: Name of the layer, or what the names of its layers begin with.
        scope: What it is inside of, from the outside in: names of models, and of layers that take each frame.
        layers: The layers with weights, or one without that joins several others.
        kinds: The kind of each of them.
        pools: What the pooling layers after them do, in short.
        weights: Number of weights that are not counted in another box already.
        sources: The boxes it takes from, and the shape of what it takes.
        shape: Shape of what it gives, without the number of clips.
        column: 0 for inputs, else 1 more than the last of its sources.
    """

    name: str
    scope: tuple[str, ...] = ()
    layers: list[Any] = field(default_factory=list)
    kinds: list[Kind] = field(default_factory=list)
    pools: list[str] = field(default_factory=list)
    weights: int = 0
    sources: dict[Box, Shape] = field(default_factory=dict)
    shape: Shape = ()
    column: int = 0

    @property
    def kind(self) -> Kind:
        """The kind that tells most of what it does."""
        return min(self.kinds, key=_ORDER.index, default="input")

    @property
    def lines(self) -> list[str]:
        """What it does, in two lines at most."""
        if len(self.layers) == 1:
            lines = dict.fromkeys([_describe(self.layers[0]), *self.pools[:1]])
            return [line for line in lines if line.lower() != self.name]
        counts = Counter(_SHORT.get(kind, kind) for kind in sorted(self.kinds, key=_ORDER.index))
        return [f"{count} x {kind}" if count > 1 else kind for kind, count in list(counts.items())[:2]]

    def comes_after(self, other: Box) -> bool:
        """Whether anything that this box takes has gone through the other one."""
        return other in self.sources or any(source.comes_after(other) for source in self.sources)


def fold(model: keras.Model) -> list[Box]:
    """Fold a model into boxes: one for all layers whose names begin alike, inputs first."""
    boxes = []
    places = {}
    inputs = model.inputs
    if len(inputs) > _MOST_INPUTS:
        inputs = [max(inputs, key=lambda tensor: (tensor.name == "clip", tensor.ndim))]
    for tensor in inputs:
        boxes.append(Box(tensor.name, shape=tuple(tensor.shape[1:])))
        places[id(tensor)] = (boxes[-1], boxes[-1].shape)
    _Folder(boxes).add(model, places, (), ())
    for _ in boxes:  # a box may have got a source after those that follow it
        for box in boxes:
            box.column = 1 + max((source.column for source in box.sources), default=-1)
    for box in boxes:  # what goes past other boxes inside them, as a count of frames does, is not drawn
        past = [each for each in box.sources if any(other.comes_after(each) for other in box.sources)]
        box.sources = {source: shape for source, shape in box.sources.items() if source not in past}
    return boxes


class _Folder:
    """Adds boxes for the layers of a model and of the models inside it."""

    def __init__(self, boxes: list[Box]):
        self.boxes = boxes
        self.counted: set[int] = set()  # layers whose weights are in a box

    def add(self, model: keras.Model, places: dict, scope: tuple[str, ...], before: Shape) -> None:
        """Add the layers of a model.

        Args:
            model: The model.
            places: Identity of each tensor -> the box that gives it, and the shape to show; grows.
            scope: What the model is inside of.
            before: What stands before the shapes: the frames, in a model that takes one at a time.
        """
        by_name: dict[str, Box] = {}
        for call in list_calls(model):
            sources = [places[id(tensor)] for tensor in call.inputs if id(tensor) in places]
            if not sources:  # it only prepares numbers that are the same for all clips, or states
                continue
            layer, frames = _unwrap(call)
            if isinstance(layer, keras.Model) and len(list(_weighted(layer))) > 1:
                inner = {id(tensor): source for tensor, source in zip(layer.inputs, sources, strict=True)}
                name = call.operation.name
                label = f"{name}: {frames[0]} frames, each alone" if frames else name
                self.add(layer, inner, (*scope, label), (*before, *frames))
                ends = [inner[id(tensor)][0] for tensor in layer.outputs]
            elif type(layer).__name__.startswith("ZeroPadding"):
                places[id(call.outputs[0])] = sources[0]  # nobody wants to see the border
                continue
            else:
                ends = [self._place(call, layer, sources, by_name, scope)] * len(call.outputs)
            for tensor, box in zip(call.outputs, ends, strict=True):
                box.shape = (*before, *tensor.shape[1:])
                places[id(tensor)] = (box, box.shape)

    def _place(self, call: Call, layer: Any, sources: list, by_name: dict, scope: tuple[str, ...]) -> Box:
        """Return the box of a layer, a new one where none fits, with the layer in it."""
        name = _prefix(call.operation.name)
        boxes = list(dict.fromkeys(box for box, _ in sources))
        last = max(boxes, key=self.boxes.index)
        pools = "Pooling" in type(layer).__name__
        counts = any(layer is each for each in _weighted(layer))
        joins = any(each is not last and not last.comes_after(each) for each in boxes)
        leaves = pools and len(last.scope) > len(scope)  # a mean over frames, behind what took each alone
        box, starts = by_name.get(name), False
        if box is None or (box is not last and last.comes_after(box)):
            box, starts = last, counts or joins or leaves
        if starts:
            whole = call.operation.name
            box = by_name[name] = Box(whole if len(whole) <= _LONGEST_NAME else name, scope)
            self.boxes.append(box)
        if counts or starts:
            box.layers.append(layer)
            box.kinds.append(_kind(layer, call))
            box.name = name if len(box.layers) > 1 else box.name
        if pools:
            box.pools.append(_describe(layer))
        if id(layer) not in self.counted and hasattr(layer, "count_params"):
            self.counted.add(id(layer))
            box.weights += layer.count_params()
        for source, shape in sources:
            if source is not box and not source.comes_after(box):
                known = box.sources.get(source, ())
                box.sources[source] = shape if len(shape) >= len(known) else known
        return box


def _unwrap(call: Call) -> tuple[Any, Shape]:
    """Return what a call computes with, and the number of frames if that takes one frame at a time."""
    if isinstance(call.operation, keras.layers.TimeDistributed):
        return call.operation.layer, (call.inputs[0].shape[1],)
    return call.operation, ()


def _weighted(layer: Any) -> Iterator[Any]:
    """Yield the layers that make a box: those with weights, but normalization, which follows others."""
    if isinstance(layer, keras.Model):
        for each in layer.layers:
            yield from _weighted(each.layer if isinstance(each, keras.layers.TimeDistributed) else each)
    elif getattr(layer, "weights", ()) and "Normalization" not in type(layer).__name__:
        yield layer


def _prefix(name: str) -> str:
    """Return what the names of the layers of one block begin with: "block0", "Mixed_3b", "space1"."""
    first, *rest = name.split("_")
    return f"{first}_{rest[0]}" if rest and rest[0][:1].isdigit() and not first[-1:].isdigit() else first


def _kind(layer: Any, call: Call) -> Kind:
    name = type(getattr(layer, "forward_layer", layer)).__name__  # that of Bidirectional
    if name == "Dense" and call.inputs[0].ndim == 5:  # a convolution of one point
        return "convolution"
    return next((kind for part, kind in _KINDS.items() if part in name), "other")


def _describe(layer: Any) -> str:
    """Say what a layer does: "Conv3D 3 x 3 x 3", "max pool 2 x 2"."""
    name = re.sub(
        r"^(Global)?(Max|Average)Pooling.*", lambda found: f"{found[2].lower()} pool", type(layer).__name__
    )
    size = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None) or ()
    size = (size,) if isinstance(size, int) else size
    return f"{name} {' x '.join(map(str, size))}".strip().replace("average pool", "mean")
