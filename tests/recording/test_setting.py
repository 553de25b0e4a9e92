"""What an analysis is run with is made fit for autograd once, and said in words."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from gatescope.errors import InputError
from gatescope.recording.setting import Setting

mse = nn.functional.mse_loss


def test_arrays_of_numpy_are_taken_as_tensors_of_their_own_memory() -> None:
    x, y = np.zeros((5, 6, 3), np.float32), np.ones((5, 1), np.float32)[::-1]
    y.setflags(write=False)
    how = Setting(x, {"y": (y, 3)}, mse)
    assert how.data_in_words == "given: float32 [5, 6, 3]"
    assert isinstance(how.y["y"][0], Tensor)
    how.x.add_(1)
    assert (x == 0).all()
    assert Setting(x, y, lambda output, y: (output[1][0] - y).sum()).driven(nn.GRU(3, 1, batch_first=True)).loss


def test_tensors_of_inference_mode_are_copied_and_others_are_not() -> None:
    with torch.inference_mode():
        inside = torch.randn(4, 3)
        packed = pack_sequence([inside])
        how = Setting(inside, [inside, {"p": packed}])
    assert not how.x.is_inference()
    assert torch.equal(how.x, inside)
    assert not how.y[0].is_inference()
    assert isinstance(how.y[1]["p"], PackedSequence)
    assert not how.y[1]["p"].data.is_inference()
    outside = torch.randn(4, 3)
    assert Setting(outside).x is outside


def own(output: Tensor, y: Tensor) -> Tensor:
    return (output - y).sum()


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (mse, "mse_loss"),
        (nn.MSELoss(), "MSELoss"),
        (own, "own"),
        (lambda output, y: output.sum(), "your loss"),
        (partial(mse, reduction="sum"), "your loss"),
    ],
)
def test_a_loss_is_said_by_its_name_and_is_yours_where_it_has_none(loss: Callable[..., Tensor], words: str) -> None:
    assert Setting(torch.zeros(1), None, loss).loss_in_words == words


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.complex64, torch.int64])
def test_a_dtype_that_holds_too_few_digits_is_refused_by_its_name(dtype: torch.dtype) -> None:
    with pytest.raises(InputError, match=rf"linearised in {str(dtype)[6:]}.*choose torch\.float64"):
        Setting(dtype=dtype)
