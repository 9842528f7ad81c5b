"""The fault campaign: seeded damage to everything that users hand in; a table, and the smallest case of each fault.

    python scripts/faults.py                              # every family, 300 cases each
    python scripts/faults.py --family urls --cases 50
    python scripts/faults.py --family urls --case 17      # one case again
    python scripts/faults.py --self-check                 # would the faults that were mended be found again?

Needs a POSIX system and `pip install -e '.[test]'`. Nothing leaves this machine.
"""

import sys
from pathlib import Path

from pbrec_hf.app.cli import leave_script_folder

if __name__ == "__main__":
    leave_script_folder()
    tests = Path(__file__).resolve().parents[1] / "tests"
    sys.path[:0] = [str(tests), str(tests / "support")]
    from campaign.command import main

    sys.exit(main())
