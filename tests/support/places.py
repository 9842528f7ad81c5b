"""Where the tests find what lies beside them."""

from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
FIXTURES = TESTS / "fixtures"
GOLDEN = FIXTURES / "golden"
SCENES = ROOT / "pbrec_hf" / "assets" / "photographs"
