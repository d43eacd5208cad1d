"""The eight poses of an image."""

import numpy as np

from tinyunet.model.poses import from_pose, to_pose


def test_every_pose_is_inverted_and_all_eight_differ() -> None:
    image = np.arange(16).reshape(1, 4, 4)
    poses = [np.asarray(to_pose(image, pose)) for pose in range(8)]
    assert len({pose.tobytes() for pose in poses}) == 8
    for number, posed in enumerate(poses):
        np.testing.assert_array_equal(from_pose(posed, number), image)
