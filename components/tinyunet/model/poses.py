"""Logits averaged over the dihedral poses of an image, for the evaluation and for the served model.

The functions compute with the array functions of NumPy or with those of `keras.ops`, which have the same
names: the argument `ops` selects them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

Tensor = Any  # a NumPy array, a tensor of Keras' backend, or a symbolic tensor of a functional model
Ops = Any  # `numpy` or `keras.ops`


def average_logits(network: Callable[[Tensor], Tensor], grey: Tensor, poses: int, ops: Ops = np) -> Tensor:
    """Return the logits averaged over the first `poses` poses; the network is called once per pose.

    Args:
        network: Maps grey levels float32 (B, H, W, C) to logits float32 (B, H, W, 1).
        grey: Input of the network.
        poses: 1 to 8.
        ops: `numpy` or `keras.ops`.
    """
    total = network(grey)
    for pose in range(1, poses):
        # This input depends on the previous pose, so that only one pose is in memory at a time.
        dependent_grey = ops.add(grey, ops.multiply(total, 0.0))
        total = ops.add(total, from_pose(network(to_pose(dependent_grey, pose, ops)), pose, ops))
    return ops.divide(total, float(poses)) if poses > 1 else total


def to_pose(images: Tensor, pose: int, ops: Ops = np) -> Tensor:
    """Return images in one of eight poses; height and width are exchanged in poses from 4.

    Args:
        images: (B, H, W, …).
        pose: 0 to 7, the sum of 1 (reverse the rows), 2 (reverse the columns) and 4 (transpose, afterwards).
        ops: `numpy` or `keras.ops`.
    """
    mirrored = _mirror(images, pose, ops)
    return ops.swapaxes(mirrored, 1, 2) if pose & 4 else mirrored


def from_pose(images: Tensor, pose: int, ops: Ops = np) -> Tensor:
    """Return images in their original pose; the inverse of `to_pose`."""
    return _mirror(ops.swapaxes(images, 1, 2) if pose & 4 else images, pose, ops)


def _mirror(images: Tensor, pose: int, ops: Ops) -> Tensor:
    axes = tuple(axis for axis in (1, 2) if pose & axis)
    return ops.flip(images, axes) if axes else images
