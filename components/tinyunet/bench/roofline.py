"""The shortest time of a training step of TinyUNet on a GPU, from its operations and its memory traffic.

Each kernel takes the longer of two times: its operations at the device's peak rate, and its bytes at the
bandwidth of the device's memory (S. Williams, A. Waterman, D. Patterson 2009, "Roofline: an insightful
visual performance model"). A step is the sum of its kernels. Activations are float16, two bytes each. The
counted kernels of a layer with inputs of x elements in sum and an output of y elements are

- of a convolution: forward, input gradient and kernel gradient. Each has two operations per multiply-add and
  moves 2·(x + y) bytes; weights are small in comparison. The first layer needs no input gradient.
- of its ReLU gradient, unless it is fused: it reads the output and the gradient and writes a gradient, 6·y
  bytes.
- of every other layer (scaling, pooling, upsampling, concatenation), unless it is fused: 2·(x + y) bytes
  forward and as many backward.

At 512×512 these are 110 GFLOP and 1.29 GB per image, of which the convolutions move 0.70 GB. Memory limits
88 % of the time on an A100 and 92 % on an H100: the convolutions from 32 to 32 channels at full resolution
have 144 operations per byte, and the GPUs compute 201 and 295 in the time of a byte. The result is 1,118
img/s on an A100 and 2,505 img/s on an H100; 1,951 and 4,508 if everything but the convolutions is fused into
them. Real kernels reach neither peak. The time without fusion is therefore an estimate of what well-made
code reaches, and the time with fusion a bound. NVIDIA's TensorFlow 1 code reached 255 img/s on an A100.
"""

from dataclasses import dataclass

import keras
import numpy as np

from tinyunet.model.unet import build_unet

BYTES = 2  # of a float16 number


@dataclass(frozen=True)
class Device:
    """The peak rates of a GPU, from NVIDIA's data sheet.

    Attributes:
        name: Name of the GPU.
        flops: Dense float16 operations per second of the tensor cores.
        bandwidth: Bytes per second of the memory.
    """

    name: str
    flops: float
    bandwidth: float


A100 = Device("A100-SXM4-40GB", 312e12, 1.555e12)
H100 = Device("H100-SXM5-80GB", 989e12, 3.35e12)


@dataclass(frozen=True)
class Kernel:
    """One kernel of a training step for one image.

    Attributes:
        flops: Operations, two per multiply-add.
        moved: Bytes read and written.
        fusable: Whether a compiler can make it a part of a neighbouring kernel.
    """

    flops: float
    moved: float
    fusable: bool


def kernels(model: keras.Model) -> list[Kernel]:
    """Return the kernels of a training step for one image, for a model of Keras' own layers."""
    found: list[Kernel] = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        y = _elements(layer.output)
        x = sum(map(_elements, inputs))
        if isinstance(layer, keras.layers.Conv2D):
            flops = 2.0 * float(np.prod(layer.kernel.shape) * np.prod(layer.output.shape[1:3]))
            passes = 2 if layer.name == "encoder0_conv1" else 3
            found += [Kernel(flops, BYTES * (x + y), fusable=False)] * passes
            found.append(Kernel(0.0, 3 * BYTES * y, fusable=True))
        else:
            found += [Kernel(0.0, BYTES * (x + y), fusable=True)] * 2
    return found


def image_seconds(device: Device, steps: list[Kernel], *, fused: bool) -> float:
    """Return the seconds of these kernels for one image.

    Args:
        device: The GPU.
        steps: Result of `kernels`.
        fused: Whether the fusable kernels take no time.
    """
    return sum(
        max(one.flops / device.flops, one.moved / device.bandwidth)
        for one in steps
        if not (fused and one.fusable)
    )


def published_kernels() -> list[Kernel]:
    """Return the kernels of the published model for one image of 512×512 pixels."""
    return kernels(build_unet(512, plain=True))


def _elements(tensor: keras.KerasTensor) -> int:
    return int(np.prod(tensor.shape[1:]))
