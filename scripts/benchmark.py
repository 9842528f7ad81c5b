"""Every figure of speed, each as a ratio within one run, with its target beside it.

    python scripts/benchmark.py                    # all tables
    python scripts/benchmark.py small              # the bundled checkpoint alone
    python scripts/benchmark.py full-size --json   # for machines
    python -m scripts.benchmarks.growth            # a plot of how cost grows

Peers are built from the installed transformers with random weights of the real size; nothing is downloaded.
"""

from benchmarks.tables import main

from pbrec_hf.app.ending import leave_script_folder

if __name__ == "__main__":
    leave_script_folder()
    main()
