"""The int8 network of an engine: measured, described, checked; refused where it loses too much."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from tests.engines import bright_spot_network, write_engine
from tinyunet.core.documents.reference import ImageReference
from tinyunet.core.documents.served import ServedModel
from tinyunet.core.errors import UserError
from tinyunet.data.dataset import Split
from tinyunet.engine.engine import Engine
from tinyunet.engine.network import INT8, INT8_FILES, has_int8
from tinyunet.model.precision import cpu_has_int8
from tinyunet.registry import int8
from tinyunet.registry.int8 import Loss, add_int8, measure_loss


def spots(levels: Sequence[int]) -> Split:
    """Return images of 48×64 with a spot of each level in the middle; those above 160 are labelled.

    A bright and a dark pixel give all images one range.
    """
    images = np.full((len(levels), 48, 64), 100, np.uint8)
    images[:, 4, 4], images[:, 8, 4] = 255, 0
    for image, level in zip(images, levels, strict=True):
        image[16:32, 20:40] = level
    masks = np.where(images > 160, 255, 0).astype(np.uint8)
    masks[:, 4, 4] = 0
    names = tuple(str(i) for i in range(len(levels)))
    return Split("validation", images, masks, masks.any(axis=(1, 2)), names)


def reference(count: int) -> ImageReference:
    """Return a reference of `count` images."""
    values = dict.fromkeys(("defective", "scores"), (0.0,) * count)
    return ImageReference(
        image_size=0, channels=1, images=count, defective=(False,) * count, scores=values["scores"],
        statistics={},
    )  # fmt: skip


@pytest.fixture(scope="module")
def split() -> Split:
    return spots([230, 110, 250, 120, 200, 130])


@pytest.fixture(scope="module")
def quantized(split: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine folder with an int8 network and a reference."""
    folder = write_engine(tmp_path_factory.mktemp("int8") / "engine")
    reference(len(split)).write(folder)
    add_int8(folder, split)
    return folder


def test_the_description_states_digest_loss_and_bound(quantized: Path) -> None:
    document = ServedModel.read(quantized).int8
    assert document is not None
    assert (document.defective_images, document.images, document.dice_loss_bound) == (3, 6, 0.005)
    assert document.dice_loss <= 0.005
    assert len(document.sha256) == 64


def test_the_answers_in_int8_are_near_those_in_float32(quantized: Path, split: Split) -> None:
    fast, exact = (Engine(quantized, precision=precision) for precision in (INT8, "float32"))
    for image in split.images:
        answers = [engine.inspect([image[..., None]])[0] for engine in (fast, exact)]
        assert answers[0].score == pytest.approx(answers[1].score, abs=1)
        assert (answers[0].mask == answers[1].mask).mean() > 0.99
    assert answers[0].score != answers[1].score, "int8 rounds"


def test_the_loss_of_a_model_of_a_scale_is_measured_at_the_size_of_its_records(
    quantized: Path, split: Split, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(quantized, tmp_path / "engine"))
    ServedModel.read(folder).model_copy(update={"scale": 0.5}).write(folder)
    assert measure_loss(folder, split) == measure_loss(quantized, split)


def test_auto_selects_int8_where_the_cpu_has_its_instructions(quantized: Path) -> None:
    assert (Engine(quantized).precision == INT8) == cpu_has_int8()


def test_the_check_covers_the_int8_network(quantized: Path, tmp_path: Path) -> None:
    Engine(quantized, precision=INT8).check()
    folder = shutil.copytree(quantized, tmp_path / "engine")
    document = ServedModel.read(folder)
    assert document.int8 is not None
    other = document.int8.model_copy(update={"score": document.int8.score + 10})
    document.model_copy(update={"int8": other}).write(folder)
    with pytest.raises(UserError, match="gives its example the score"):
        Engine(folder, precision=INT8).check()
    Engine(folder, precision="float32").check()
    with (folder / INT8_FILES[1]).open("ab") as file:
        file.write(b"0")
    with pytest.raises(UserError, match=r"network-int8\.xml has the SHA-256"):
        Engine(folder, precision=INT8).check()


def test_the_reference_gets_the_scores_in_int8(quantized: Path, split: Split) -> None:
    engine = Engine(quantized, precision=INT8)
    expected = [engine.inspect([image[..., None]])[0].score for image in split.images]
    assert ImageReference.read(quantized).int8_scores == pytest.approx(expected)


@dataclass(frozen=True)
class Case:
    dice: tuple[float, ...]
    changed_verdicts: int
    line: str


@pytest.mark.parametrize(
    "case",
    [
        Case((0.004, 0.008), 0, "Dice -0.0060 (defective images: 2), 0 of 4 verdicts changed"),
        Case((0.0, 0.001), 1, "Dice -0.0005 (defective images: 2), 1 of 4 verdicts changed"),
    ],
)
def test_a_network_that_loses_too_much_is_not_kept(
    split: Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    case: Case,
) -> None:
    folder = write_engine(tmp_path / "engine")
    before = ServedModel.read(folder)
    loss = Loss((), (), 4, case.changed_verdicts, case.dice)
    monkeypatch.setattr(int8, "measure_loss", lambda *_: loss)
    add_int8(folder, split)
    assert f"bfloat16 or float32: {case.line}; accepted are" in capsys.readouterr().err
    assert not has_int8(folder)
    assert ServedModel.read(folder) == before
    assert Engine(folder).precision != INT8
    with pytest.raises(UserError, match="has no int8 network"):
        Engine(folder, precision=INT8)


def test_the_loss_is_that_of_masks_and_verdicts(quantized: Path, split: Split, tmp_path: Path) -> None:
    folder = shutil.copytree(quantized, tmp_path / "engine")
    # In float32, the logits are now 12 lower: the spot of level 200 is clean, the others as before.
    network = bright_spot_network(offset=-52.0)
    (folder / "network.onnx").write_bytes(network.SerializeToString())
    loss = measure_loss(folder, split)
    assert (loss.images, loss.changed_verdicts) == (6, 1)
    assert loss.dice[2] == pytest.approx(-1, abs=0.02)
    assert not loss.accepted


def test_without_a_defective_image_there_is_no_int8(
    split: Split, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_engine(tmp_path / "engine")
    add_int8(folder, replace(split, defective=np.zeros(len(split), bool)))
    assert "no validation image is defective" in capsys.readouterr().err
    assert not has_int8(folder)


def test_an_error_of_the_quantization_leaves_the_float_network(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(folder: Path, inputs: object) -> None:
        (folder / INT8_FILES[0]).write_text("half")
        raise RuntimeError("no such\noperation")

    monkeypatch.setattr(int8, "quantize", fail)
    folder = write_engine(tmp_path / "engine")
    add_int8(folder, split)
    assert "bfloat16 or float32: RuntimeError: no such operation" in capsys.readouterr().err
    assert not (folder / INT8_FILES[0]).exists()


def test_a_cpu_without_vnni_gives_the_same_answers(quantized: Path) -> None:
    answer = Engine(quantized, precision=INT8).answer_example()
    code = "import sys; from pathlib import Path; from tinyunet.engine.engine import Engine; "
    code += "print(*Engine(Path(sys.argv[1]), precision='int8').answer_example())"
    older = subprocess.run(
        [sys.executable, "-c", code, quantized],
        env=os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert [float(word) for word in older.stdout.split()] == pytest.approx(answer, abs=1e-4)


def test_of_large_images_only_some_are_computed_and_stay_in_the_reference(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "INT8_PIXELS", 3 * split.images[0].size)
    monkeypatch.setattr(int8, "LEAST_IMAGES", 2)
    folder = write_engine(tmp_path / "engine")
    whole = reference(len(split)).model_copy(update={"scores": tuple(map(float, range(len(split))))})
    whole.write(folder)
    add_int8(folder, split)
    kept = ImageReference.read(folder)
    assert len(kept.int8_scores) == len(kept.defective) == 3
    assert kept.scores == (0, 2, 5)


def test_few_large_images_are_computed_in_float32(
    quantized: Path, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "FLOAT32_PIXELS", 3 * 48 * 64)
    loss = measure_loss(quantized, split)
    assert (loss.images, len(loss.dice), len(loss.scores)) == (3, 2, 6)


def test_signals_are_received_after_a_quantization(quantized: Path) -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: received.append(number))
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)
    assert received == [signal.SIGUSR1]
