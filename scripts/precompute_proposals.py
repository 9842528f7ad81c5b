"""Proposals of all pictures of a data set, computed once, for training and evaluation with --proposals.

    1 GPU      python scripts/precompute_proposals.py CHECKPOINT --dataset refcoco --refer_dir R --image_dir I --out D
    N GPUs     accelerate launch --config_file hub_configs/accelerate/multi_gpu.yaml scripts/precompute_proposals.py …
    CPU        python scripts/precompute_proposals.py CHECKPOINT --cpu --data my.jsonl --out D

Run it again to go on after an interruption, or to add the pictures of another data set: what is there is not computed
again. D/boxes and D/masks hold Parquet files keyed by the hash of picture and detector. Masks take megabytes per
picture; with `--kinds boxes` they are left to the detector.
"""

import argparse
import logging
import sys

if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose evaluate.py would hide the library `evaluate`

from accelerate import Accelerator

from pbrec_hf.data.own_data import BBOX_FORMATS
from pbrec_hf.processing_pbrec import PbrecProcessor
from pbrec_hf.training.build import add_detectors, load_rows
from pbrec_hf.training.evaluation import open_caches
from pbrec_hf.training.precompute import fill_caches
from pbrec_hf.training.proposal_cache import KINDS
from pbrec_hf.training.run import require_joined


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoint", help="folder or Hub id of a processor")
    parser.add_argument("--data", help="own data: JSONL, CSV or Parquet")
    parser.add_argument("--bbox_format", default="xyxy", choices=BBOX_FORMATS, help="of own data")
    parser.add_argument("--instances", help="COCO instances file that own expressions name their objects in")
    parser.add_argument("--dataset", help="refcoco, refcoco+, refcocog, referit or grefcoco")
    parser.add_argument("--split_by", help="unc, google, umd or berkeley")
    parser.add_argument("--splits", nargs="+", default=["val"], help="of the data set (default: %(default)s)")
    parser.add_argument("--refer_dir", help="folder of the REFER annotations")
    parser.add_argument("--image_dir", help="folder of the images")
    parser.add_argument("--no_check_counts", action="store_true", help="accept a partial copy of a data set")
    parser.add_argument("--box_detector", help="instead of the checkpoint's own: folder or Hub id")
    parser.add_argument("--mask_detector", help="instead of the checkpoint's own: folder or Hub id")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--batch_size", type=int, default=8, help="pictures per pass")
    parser.add_argument("--pictures_per_file", type=int, default=256)
    parser.add_argument("--num_workers", type=int, default=4, help="loader processes per process")
    parser.add_argument("--out", required=True)
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args(arguments)
    if (options.data is None) == (options.dataset is None):
        parser.error("give --data or --dataset")
    accelerator = Accelerator(cpu=options.cpu)
    require_joined(accelerator)
    processor = PbrecProcessor.from_pretrained(options.checkpoint)
    processor = add_detectors(processor, options.box_detector, options.mask_detector).to(accelerator.device)
    caches = {kind: cache for kind, cache in open_caches(options.out, processor).items() if kind in options.kinds}
    accelerator.wait_for_everyone()  # before anyone adds to what the others are reading
    for split in [None] if options.data else options.splits:
        rows = load_rows(
            options.data, options.dataset, split, options.split_by, options.refer_dir, options.image_dir,
            not options.no_check_counts, options.bbox_format, options.instances,
        )  # fmt: skip
        share = (accelerator.process_index, accelerator.num_processes)
        added = fill_caches(
            caches, processor, rows, share, options.batch_size, options.pictures_per_file, options.num_workers
        )
        print(f"{split or options.data}: {added} pictures added by process {accelerator.process_index}")


if __name__ == "__main__":
    logging.basicConfig(level="WARNING")
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
