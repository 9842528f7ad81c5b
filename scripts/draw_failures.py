"""Draw what a checkpoint gets wrong: its answer in red, what was meant in green, side by side on one sheet.

    python scripts/draw_failures.py CHECKPOINT --data rows.jsonl --bbox_format xywh --out failures.jpg

As `pbrec-hf failures`. Rows as evaluate.py reads them; an answer is wrong when the IoU of its box with the true one is
at most 0.5. Prints how many are wrong; the first --most of them are drawn.
"""

from pbrec_hf.app.cli import run_script

if __name__ == "__main__":
    run_script("failures")
