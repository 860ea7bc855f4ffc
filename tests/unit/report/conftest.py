import pytest
from tests.unit.report.fake_run import make_fake_run


@pytest.fixture
def fake_run(tmp_path):
    """A whole run of the quickstart, small; a test may spoil it."""
    return make_fake_run(tmp_path / "quickstart", num_tasks=60)
