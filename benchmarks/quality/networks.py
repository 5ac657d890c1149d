"""Train two small networks on the digits of ``samples/mnist`` and write them as ONNX.

Runs in an environment with torch, apart from the benchmark's own::

    python networks.py digits.npz folder

They train on the 500 digits of the calibration half, moved and turned at random; the 2,000 evaluation
digits are left for the comparison.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

STEPS, BATCH = 300, 64


def conv_norm(inputs, outputs, size, **options):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False, **options), nn.BatchNorm2d(outputs)
    )


class Residual(nn.Module):
    """Two convolutions and the way around them."""

    def __init__(self, channels):
        super().__init__()
        self.first, self.second = conv_norm(channels, channels, 3), conv_norm(channels, channels, 3)

    def forward(self, x):
        return functional.relu(x + self.second(functional.relu(self.first(x))))


class Separable(nn.Module):
    """A linear bottleneck around a depthwise convolution, as in MobileNetV2."""

    def __init__(self, channels, wide):
        super().__init__()
        self.widen, self.narrow = conv_norm(channels, wide, 1), conv_norm(wide, channels, 1)
        self.depthwise = conv_norm(wide, wide, 3, groups=wide)

    def forward(self, x):
        y = functional.relu6(self.depthwise(functional.relu6(self.widen(x))))
        return x + self.narrow(y)


class Branches(nn.Module):
    """Residual adds, depthwise convolutions, max-pools and a concatenation."""

    def __init__(self):
        super().__init__()
        self.stem = conv_norm(1, 32, 3, stride=2)
        self.residual = Residual(32)
        self.left, self.right = conv_norm(32, 32, 1), conv_norm(32, 32, 3)
        self.separable = Separable(64, 128)
        self.last = Residual(64)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        x = self.residual(functional.relu(self.stem(x)))
        x = torch.cat([functional.relu(self.left(x)), functional.silu(self.right(x))], 1)
        x = self.last(functional.max_pool2d(self.separable(x), 2))
        return self.head(x.mean((2, 3)))


class Block(nn.Module):
    """Attention and a perceptron, each behind a layer norm and with a way around it."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        y = self.before(x)
        query, key, value = (self._split(layer(y)) for layer in (self.query, self.key, self.value))
        scores = query @ key.transpose(2, 3) / (query.shape[-1] ** 0.5)
        y = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
        x = x + self.out(y)
        return x + self.down(functional.gelu(self.up(self.between(x))))

    def _split(self, x):
        return x.reshape(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)


class Attention(nn.Module):
    """49 patches of 4 × 4 pixels through two attention blocks."""

    def __init__(self, width=64):
        super().__init__()
        self.patches = nn.Conv2d(1, width, 4, stride=4)
        self.position = nn.Parameter(torch.randn(1, 49, width) * 0.02)
        self.blocks = nn.Sequential(Block(width, 4), Block(width, 4))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.norm(self.blocks(x)).mean(1))


def moved(images, generator):
    """Turned by up to 10° and shifted by up to 2 pixels."""
    random = torch.rand(len(images), 3, generator=generator) * 2 - 1
    angle = random[:, 0] * 0.17
    theta = torch.zeros(len(images), 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = angle.cos(), -angle.sin()
    theta[:, 1, 0], theta[:, 1, 1] = angle.sin(), angle.cos()
    theta[:, :, 2] = random[:, 1:] * 2 / 14
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def train(network, images, labels):
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, STEPS)
    network.train()
    for _ in range(STEPS):
        chosen = torch.randint(len(images), (BATCH,), generator=generator)
        loss = functional.cross_entropy(network(moved(images[chosen], generator)), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def main():
    digits, folder = np.load(sys.argv[1]), Path(sys.argv[2])
    images = torch.from_numpy(digits["calibration_images"].astype(np.float32)[:, None] / 255)
    labels = torch.from_numpy(digits["calibration_labels"].astype(np.int64))
    torch.set_num_threads(1)
    for name, kind in (("branches", Branches), ("attention", Attention)):
        if (folder / f"{name}.onnx").exists():
            continue
        torch.manual_seed(0)
        network = train(kind(), images, labels)
        torch.onnx.export(
            network,
            (images[:1],),
            str(folder / f"{name}.onnx"),
            input_names=["image"],
            output_names=["scores"],
            opset_version=17,
            dynamo=False,
        )


if __name__ == "__main__":
    main()
