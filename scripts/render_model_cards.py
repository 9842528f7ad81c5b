"""Render model_cards/<name>.md from model_cards/cards.yaml.

After changing the data or the template: `python scripts/render_model_cards.py`.
"""

from pathlib import Path

from pbrec_hf.hub.cards import read_cards, render_card

FOLDER = Path(__file__).parent.parent / "model_cards"

if __name__ == "__main__":
    for name, info in read_cards(FOLDER / "cards.yaml").items():
        (FOLDER / f"{name}.md").write_text(render_card(info), encoding="utf-8")
