"""`python -m pbrec_hf …`, and `accelerate launch -m pbrec_hf train …`, are `pbrec-hf …`."""

import sys

from .app.cli import main

if __name__ == "__main__":
    sys.exit(main())
