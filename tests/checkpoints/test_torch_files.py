"""Tensors of torch's files: of every type, seen through any stride, old and new, are torch's own bit for bit."""

import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from checkpoints.test_save_styles import read, saved
from checkpoints.written import Made, Named, Outside, storage, tensor, torch_legacy, torch_zip
from gatescope.errors import CheckpointError

NUMBERS = struct.pack("<4f", 1, 2, 3, 4)
DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
    torch.complex64,
    torch.complex128,
]


def numbers(value: Tensor) -> np.ndarray:
    return (value.float() if value.dtype == torch.bfloat16 else value).detach().numpy()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_of_number_is_read(dtype: torch.dtype, zipped: bool, tmp_path: Path) -> None:
    value = (torch.randn(3, 5) * 100).to(dtype)
    found = saved({"a": value}, tmp_path / "a.pt", zipped=zipped).arrays["a"]
    assert found.dtype == str(dtype).removeprefix("torch.")
    assert found.read().dtype.isnative
    assert np.array_equal(found.read(), numbers(value))


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64], ids=str)
def test_the_unsigned_types_of_newer_torch_are_read(dtype: torch.dtype, tmp_path: Path) -> None:
    value = torch.arange(5).to(dtype)
    assert np.array_equal(saved({"a": value}, tmp_path / "a.pt").arrays["a"].read(), value.numpy())


def test_numbers_that_numpy_does_not_have_are_named_as_not_read(tmp_path: Path) -> None:
    value = torch.arange(4.0).to(torch.float8_e4m3fn)
    found = saved({"a": value, "b": torch.ones(1)}, tmp_path / "a.pt")
    assert list(found.arrays) == ["b"]
    assert found.not_read[0].startswith("a: a tensor of type float8_e4m3fn")


@pytest.mark.parametrize("zipped", [True, False])
def test_views_of_a_shared_storage_are_seen_through_their_strides(zipped: bool, tmp_path: Path) -> None:
    whole = torch.randn(6, 8)
    views = {
        "whole": whole,
        "transposed": whole.T,
        "rows": whole[2:4],
        "every other column": whole[:, 1::2],
        "one number": whole[3, 5],
        "repeated": whole[0].expand(5, 8),
        "diagonal": whole.diagonal(),
        "none": whole[:0],
        "windows": whole.unfold(1, 3, 1),
    }
    found = saved(views, tmp_path / "a.pt", zipped=zipped).arrays
    for name, view in views.items():
        assert np.array_equal(found[name].read(), view.numpy()), name
        assert found[name].shape == tuple(view.shape)


@pytest.mark.parametrize("zipped", [True, False])
def test_what_is_read_is_the_callers_own(zipped: bool, tmp_path: Path) -> None:
    found = saved({"a": torch.zeros(3)}, tmp_path / "a.pt", zipped=zipped).arrays["a"]
    found.read()[:] = 1
    assert found.read().tolist() == [0, 0, 0]


@pytest.mark.parametrize("what", [torch.arange(3.0), torch.arange(3.0).untyped_storage()])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_tensor_or_a_storage_alone_has_a_name(what: object, zipped: bool, tmp_path: Path) -> None:
    (name,) = saved(what, tmp_path / "a.pt", zipped=zipped).arrays
    assert name == "tensor"


def test_a_big_endian_archive_is_read_as_what_it_says(tmp_path: Path) -> None:
    path = torch_zip(tmp_path / "a.pt", {"a": tensor()}, {"0": struct.pack(">4f", 1, 2, 3, 4)}, byteorder=b"big")
    array = read(path).arrays["a"].read()
    assert array.tolist() == [1, 2, 3, 4]
    assert array.dtype.isnative


def test_without_a_byteorder_numbers_are_little_endian(tmp_path: Path) -> None:
    assert read(torch_zip(tmp_path / "a.pt", {"a": tensor()}, {"0": NUMBERS})).arrays["a"].read()[3] == 4


def test_another_byteorder_is_refused(tmp_path: Path) -> None:
    path = torch_zip(tmp_path / "a.pt", {"a": tensor()}, {"0": NUMBERS}, byteorder=b"middle")
    with pytest.raises(CheckpointError, match="in the order b'middle'"):
        read(path)


def test_switched_off_checksums_are_said(tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": torch.ones(2)}, tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(before)
    found = read(tmp_path / "a.pt")
    assert found.arrays["a"].read().tolist() == [1, 1]
    assert any("no checksum" in note for note in found.notes)


def test_two_paths_that_print_alike_are_kept_apart(tmp_path: Path) -> None:
    nested = {"a": {"b": torch.ones(1)}, "a.b": torch.ones(2), 0: torch.ones(3), "0": torch.ones(4)}
    found = saved(nested, tmp_path / "a.pt").arrays
    assert {name: array.shape for name, array in found.items()} == {
        "a.b": (1,),
        "a.b~2": (2,),
        "0": (3,),
        "0~2": (4,),
    }


def test_a_container_that_holds_itself_is_walked_once(tmp_path: Path) -> None:
    around: dict[str, object] = {"a": torch.ones(1)}
    around["self"] = around
    around["list"] = [around]
    assert list(saved(around, tmp_path / "a.pt").arrays) == ["a"]


def test_torch_0_2_and_its_parameters_are_read(tmp_path: Path) -> None:
    old = Made(Named("torch._utils", "_rebuild_tensor"), (storage("0", 4, "FloatStorage", None), 0, (2, 2), (2, 1)))
    parameter = Made(Named("torch.nn.parameter", "Parameter"), (old, True))
    found = read(torch_legacy(tmp_path / "a.pt", {"a": parameter}, {"0": NUMBERS}))
    assert found.arrays["a"].read().tolist() == [[1, 2], [3, 4]]


def test_an_ordered_dict_of_python_2_is_read(tmp_path: Path) -> None:
    pairs = Made(Named("collections", "OrderedDict"), ([["a", tensor()]],))
    assert list(read(torch_zip(tmp_path / "a.pt", pairs, {"0": NUMBERS})).arrays) == ["a"]


def test_a_module_of_old_torch_with_its_source_beside_it_is_read(tmp_path: Path) -> None:
    kind = Outside(("module", Named("mine.net", "Net"), "net.py", "class Net: ..."))
    module = Made(kind, (), {"_parameters": {"w": tensor()}, "_buffers": {}, "_modules": {}, "size": 4})
    found = read(torch_legacy(tmp_path / "a.pt", module, {"0": NUMBERS}))
    assert list(found.arrays) == ["w"]
    assert found.hints[""] == {"class": "mine.net.Net", "size": 4}
    assert "not built: mine.net.Net" in found.notes


def test_a_legacy_view_reads_its_stretch_of_the_shared_storage(tmp_path: Path) -> None:
    part = storage("0", 4, "FloatStorage", ("view", 1, 2))
    made = Made(Named("torch._utils", "_rebuild_tensor_v2"), (part, 0, (2,), (1,), False, None))
    assert read(torch_legacy(tmp_path / "a.pt", {"a": made}, {"0": NUMBERS})).arrays["a"].read().tolist() == [2, 3]


def test_a_stretch_that_leaves_its_storage_is_refused(tmp_path: Path) -> None:
    part = storage("0", 4, "FloatStorage", ("view", 3, 2))
    made = Made(Named("torch._utils", "_rebuild_tensor_v2"), (part, 0, (2,), (1,), False, None))
    with pytest.raises(CheckpointError, match="number 5 of a storage that holds 4"):
        read(torch_legacy(tmp_path / "a.pt", {"a": made}, {"0": NUMBERS}))


@pytest.mark.parametrize("legacy", [True, False])
def test_a_storage_that_no_tensor_uses_is_harmless(legacy: bool, tmp_path: Path) -> None:
    what = {"a": tensor(), "b": Made(Named("mine", "Lazy"), (storage("1", 2),))}
    make = torch_legacy if legacy else torch_zip
    found = read(make(tmp_path / "a.pt", what, {"0": NUMBERS, "1": NUMBERS[:8]}))
    assert found.arrays["a"].read().tolist() == [1, 2, 3, 4]


def test_a_member_that_nothing_names_is_said(tmp_path: Path) -> None:
    found = read(torch_zip(tmp_path / "a.pt", {"a": tensor()}, {"0": NUMBERS, "1": NUMBERS}))
    assert found.notes == ("archive/data/1 belongs to no tensor",)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (lambda: torch.eye(3).to_sparse(), "sparse"),
        (lambda: torch.ones(2, device="meta"), "meta device"),
        (lambda: torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]), "nested"),
        (lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "quantised"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tensors_that_are_not_rows_of_numbers_are_named(value: object, why: str, tmp_path: Path) -> None:
    found = saved({"a": value(), "b": torch.ones(1)}, tmp_path / "a.pt")  # type: ignore[operator]
    assert list(found.arrays) == ["b"]
    assert len(found.not_read) == 1
    assert found.not_read[0].startswith("a: ")
    assert why in found.not_read[0]


@pytest.mark.filterwarnings("ignore")
def test_a_dynamically_quantised_lstm_is_named_with_what_to_do(tmp_path: Path) -> None:
    network = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.LSTM(3, 4)), {nn.LSTM})
    found = saved(network.state_dict(), tmp_path / "a.pt")
    assert found.arrays == {}
    assert "save the network before it is quantised" in found.not_read[0]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"offset": 1}, "reaches number 4 of a storage that holds 4"),
        ({"offset": -1}, "impossible"),
        ({"strides": (2,)}, "reaches number 6"),
        ({"shape": (4, 4)}, "impossible"),
        ({"shape": (5,)}, "reaches number 4"),
        ({"shape": (1 << 60,)}, "impossible"),
        ({"shape": (0, 1 << 47, 1 << 47), "strides": (0, 0, 0)}, "impossible"),
        ({"offset": "0"}, "no numbers"),
        ({"shape": None}, "no numbers"),
        ({"storage": storage("0", 1 << 38)}, "declares 1099511627776 bytes, and has 16"),
        ({"storage": storage("9", 4)}, "no member archive/data/9"),
        ({"storage": storage("../../x", 4)}, "no member archive/data/../../x"),
        ({"storage": storage("0", 4, "Whatever")}, "no type"),
        ({"storage": None}, "no storage"),
    ],
)
def test_a_tensor_that_leaves_its_storage_is_refused_before_a_byte_is_read(
    changed: dict[str, object], says: str, tmp_path: Path
) -> None:
    path = torch_zip(tmp_path / "a.pt", {"a": tensor(**changed)}, {"0": NUMBERS})
    with pytest.raises(CheckpointError, match=says):
        read(path)


def test_a_view_that_would_repeat_a_number_into_gigabytes_is_not_read(tmp_path: Path) -> None:
    found = read(torch_zip(tmp_path / "a.pt", {"a": tensor(shape=(1 << 30,), strides=(0,))}, {"0": NUMBERS}))
    assert found.arrays == {}
    assert found.not_read == ("a: a view that repeats 4 numbers 1073741824 times",)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_read_without_running_it(tmp_path: Path) -> None:
    network = nn.LSTM(3, 4, num_layers=2)
    torch.jit.script(network).save(tmp_path / "a.pt")
    found = read(tmp_path / "a.pt")
    assert found.format == "TorchScript"
    assert found.hints[""]["class"] == "torch.nn.modules.rnn.LSTM"
    assert {name: array.read().tolist() for name, array in found.arrays.items()} == {
        name: value.tolist() for name, value in network.state_dict().items()
    }


def test_an_archive_of_two_pickles_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}.")
        archive.writestr("b/data.pkl", b"\x80\x02}.")
    with pytest.raises(CheckpointError, match=r"2 members data\.pkl"):
        read(tmp_path / "a.pt")


@pytest.mark.parametrize("cut", [1, 8, 17, 100])
def test_a_legacy_file_that_was_cut_off_is_called_truncated(cut: int, tmp_path: Path) -> None:
    saved({"a": torch.ones(50)}, tmp_path / "a.pt", zipped=False)
    data = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(data[:-cut])
    with pytest.raises(CheckpointError, match="truncated"):
        read(tmp_path / "a.pt")


def test_neither_torch_nor_numpy_is_loaded_to_name_the_tensors(tmp_path: Path) -> None:
    torch.save({"a": nn.LSTM(3, 4)}, tmp_path / "a.pt")
    program = (
        "import sys; from pathlib import Path; from gatescope.checkpoints.torch_zip import read_torch_zip;"
        f"found = read_torch_zip(Path({str(tmp_path / 'a.pt')!r}));"
        "assert len(found.arrays) == 4;"
        "assert not {'torch', 'numpy', 'pickle'} & set(sys.modules);"
        "found.arrays['a.weight_ih_l0'].read(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
