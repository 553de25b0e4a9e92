"""However a file is damaged, it is read or refused with our error, in little time and memory."""

import argparse
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint
from torch import nn

from checkpoints.save_styles import STYLES

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("mutants.py")
EACH = 320


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One sound file of each kind, thirteen in all."""
    folder = tmp_path_factory.mktemp("sound")
    lstm = nn.LSTM(3, 4)
    for name in ("model, optimiser and epoch", "whole network", "numpy's random state"):
        for suffix in (".pt", ".old"):
            path = folder / f"{name}{suffix}"
            torch.save(STYLES[name](lstm), path, _use_new_zipfile_serialization=suffix == ".pt")
    arrays = {"w": np.arange(6.0).reshape(2, 3), "o": np.array([{}, None]), "n": argparse.Namespace(a=np.float32(1))}
    for protocol in (0, 2, 5):
        (folder / f"arrays{protocol}.pkl").write_bytes(pickle.dumps(arrays, protocol))
    (folder / "tensors.pkl").write_bytes(pickle.dumps(lstm.state_dict()))
    torch.jit.script(lstm).save(folder / "script.pt")
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),)), folder / "exported.pt2")
    torch.distributed.checkpoint.save({"m": lstm.state_dict(), "step": 1}, checkpoint_id=folder / "shards.dcp")
    return folder


@pytest.mark.filterwarnings("ignore")
def test_mutants_are_read_or_refused(sound: Path) -> None:
    ran = subprocess.run(
        [sys.executable, str(PROGRAM), str(sound), str(EACH), "0"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(ran.stdout)
    assert found["strange"] == []
    assert found["refused"] + found["read"] == 13 * EACH
    assert found["refused"] > 1000
    assert found["read"] > 200
    assert found["slowest"] < 5
    assert found["largest"] < 256e6
