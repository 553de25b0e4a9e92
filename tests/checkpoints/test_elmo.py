"""ELMo's small published network: its LSTMs, read from the file, give the embeddings that were published beside it.

The rest of its encoder (characters to words, Peters et al. 2018; highway layers, Srivastava et al. 2015) is here.
"""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import gatescope as gs
from checkpoints.made import outputs

h5py = pytest.importorskip("h5py", reason="h5py is missing; install it with: pip install 'gatescope[keras]'")

LONGEST_WORD = 50
BEGIN_SENTENCE, END_SENTENCE, BEGIN_WORD, END_WORD, NO_LETTER = 256, 257, 258, 259, 260


@pytest.mark.parametrize("stream", [0, 1, 2])
def test_the_projected_and_clipped_lstms_give_the_embeddings_that_were_published(stream: int, real: Path) -> None:
    folder = real / "checkpoints/allennlp"
    found = gs.read(folder / "elmo_lm_weights.hdf5")
    w = {name: torch.from_numpy(array.read()) for name, array in found.arrays.items()}
    sentence = json.loads((folder / "elmo_sentences.json").read_text())[stream][0].split()
    with h5py.File(folder / f"elmo_lm_embeddings_{stream}.hdf5") as file:
        published = torch.from_numpy(file["0"][()])
    words = _words(w, sentence)[:, None]
    assert all(layer.clip is not None and layer.clip.cell == 3 and layer.clip.output == 3 for layer in found.layers)
    for way, direction in enumerate(("forward", "reverse")):
        first, second = (layer for layer in found.layers if layer.direction == direction)
        below = outputs(first, words)
        top = (outputs(second, below) + below)[1:-1, 0]
        torch.testing.assert_close(top, published[way], rtol=1e-6, atol=1e-6)


def _words(w: dict[str, Tensor], sentence: list[str]) -> Tensor:
    """[word, feature], a beginning and an end of the sentence around them."""
    ids = [_ids([BEGIN_SENTENCE]), *(_ids(list(word.encode()[: LONGEST_WORD - 2])) for word in sentence)]
    letters = w["char_embed"][torch.tensor([*ids, _ids([END_SENTENCE])])].transpose(1, 2)
    parts = []
    for place in range(5):
        kernel = w[f"CNN/W_cnn_{place}"][0].permute(2, 1, 0)
        parts.append(nn.functional.conv1d(letters, kernel, w[f"CNN/b_cnn_{place}"]).amax(-1).relu())
    x = torch.cat(parts, -1)
    for place in range(2):
        carry = torch.sigmoid(x @ w[f"CNN_high_{place}/W_carry"] + w[f"CNN_high_{place}/b_carry"])
        x = (
            carry * torch.relu(x @ w[f"CNN_high_{place}/W_transform"] + w[f"CNN_high_{place}/b_transform"])
            + (1 - carry) * x
        )
    return x @ w["CNN_proj/W_proj"] + w["CNN_proj/b_proj"]


def _ids(letters: list[int]) -> list[int]:
    inside = [BEGIN_WORD, *letters, END_WORD]
    return inside + [NO_LETTER] * (LONGEST_WORD - len(inside))
