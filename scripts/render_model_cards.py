"""Render model_cards/NAME.md from model_cards/cards.yaml; as `pbrec-hf cards`.

python scripts/render_model_cards.py      # after the data or the template changed
"""

from pathlib import Path

from pbrec_hf.app.cli import run_script

if __name__ == "__main__":
    run_script("cards", str(Path(__file__).parents[1] / "model_cards"))
