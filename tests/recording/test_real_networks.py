"""Networks that others trained: their gates explain what they return, and their adjoints add up to their gradients."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gatescope as gs

NETWORKS = {
    "visrnn/lstm_128_2.pth": ["model"],
    "beatnet/model_1_weights.pt": ["lstm"],
    "prescyent/lstm_state_dict.pt": None,
    "gpvad/teacher1_model.pth": ["gru"],
    "gtcrn/model_trained_on_dns3.tar": None,
    "a3c_continuous/BipedalWalker-v2.dat": ["lstm"],
    "a3c_continuous/BipedalWalkerHardcore-v2.dat": ["lstm"],
}


def recurrent_modules_in(state: Mapping[str, Any]) -> dict[str, nn.Module]:
    """Torch modules for every recurrent layer that torch's own names show, with the file's weights."""
    if "model" in state and isinstance(state["model"], Mapping):
        state = state["model"]
    found: dict[str, nn.Module] = {}
    for key in state:
        match = re.fullmatch(r"(.*?)\.?weight_hh(_l0)?", key)
        if not match:
            continue
        path = match[1]
        own = {name.removeprefix(path).lstrip("."): w for name, w in state.items() if name.startswith(path)}
        own = {name: w.float() for name, w in own.items() if re.match(r"(weight|bias)_[ih]h", name)}
        suffix = match[2] or ""
        features, units = own[f"weight_ih{suffix}"].shape[1], own[f"weight_hh{suffix}"].shape[1]
        kind = {4: "LSTM", 3: "GRU", 1: "RNN"}[len(own[f"weight_hh{suffix}"]) // units]
        module: nn.Module
        if suffix:
            layers = len({name for name in own if re.fullmatch(r"weight_hh_l\d+", name)})
            both = "weight_hh_l0_reverse" in own
            module = getattr(nn, kind)(features, units, layers, bidirectional=both)
        else:
            module = getattr(nn, kind + "Cell")(features, units)
        module.load_state_dict(own)
        found[path] = module
    return found


@pytest.mark.parametrize("file", NETWORKS)
def test_the_gates_of_a_trained_network_explain_it_and_its_adjoints_add_up(file: str, real: Path) -> None:
    state = torch.load(real / "checkpoints" / file, map_location="cpu", weights_only=True)
    modules = recurrent_modules_in(state)
    assert set(NETWORKS[file] or modules) <= set(modules)
    assert modules
    for path, module in modules.items():
        x = torch.randn(40, 3, module.input_size)
        with gs.Recorder(nn.ModuleDict({"net": module})) as rec:
            if isinstance(module, nn.RNNBase):
                output = module(x)[0]
            else:
                hidden: Any = None
                outputs = []
                for x_t in x:
                    hidden = module(x_t, hidden)
                    outputs.append(hidden[0] if isinstance(hidden, tuple) else hidden)
                output = torch.stack(outputs)
            output[-1].square().sum().backward()
        for name, adjoint in rec.adjoints.items():
            assert adjoint.trace.residual < 1e-5, (path, name)
            total = torch.cat([adjoint.preactivations[block].sum((0, 1)) for block in adjoint.layer.cell.blocks])
            bias = getattr(module, "bias_ih" if name == "net" else f"bias_ih_{name.removeprefix('net.')}")
            torch.testing.assert_close(total, bias.grad, rtol=1e-3, atol=1e-5 * float(bias.grad.abs().max()))


class _TwoDicts(pickle.Unpickler):
    """The vocabulary beside the network is a pickle of two dictionaries; it needs no class at all."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} is not wanted here")


def test_a_character_network_reads_war_and_peace_while_it_is_recorded(real: Path) -> None:
    with (real / "data" / "warandpeace" / "vocab.pkl").open("rb") as file:
        vocabulary = _TwoDicts(file).load()
    index = next(table for table in vocabulary if all(isinstance(key, str) for key in table))
    text = (real / "data" / "warandpeace" / "input.txt").read_text(encoding="utf-8", errors="ignore")
    signs = [index[sign] for sign in text[20000:40000] if sign in index][: 16 * 201]
    tokens = torch.tensor(signs).view(16, 201).T
    state = torch.load(real / "checkpoints" / "visrnn" / "lstm_128_2.pth", map_location="cpu", weights_only=True)
    lstm = recurrent_modules_in(state)["model"]
    head = nn.Linear(128, 88)
    head.load_state_dict({"weight": state["fc.weight"], "bias": state["fc.bias"]})
    x = nn.functional.one_hot(tokens[:-1], 88).float()
    with gs.Recorder(lstm) as rec:
        loss = nn.functional.cross_entropy(head(lstm(x)[0])[50:].flatten(0, 1), tokens[51:].flatten())
        loss.backward()
    bits = float(loss.detach()) / torch.log(torch.tensor(2.0)).item()
    assert 1.6 < bits < 2.2  # 1.88 bits a character is what it was seen to reach
    assert all(trace.residual < 1e-5 for trace in rec.traces.values())
    forget = rec.traces["l0"].gates["f"]
    assert forget.min() >= 0
    assert forget.max() <= 1
    assert forget.std() > 0.1  # trained gates open and close; untrained ones stay near a half
    assert rec.adjoints["l0"].log_norm("pair").isfinite().all()
