"""`models adopt` where a search finds nothing."""

import pytest
from click.testing import CliRunner

from runner.base.errors import SteprunError
from runner.cli.main import steprun


def test_only_the_search_is_told_of(tmp_path, capsys):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(SteprunError) as caught:
        CliRunner().invoke(
            steprun,
            ["models", "adopt", str(tmp_path)],
            standalone_mode=False,
            catch_exceptions=False,
        )
    assert "Searched 1 name in" in caught.value.why
    assert "bytes copied" not in capsys.readouterr().out
