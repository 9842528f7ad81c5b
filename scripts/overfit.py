"""Can the whole path learn? Trains on eight real photographs until every expression finds its object.

python scripts/overfit.py      # CPU, minutes; exits 1 if it does not reach 100 %

As `pbrec-hf overfit`, on the photographs of the package.
"""

from pbrec_hf.app.cli import run_script

if __name__ == "__main__":
    run_script("overfit")
