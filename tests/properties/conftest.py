"""Settings for every test of this folder."""

import pytest
from hypothesis.configuration import set_hypothesis_home_dir


@pytest.fixture(autouse=True)
def _no_files_in_the_repository(tmp_path):
    """hypothesis keeps what it reads in the sources, even without a database of examples."""
    set_hypothesis_home_dir(tmp_path)
    yield
    set_hypothesis_home_dir(None)
