"""Every test runs with its shapes checked, its seeds set, on one thread; what a machine lacks is skipped, with why."""

import os
import random
import shutil
from pathlib import Path

from jaxtyping import install_import_hook

install_import_hook("gatescope", "checking.checked")  # before anything imports the modules that it is to check

import hypothesis  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

hypothesis.settings.register_profile("gatescope", derandomize=True, deadline=None)
hypothesis.settings.load_profile("gatescope")
torch.set_num_threads(1)  # small tensors are faster so, and the same numbers come on every machine


@pytest.fixture(autouse=True)
def _seeds() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  (libraries that we call may still draw from it)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real checkpoints and data; a test that asks for it is marked `real`."""
    named = os.environ.get("GATESCOPE_REAL")
    if not named:
        pytest.skip("GATESCOPE_REAL is unset; it names the folder of real checkpoints and data")
    folder = Path(named)
    if not folder.is_dir():
        pytest.fail(f"GATESCOPE_REAL names {named}, which is no folder; unset it to skip these tests")
    return folder


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "real" in getattr(item, "fixturenames", ()):
            item.add_marker("real")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    if item.get_closest_marker("browser") and not shutil.which("chromium"):
        missing = "chromium is missing; install it with: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(missing)  # where everything is promised to be tested, an untested page is a failure
        pytest.skip(missing)
