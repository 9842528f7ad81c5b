"""Publish a checkpoint: load it strictly, write it again with its card (and code), upload everything in one commit.

    python scripts/push_to_hub.py runs/mine/best me/mine --card card.yaml          # log in first: hf auth login
    python scripts/push_to_hub.py runs/mine/best me/mine --card card.yaml --with_code --private
    python scripts/push_to_hub.py runs/mine/best me/mine --space me/mine-demo      # and a Gradio Space that shows it
    python scripts/push_to_hub.py runs/mine/best me/mine --with_code --folder out  # write the folder, upload nothing

As `pbrec-hf push`. Without --card, a README.md in the checkpoint's folder is the card, or the one that the repository
already has; with neither, nothing is published.
"""

from pbrec_hf.app.cli import run_script

if __name__ == "__main__":
    run_script("push")
