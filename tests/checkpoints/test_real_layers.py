"""Checkpoints that others trained and published: the layers that they are known to hold are found."""

from pathlib import Path

import pytest
import torch

import gatescope as gs
from checkpoints.made import outputs

Layer = tuple[str, str, int, int, int, str, bool]
"""Name, cell, input, hidden units, projection, direction, bias."""


def _forward(name: str, cell: str, features: int, units: int, projected: int = 0) -> Layer:
    return name, cell, features, units, projected, "forward", True


def _reverse(name: str, cell: str, features: int, units: int, projected: int = 0) -> Layer:
    return name, cell, features, units, projected, "reverse", True


def _both(name: str, cell: str, features: int, units: int) -> list[Layer]:
    return [_forward(name, cell, features, units), _reverse(f"{name}_reverse", cell, features, units)]


_ELMO = "text_field_embedder.token_embedder_elmo._elmo._elmo_lstm._elmo_lstm"
_GTCRN = [
    *(_forward(f"encoder.en_convs.{place}.tra.att_gru.l0", "gru", 8, 16) for place in (2, 3, 4)),
    *(
        layer
        for block in (1, 2)
        for layer in (
            *_both(f"dpgrnn{block}.intra_rnn.rnn1.l0", "gru", 8, 4),
            *_both(f"dpgrnn{block}.intra_rnn.rnn2.l0", "gru", 8, 4),
            _forward(f"dpgrnn{block}.inter_rnn.rnn1.l0", "gru", 8, 8),
            _forward(f"dpgrnn{block}.inter_rnn.rnn2.l0", "gru", 8, 8),
        )
    ),
    *(_forward(f"decoder.de_convs.{place}.tra.att_gru.l0", "gru", 8, 16) for place in (0, 1, 2)),
]

HOLDS: dict[str, list[Layer]] = {
    "a3c_continuous/BipedalWalker-v2.dat": [_forward("lstm", "lstm", 64, 128)],
    "a3c_continuous/BipedalWalkerHardcore-v2.dat": [_forward("lstm", "lstm", 1600, 128)],
    "allennlp/simple_tagger_with_elmo_best.th": [
        *(
            layer
            for depth in (0, 1)
            for layer in (
                _forward(f"{_ELMO}.forward_layer_{depth}", "lstm", 16, 64, 16),
                _reverse(f"{_ELMO}.backward_layer_{depth}", "lstm", 16, 64, 16),
            )
        ),
        *_both("encoder.l0", "gru", 32, 25),
        *_both("encoder.l1", "gru", 50, 25),
    ],
    "beatnet/model-1.pt": [_forward("lstm.l0", "lstm", 150, 150), _forward("lstm.l1", "lstm", 150, 150)],
    "beatnet/model_1_weights.pt": [_forward("lstm.l0", "lstm", 150, 150), _forward("lstm.l1", "lstm", 150, 150)],
    "fixed_point_finder/flip_flop_net_6.pt": [_forward("rnn_layer.l0", "rnn-tanh", 3, 8)],
    "g2pM/np_ckpt.pkl": _both("lstm.l0", "lstm", 64, 32),
    "g2p_en/checkpoint20.npz": [_forward("enc", "gru", 256, 256), _forward("dec", "gru", 256, 256)],
    "gpvad/teacher1_model.pth": _both("gru.l0", "gru", 128, 128),
    "gtcrn/model_trained_on_dns3.tar": _GTCRN,
    "opennmt/test_model2_3263037.pt": [
        *_both("encoder.rnn.l0", "lstm", 150, 75),
        *_both("encoder.rnn.l1", "lstm", 150, 75),
        _forward("decoder.rnn.layers.0", "lstm", 300, 150),
        _forward("decoder.rnn.layers.1", "lstm", 150, 150),
    ],
    "prescyent/lstm_state_dict.pt": [_forward("lstm.l0", "lstm", 3, 100)],
    "prescyent/lstm_trainer_checkpoint_174345.ckpt": [_forward("torch_model.lstm.l0", "lstm", 3, 100)],
    "silero_vad/silero_vad.jit": [
        _forward("_model.decoder.rnn", "lstm", 128, 128), _forward("_model_8k.decoder.rnn", "lstm", 128, 128),
    ],
    "silero_vad/silero_vad_16k.safetensors": [_forward("lstm_cell", "lstm", 128, 128)],
    "visrnn/lstm_128_2.pth": [_forward("l0", "lstm", 88, 128), _forward("l1", "lstm", 128, 128)],
    "allennlp/elmo_options.json": [],
    "allennlp/elmo_sentences.json": [],
    "g2pM/char2idx.pkl": [],
    "g2pM/class2idx.pkl": [],
    "textgenrnn/textgenrnn_vocab.json": [],
}  # fmt: skip


@pytest.mark.parametrize("file", HOLDS)
def test_a_published_checkpoint_holds_the_layers_that_it_is_known_for(file: str, real: Path) -> None:
    found = gs.read(real / "checkpoints" / file)
    assert [
        (one.name, one.cell, one.input_size, one.hidden_size, one.proj_size, one.direction, one.bias)
        for one in found.layers
    ] == HOLDS[file]
    assert not found.maybe
    assert not found.not_read
    assert not found.dangers
    for layer in found.layers:
        given = outputs(layer, torch.randn(3, 2, layer.input_size))
        assert given.shape == (3, 2, layer.proj_size or layer.hidden_size)
        assert given.isfinite().all()


def test_what_is_known_to_clip_says_so(real: Path) -> None:
    layers = gs.read(real / "checkpoints/allennlp/simple_tagger_with_elmo_best.th").layers
    assert [layer.clip is not None for layer in layers] == [True] * 4 + [False] * 4


def test_the_names_lists_of_companion_files_are_text(real: Path) -> None:
    with pytest.raises(gs.GatescopeError, match="it is a text file"):
        gs.read(real / "checkpoints/allennlp/elmo_vocab_test.txt")
