"""Train the sample's LeNet and write ``lenet.onnx`` and ``digits.npz``.

Not part of ``make mnist``: both files are in the repository. To make them anew::

    pip install -e '.[train]'
    python samples/mnist/train.py mnist_10k.npz

``mnist_10k.npz`` holds ``images`` (uint8 [n, 28, 28]) and ``labels`` (n ≥ 10,000). The first 500
digits become the calibration set and the next 2,000 the evaluation set of ``digits.npz``; the
network never sees either of them in training.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional

HERE = Path(__file__).parent
CALIBRATION, EVALUATION = 500, 2000
ATTRIBUTION = (
    "MNIST database of handwritten digits by Yann LeCun, Corinna Cortes and Christopher J.C. Burges, "
    "http://yann.lecun.com/exdb/mnist/, licensed CC BY-SA 3.0 "
    "(https://creativecommons.org/licenses/by-sa/3.0/). This file: a subset, pixel values unchanged."
)


class LeNet(nn.Module):
    """Caffe's LeNet: two 5×5 convolutions with max-pools, two inner products, one ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.ip1 = nn.Linear(800, 500)
        self.ip2 = nn.Linear(500, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(self.conv1(x), 2)
        x = functional.max_pool2d(self.conv2(x), 2)
        x = functional.relu(self.ip1(x.flatten(1)))
        x = functional.dropout(x, 0.4, self.training)
        return self.ip2(x)


def jitter(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Rotate (±10°), scale (±10 %) and shift (±2 pixels) each image at random."""
    n = len(images)
    uniform = torch.rand(n, 4, generator=generator) * 2 - 1
    angle, zoom = uniform[:, 0] * 0.175, 1 + uniform[:, 1] * 0.1
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = torch.cos(angle) * zoom
    theta[:, 1, 0] = torch.sin(angle) * zoom
    theta[:, 0, 1] = -theta[:, 1, 0]
    theta[:, :, 2] = uniform[:, 2:] * (2 / 14)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def train(images: np.ndarray, labels: np.ndarray, epochs: int) -> LeNet:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    x = torch.from_numpy(images.astype(np.float32) / 256).unsqueeze(1)
    y = torch.from_numpy(labels.astype(np.int64))
    net, batch = LeNet(), 64
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, epochs * (len(x) // batch))
    for epoch in range(epochs):
        net.train()
        total = 0.0
        for index in torch.randperm(len(x), generator=generator)[: len(x) // batch * batch].view(-1, batch):
            loss = functional.cross_entropy(net(jitter(x[index], generator)), y[index])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch is untyped here
            optimizer.step()
            schedule.step()
            total += loss.item() * batch
        print(f"epoch {epoch + 1}/{epochs}: loss {total / len(x):.4f}", flush=True)
    return net.eval()


def to_onnx(net: LeNet) -> onnx.ModelProto:
    """The network as ONNX with the tensor names of TensorRT's own LeNet sample."""
    weights = [
        numpy_helper.from_array(value.numpy(), name.replace(".", "_"))
        for name, value in net.state_dict().items()
    ]
    nodes = [
        helper.make_node("Conv", ["data", "conv1_weight", "conv1_bias"], ["conv1"], name="conv1"),
        helper.make_node("MaxPool", ["conv1"], ["pool1"], name="pool1", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["pool1", "conv2_weight", "conv2_bias"], ["conv2"], name="conv2"),
        helper.make_node("MaxPool", ["conv2"], ["pool2"], name="pool2", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["pool2"], ["pool2_flat"], name="flatten"),
        helper.make_node("Gemm", ["pool2_flat", "ip1_weight", "ip1_bias"], ["ip1_pre"], name="ip1", transB=1),
        helper.make_node("Relu", ["ip1_pre"], ["ip1"], name="relu1"),
        helper.make_node("Gemm", ["ip1", "ip2_weight", "ip2_bias"], ["ip2"], name="ip2", transB=1),
        helper.make_node("Softmax", ["ip2"], ["prob"], name="prob", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "lenet",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [BATCH, 1, 28, 28])],
        [helper.make_tensor_value_info("prob", TensorProto.FLOAT, [BATCH, 10])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


BATCH = 1


@click.command(help=__doc__)
@click.argument("mnist", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--epochs", default=30, show_default=True)
def main(mnist: Path, epochs: int) -> None:
    with np.load(mnist) as data:
        images, labels = data["images"], data["labels"].astype(np.uint8)
    held_back = CALIBRATION + EVALUATION
    net = train(images[held_back:], labels[held_back:], epochs)
    with torch.no_grad():
        test = torch.from_numpy(images[CALIBRATION:held_back].astype(np.float32) / 256).unsqueeze(1)
        top1 = (net(test).argmax(1).numpy() == labels[CALIBRATION:held_back]).mean()
    print(f"top-1 on {EVALUATION} held-back digits: {top1:.2%}")
    onnx.save(to_onnx(net), HERE / "lenet.onnx")
    np.savez_compressed(
        HERE / "digits.npz",
        calibration_images=images[:CALIBRATION],
        calibration_labels=labels[:CALIBRATION],
        evaluation_images=images[CALIBRATION:held_back],
        evaluation_labels=labels[CALIBRATION:held_back],
        attribution=np.array(ATTRIBUTION),
    )


if __name__ == "__main__":
    main()
