"""`scripts/measure_house` on a made-up checkout of which every figure is known."""

import subprocess
import sys
from pathlib import Path

from tests.unit.docs.texts import ROOT

MODULES = {
    "__init__": "",
    "low/__init__": "",
    "low/a": '"""Doc."""\n\nfrom runner.high import b\n\n\nclass Twice:\n    """Doc."""\n',
    "high/__init__": "",
    "high/b": "from runner.low import a\n\n\ndef load():\n    pass\n\n\nclass Twice:\n    pass\n",
    "high/c": "def load():\n    pass\n\n\ndef main():\n    pass\n",
    "high/d": "def load():\n    # why\n    pass\n" + "\n" * 400,
}


def test_every_figure(tmp_path: Path) -> None:
    for name, text in MODULES.items():
        path = tmp_path / "runner" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    ran = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "measure_house"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [" ".join(line.split()) for line in ran.stdout.splitlines()]
    # The code of low: the import and the class; of high: no comment and no blank line.
    assert "low 7 2 2" in lines
    assert "high 418 11 4" in lines
    assert "all 425 13 7" in lines
    assert ran.stdout.split("\n\n", 1)[1].splitlines() == [
        "modules over 400 lines: 1",
        "  high.d 403",
        "",
        "class names used twice or more: 1",
        "  Twice x2: high.b, low.a",
        "",
        "public function names in 3 or more modules: 1",
        "  load x3: high.b, high.c, high.d",
        "",
        "import circles between packages: 1",
        "  high <-> low",
        "",
        "import circles between modules: 1",
        "  high.b <-> low.a",
    ]
