"""Answers of the engine, and its self-check."""

import os
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.engines import bright_spot_network, write_engine
from tinyunet.core.documents.served import ServedModel
from tinyunet.core.errors import UserError
from tinyunet.core.files import KEPT, mark_used
from tinyunet.data.resize import area_average
from tinyunet.engine import engine as engine_module
from tinyunet.engine.engine import Engine
from tinyunet.engine.resize import interpolate
from tinyunet.model import tiles


def test_the_folder_of_an_engine_stays_in_the_cache(engine_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(engine_folder, tmp_path / "cache" / "old")
    used = Engine(folder)
    os.utime(folder, (0, 0))
    for number in range(KEPT):
        (folder.parent / str(number)).mkdir()
    mark_used(folder.parent / "0")
    assert folder.exists(), used


@pytest.fixture(scope="module")
def engine(engine_folder: Path) -> Engine:
    return Engine(engine_folder, precision="float32")


def spotted(height: int, width: int, top: int = 10, left: int = 30) -> NDArray[np.uint8]:
    """Return a grey image with a bright spot of 10×5 pixels."""
    image = np.full((height, width, 1), 100, np.uint8)
    image[top : top + 10, left : left + 5] = 200
    return image


def expected_logits(image: NDArray[Any]) -> NDArray[np.float64]:
    """Return what the network of the fixture computes from an image [H, W, 1] inside its border."""
    grey = image[..., 0].astype(np.float64)
    rows = grey[:-2] + grey[1:-1] + grey[2:]
    return (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9 * 0.25 - 40


def test_mask_score_and_verdict_are_those_of_the_logits_and_the_thresholds(engine: Engine) -> None:
    image = spotted(41, 53)
    answer = engine.inspect([image])[0]
    logits = expected_logits(image)
    assert answer.probability is None
    np.testing.assert_array_equal(answer.mask[1:-1, 1:-1], logits > 0)
    assert answer.score == pytest.approx(logits.max(), abs=1e-4)
    assert answer.defective
    assert not engine.inspect([np.full((41, 53, 1), 100, np.uint8)])[0].defective


def test_probabilities_are_given_when_they_are_asked_for(engine: Engine) -> None:
    image = spotted(32, 64)
    probability = engine.inspect([image], probability=True)[0].probability
    assert probability is not None
    assert probability.dtype == np.float32
    expected = 1 / (1 + np.exp(-expected_logits(image)))
    np.testing.assert_allclose(probability[1:-1, 1:-1], expected, atol=1e-5)


def test_images_of_several_sizes_have_the_answers_that_they_have_alone(engine: Engine) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (*shape, 1)).astype(np.uint8) for shape in ((20, 33), (20, 33), (64, 16))]
    for image, answer in zip(images, engine.inspect(images), strict=True):
        alone = engine.inspect([image])[0]
        np.testing.assert_array_equal(answer.mask, alone.mask)
        assert answer.score == pytest.approx(alone.score, abs=1e-5)


def test_consecutive_images_of_one_size_are_one_forward_pass(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    network = engine._network

    def count(levels: NDArray[np.float32]) -> NDArray[np.float32]:
        batches.append(len(levels))
        return network(levels)

    monkeypatch.setattr(engine, "_network", count)
    engine.inspect([spotted(32, 48)] * 20 + [spotted(48, 48)])
    assert batches == [16, 4, 1]


def test_a_large_image_is_answered_by_tiles_as_in_one_piece(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.random.default_rng(1).integers(100, 220, (70, 1000, 1)).astype(np.uint8)
    calls: list[None] = []
    whole = engine.inspect([image], probability=True, on_tile=lambda: calls.append(None))[0]
    assert len(calls) == tiles.count_tiles(image.shape) == 2
    monkeypatch.setattr(tiles, "TILE", 2048)
    piece = engine.inspect([image], probability=True, on_tile=lambda: calls.append(None))[0]
    assert len(calls) == 2
    np.testing.assert_array_equal(whole.mask, piece.mask)
    assert whole.score == pytest.approx(piece.score, abs=1e-5)
    assert whole.probability is not None
    assert piece.probability is not None
    np.testing.assert_allclose(whole.probability, piece.probability, atol=1e-6)


@pytest.mark.parametrize("poses", [1, 8])
def test_the_logits_of_all_poses_are_averaged(tmp_path: Path, poses: int) -> None:
    network = bright_spot_network(offset=-2.0)
    kernel = np.zeros((1, 1, 3, 3), np.float32)
    kernel[0, 0, 0, 1] = 0.02  # the pixel above
    network.graph.initializer[0].raw_data = kernel.tobytes()
    engine = Engine(write_engine(tmp_path / "engine", network, test_time_poses=poses), precision="float32")
    image = np.zeros((16, 32, 1), np.uint8)
    image[8, 8] = 240
    probability = engine.inspect([image], probability=True)[0].probability
    assert probability is not None
    logits = np.log(probability / (1 - probability.astype(np.float64)))
    around = [logits[9, 8], logits[7, 8], logits[8, 7], logits[8, 9]]
    expected = (
        [2.8, -2, -2, -2] if poses == 1 else [-0.8] * 4
    )  # each neighbour is above in two of eight poses
    np.testing.assert_allclose(around, expected, atol=1e-3)


def test_a_model_of_a_fixed_size_sees_the_area_average_and_its_probability_is_interpolated(
    tmp_path: Path,
) -> None:
    engine = Engine(write_engine(tmp_path / "engine", image_size=32), precision="float32")
    image = np.full((64, 96, 1), 100, np.uint8)
    image[20:40, 30:60] = 220
    answer = engine.inspect([image], probability=True)[0]
    assert answer.mask.shape == (64, 96)
    assert answer.mask[30, 45]
    assert not answer.mask[5, 5]
    # At its own size nothing is resized.
    small = image[::2, ::3]
    same = engine.inspect([small], probability=True)[0]
    assert answer.score == pytest.approx(same.score, abs=1e-4)
    assert same.probability is not None
    assert answer.probability is not None
    np.testing.assert_allclose(answer.probability[0, 0], same.probability[0, 0], atol=1e-6)
    np.testing.assert_array_equal(answer.mask, answer.probability > 0.5)


@pytest.mark.parametrize("shape", [(64, 96), (65, 97), (20, 500)])
def test_a_model_of_a_scale_sees_the_reduced_image_and_answers_at_the_size_of_the_image(
    engine: Engine, tmp_path: Path, shape: tuple[int, int]
) -> None:
    scaled = Engine(write_engine(tmp_path / "engine", scale=0.5), precision="float32")
    image = np.random.default_rng(5).integers(100, 220, (*shape, 1)).astype(np.uint8)
    answer = scaled.inspect([image], probability=True)[0]
    sides = [max(16, (side + 1) // 2) for side in shape]
    small = engine.inspect([area_average(image, (sides[0], sides[1]))], probability=True)[0]
    assert small.probability is not None
    expected = np.concatenate(list(interpolate(small.probability, *shape)))
    assert answer.score == pytest.approx(small.score, abs=1e-5)
    assert answer.probability is not None
    np.testing.assert_allclose(answer.probability, expected, atol=1e-5)
    np.testing.assert_array_equal(answer.mask, answer.probability > 0.5)
    assert scaled.inspect([image])[0].mask.shape == shape


@pytest.mark.parametrize("kind", ["max", "top100", "smoothed"])
def test_the_score_is_the_one_of_the_document(tmp_path: Path, kind: str) -> None:
    from tinyunet.model.metrics import image_score

    engine = Engine(write_engine(tmp_path / "engine", image_score=kind), precision="float32")
    image = np.random.default_rng(2).integers(130, 190, (34, 50, 1)).astype(np.uint8)
    answer = engine.inspect([image])[0]
    padded = np.pad(image, [(0, 14), (0, 14), (0, 0)], mode="reflect").astype(np.float32)
    logits = engine._network(padded[None])[:, :34, :50, 0]
    assert answer.score == pytest.approx(image_score(logits, kind)[0], abs=1e-5)


def test_colour_images_of_16_bits_per_channel_are_levels(tmp_path: Path) -> None:
    network = bright_spot_network(3, gain=0.25 / 257)
    engine = Engine(write_engine(tmp_path / "engine", network, channels=3, bits=16), precision="float32")
    image = np.full((32, 32, 3), 200 * 257, np.uint16)
    assert engine.inspect([image])[0].score == pytest.approx(10, abs=1e-3)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((8, 8, 1), np.uint16),
        np.zeros((0, 8, 1), np.uint8),
    ],
)
def test_an_image_of_another_kind_is_refused(engine: Engine, image: NDArray[Any]) -> None:
    with pytest.raises(UserError, match=r"expected \(H, W, 1\) and uint8"):
        engine.inspect([image])


def test_images_smaller_than_a_block_of_the_network_are_answered(engine: Engine) -> None:
    for shape in ((1, 1), (1, 40), (3, 2)):
        answer = engine.inspect([np.full((*shape, 1), 200, np.uint8)])[0]
        assert answer.mask.shape == shape


def test_logits_that_are_no_numbers_are_an_error(tmp_path: Path) -> None:
    folder = write_engine(tmp_path / "engine")
    network = bright_spot_network(offset=float("nan"))
    (folder / "network.onnx").write_bytes(network.SerializeToString())
    with pytest.raises(UserError, match="logits are not finite"):
        Engine(folder).inspect([spotted(32, 48)])


def test_threads_get_the_answers_to_their_own_images(engine: Engine) -> None:
    images = [spotted(48, 64, left=left) for left in range(0, 56, 7)]
    alone = [engine.inspect([image])[0].mask for image in images]
    masks: dict[int, list[NDArray[np.bool_]]] = {}

    def inspect(number: int) -> None:
        masks[number] = [engine.inspect([images[number]])[0].mask for _ in range(20)]

    threads = [threading.Thread(target=inspect, args=(number,)) for number in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, found in masks.items():
        assert all((mask == alone[number]).all() for mask in found)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_engine_that_gives_the_answer_of_its_example_passes_its_check(
    engine_folder: Path, precision: str
) -> None:
    Engine(engine_folder, precision=precision).check()


def test_a_changed_network_fails_the_check(engine_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(engine_folder, tmp_path / "engine")
    (folder / "network.onnx").write_bytes(bright_spot_network(offset=-39.0).SerializeToString())
    with pytest.raises(UserError, match="has the SHA-256"):
        Engine(folder).check()


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"score": 3.0}, "the score .* expected 3 ±"), ({"mean_probability": 0.9}, "the mean probability")],
)
def test_another_answer_to_the_example_fails_the_check(
    engine_folder: Path, tmp_path: Path, changes: dict[str, float], words: str
) -> None:
    folder = shutil.copytree(engine_folder, tmp_path / "engine")
    document = ServedModel.read(folder)
    example = document.example.model_copy(update=changes)
    document.model_copy(update={"example": example}).write(folder)
    for precision in ("float32", "bfloat16"):
        with pytest.raises(UserError, match=words):
            Engine(folder, precision=precision).check()


@pytest.mark.parametrize(
    ("file", "words"),
    [("engine.json", "holds no engine.json"), ("network.onnx", "network.onnx does not exist")],
)
def test_an_incomplete_folder_is_refused(engine_folder: Path, tmp_path: Path, file: str, words: str) -> None:
    folder = shutil.copytree(engine_folder, tmp_path / "engine")
    (folder / file).unlink()
    with pytest.raises(UserError, match=words):
        Engine(folder)


def test_a_file_that_is_no_network_is_refused_in_one_line(engine_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(engine_folder, tmp_path / "engine")
    (folder / "network.onnx").write_bytes(b"no network")
    with pytest.raises(UserError, match=r"network.onnx cannot be compiled") as caught:
        Engine(folder)
    assert "\n" not in str(caught.value)


def test_an_unknown_precision_is_refused(engine_folder: Path) -> None:
    with pytest.raises(UserError, match="'int4': expected auto, bfloat16, float32 or int8"):
        Engine(engine_folder, precision="int4")


def test_the_bands_of_a_large_image_are_never_all_in_memory(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[int] = []
    most = 0

    class Score(tiles.RunningScore):
        def add(self, band: NDArray[np.float32]) -> None:
            nonlocal most
            alive.append(band.size)
            most = max(most, band.size)
            super().add(band)

    def tile_of_256(images: Sequence[object]) -> None:
        monkeypatch.setattr(tiles, "TILE", 256)

    tile_of_256([])
    monkeypatch.setattr(engine_module, "RunningScore", Score)
    engine.inspect([np.zeros((512, 256, 1), np.uint8)])
    assert sum(alive) == 512 * 256
    assert most < 512 * 256 / 2
