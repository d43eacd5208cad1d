"""Logits averaged over the dihedral poses of an image: in the evaluation and in the served model alike."""

from collections.abc import Callable
from typing import Any

from keras import ops

Tensor = Any  # of Keras' backend, symbolic in a functional model, or NumPy's


def average_logits(network: Callable[[Tensor], Tensor], grey: Tensor, poses: int) -> Tensor:
    """Average the logits over the first `poses` poses, one call of the network after the other.

    Args:
        network: From grey levels float32 (B, S, S, 1) to logits float32 (B, S, S, 1).
        grey: Its input.
        poses: 1 to 8.
    """
    total = network(grey)
    for pose in range(1, poses):
        after = ops.add(grey, ops.multiply(total, 0.0))  # waits for the pose before: the memory of one
        total = ops.add(total, from_pose(network(to_pose(after, pose)), pose))
    return ops.divide(total, float(poses)) if poses > 1 else total


def to_pose(images: Tensor, pose: int) -> Tensor:
    """Bring square images (B, S, S, …) into one of eight poses: mirrored by bits 1 and 2, transposed by 4."""
    mirrored = _mirror(images, pose)
    return ops.swapaxes(mirrored, 1, 2) if pose & 4 else mirrored


def from_pose(images: Tensor, pose: int) -> Tensor:
    """Undo `turn`."""
    return _mirror(ops.swapaxes(images, 1, 2) if pose & 4 else images, pose)


def _mirror(images: Tensor, pose: int) -> Tensor:
    axes = [axis for axis in (1, 2) if pose & axis]
    return ops.flip(images, axes) if axes else images
