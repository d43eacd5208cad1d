"""The model for this machine, and the digest of its weights."""

import hashlib
from pathlib import Path

import keras
import numpy as np
import pytest

from tinyunet.core.errors import UserError
from tinyunet.model.unet import build_unet
from tinyunet.training.keras_file import for_this_machine, load_model, weights_digest


@pytest.mark.parametrize(("emulated", "policy"), [(True, "float32"), (False, "mixed_bfloat16")])
def test_a_model_runs_in_float32_where_its_precision_is_emulated(
    emulated: bool, policy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tinyunet.model.precision.is_emulated", lambda _: emulated)
    model = build_unet(32, seed=1, precision="mixed_bfloat16", plain=True)
    result = for_this_machine(model)
    assert result.get_layer("encoder0_conv1").dtype_policy.name == policy
    assert (result is model) is not emulated
    assert ("only emulates mixed_bfloat16" in capsys.readouterr().err) is emulated
    assert weights_digest(result) == weights_digest(model)


def test_the_digest_is_the_sha256_of_the_weights_bytes() -> None:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.set_weights([np.array([[2.0]]), np.array([3.0])])
    expected = hashlib.sha256(np.array([2.0, 3.0], np.float32).tobytes()).hexdigest()
    assert weights_digest(model) == expected


def test_a_saved_model_gives_the_same_logits(tmp_path: Path) -> None:
    model = build_unet(32, seed=5, plain=True)
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 1)).astype(np.float32)
    np.testing.assert_array_equal(load_model(tmp_path / "model.keras")(x), model(x))


def test_the_error_of_a_missing_or_damaged_model_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.keras does not exist"):
        load_model(tmp_path / "absent.keras")
    (tmp_path / "damaged.keras").write_bytes(b"not a model")
    with pytest.raises(UserError, match=r"damaged\.keras is not a readable Keras model"):
        load_model(tmp_path / "damaged.keras")
