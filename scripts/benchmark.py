"""Every figure of speed, each as a ratio within one run, with its target beside it.

    python scripts/benchmark.py                    # all tables
    python scripts/benchmark.py small              # the bundled checkpoint alone
    python scripts/benchmark.py full-size --json   # for machines
    python -m scripts.benchmarks.growth            # a plot of how cost grows

Ours and a peer take turns, each as its users run it; a ratio is the median of several turns, with the least and the
most. Runtime and precision stand in its name. A target that this machine does not reach is marked MISSED; a row that
lacks a library says so. Run it on a machine that does nothing else: work beside it shifts even ratios.

Peers are built from the installed transformers with random weights of the real size; nothing is downloaded.
"""

from benchmarks.tables import main

from pbrec_hf.app.ending import leave_script_folder

if __name__ == "__main__":
    leave_script_folder()
    main()
