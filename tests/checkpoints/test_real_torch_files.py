"""Real trained checkpoints, made by others with many versions of torch: each opens, with torch's own values."""

from pathlib import Path

import numpy as np
import pytest
import torch

from checkpoints.test_save_styles import read, tensors
from gatescope.checkpoints.pickled_arrays import read_pickled_arrays

EVERY = {
    "a3c_continuous/BipedalWalker-v2.dat": 18,
    "a3c_continuous/BipedalWalkerHardcore-v2.dat": 18,
    "allennlp/simple_tagger_with_elmo_best.th": 55,
    "beatnet/model-1.pt": 14,
    "beatnet/model_1_weights.pt": 14,
    "fixed_point_finder/flip_flop_net_6.pt": 6,
    "gpvad/teacher1_model.pth": 40,
    "gtcrn/model_trained_on_dns3.tar": 677,
    "opennmt/test_model2_3263037.pt": 90,
    "prescyent/lstm_state_dict.pt": 6,
    "prescyent/lstm_trainer_checkpoint_174345.ckpt": 7,
    "silero_vad/silero_vad.jit": 33,
    "visrnn/lstm_128_2.pth": 10,
}
SAFE = [
    "a3c_continuous/BipedalWalker-v2.dat",
    "allennlp/simple_tagger_with_elmo_best.th",
    "beatnet/model_1_weights.pt",
    "gpvad/teacher1_model.pth",
    "gtcrn/model_trained_on_dns3.tar",
    "prescyent/lstm_state_dict.pt",
    "prescyent/lstm_trainer_checkpoint_174345.ckpt",
    "visrnn/lstm_128_2.pth",
]
"""Those that torch's safe loader opens too."""


@pytest.mark.parametrize("name", EVERY)
def test_every_array_of_every_file_is_read(name: str, real: Path) -> None:
    found = read(real / "checkpoints" / name)
    assert len(found.arrays) == EVERY[name]
    assert found.not_read == found.dangers == ()
    for array in found.arrays.values():
        assert array.read().shape == array.shape


@pytest.mark.parametrize("name", SAFE)
def test_the_values_are_those_of_torchs_safe_loader(name: str, real: Path) -> None:
    found = read(real / "checkpoints" / name).arrays
    expected = tensors(torch.load(real / "checkpoints" / name, weights_only=True, map_location="cpu"))
    assert set(found) == set(expected)
    for key, value in expected.items():
        assert np.array_equal(found[key].read(), np.asarray(value))


def test_a_whole_module_has_the_weights_of_its_state_dict(real: Path) -> None:
    whole = read(real / "checkpoints/beatnet/model-1.pt")
    weights = read(real / "checkpoints/beatnet/model_1_weights.pt")
    assert set(whole.arrays) == set(weights.arrays)
    for key, value in weights.arrays.items():
        assert np.array_equal(whole.arrays[key].read(), value.read())
    assert whole.hints["lstm"]["num_layers"] == 2
    assert whole.hints["lstm"]["batch_first"] is True
    assert whole.notes == ("not built: model.BDA",)


def test_a_pickle_of_numpy_arrays_is_read(real: Path) -> None:
    found = read_pickled_arrays(real / "checkpoints/g2pM/np_ckpt.pkl")
    assert found.arrays["lstm.weight_ih_l0_reverse"].shape == (128, 64)
    assert found.not_read == found.dangers == ()
    assert np.isfinite(found.arrays["embedding.weight"].read()).all()
