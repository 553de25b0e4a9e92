"""A user's own model with the arrays of a checkpoint in it: built by their function, filled by ours."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..checkpoints.checkpoint import Checkpoint
from ..errors import InputError


def rebuilt(factory: Callable[[], Any], checkpoint: Checkpoint, *, device: str | torch.device = "cpu") -> nn.Module:
    """What `factory()` builds, in evaluation mode, with every parameter and buffer from the file.

    The names in the file may have a common beginning, such as `state_dict.model.`, that the model's have not.

    Raises:
        InputError: the function returns no module, or the file lacks one of its arrays or has it in another shape.
    """
    model = factory()
    if not isinstance(model, nn.Module):
        raise InputError(f"The factory returned a {type(model).__name__}, and a torch.nn.Module is wanted.")
    wanted = model.state_dict()
    begins = _beginning(checkpoint, wanted)
    arrays = {name: checkpoint.arrays[f"{begins}{name}"] for name in wanted}
    for name, array in arrays.items():
        if array.shape != tuple(wanted[name].shape):
            raise InputError(
                f"{name} has the shape {list(array.shape)} in {Path(checkpoint.path).name} and "
                f"{list(wanted[name].shape)} in the model; let the factory build the model that was saved."
            )
    model.load_state_dict({name: torch.from_numpy(np.array(array.read())) for name, array in arrays.items()})
    return model.to(device).eval()


def _beginning(checkpoint: Checkpoint, wanted: Mapping[str, Tensor]) -> str:
    """What stands before every name of the model in the file; the shortest, where there are several."""
    first = next(iter(wanted), "")
    begins = sorted((name.removesuffix(first) for name in checkpoint.arrays if name.endswith(first)), key=len)
    if checkpoint.key is not None:
        begins = [begin for begin in begins if begin.startswith(checkpoint.key)]
    lacking = {begin: [name for name in wanted if f"{begin}{name}" not in checkpoint.arrays] for begin in begins}
    fitting = [begin for begin, lacks in lacking.items() if not lacks]
    if fitting:
        return fitting[0]
    fewest = min(lacking.values(), key=len, default=list(wanted))
    raise InputError(
        f"{Path(checkpoint.path).name} lacks {len(fewest)} of the {len(wanted)} arrays of the model, such as "
        f"{next(iter(fewest), 'any')}; let the factory build the model that was saved."
    )
