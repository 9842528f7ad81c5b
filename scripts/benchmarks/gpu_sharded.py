"""A training step under FSDP2, for Accelerate's launcher: `gpu_training.sharded` starts it, and reads the last line.

The loss of one batch is compared with that of the same weights before they were sharded.
"""

import argparse
import json

import torch
from accelerate import Accelerator, DistributedType
from accelerate.state import PartialState
from torch.distributed.fsdp import FSDPModule

from pbrec_hf.training.optimizer import build_optimizer

from .gpu_timing import Bench, operations_of
from .train_step import CONFIG, OUR_LENGTH, new_batch, new_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), required=True)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    bench = Bench(options.device, options.tiny, options.repeats)
    if not bench.on_gpu:
        # Accelerate shards on accelerators alone. For the self-test it takes gloo's CPU for one.
        PartialState(cpu=True).distributed_type = DistributedType.MULTI_XPU
    print(json.dumps(measure(bench)))


def measure(bench: Bench) -> dict[str, float | None]:
    """Seconds, expressions, operations and GiB of a step, the loss, and the loss without sharding."""
    accelerator = Accelerator()
    model = new_model(bench.size, bench.canvas, "sdpa").to(bench.device)
    batch = new_batch(bench.batch, 4, bench.canvas, OUR_LENGTH)
    batch["image_index"] = torch.arange(bench.batch).repeat_interleave(4)
    inputs = {name: value.to(bench.device) for name, value in batch.items()}
    model.eval()  # without dropout, to compare
    with torch.no_grad(), torch.autocast(bench.device.type, torch.bfloat16):
        expected = float(model(**inputs).loss)
    model.train()
    with torch.autocast(bench.device.type, torch.bfloat16):
        operations = operations_of(lambda: model(**inputs).loss.backward())
    model.zero_grad()
    model, optimizer = accelerator.prepare(model, build_optimizer(model, CONFIG))
    if not isinstance(model, FSDPModule):
        raise RuntimeError(f"Accelerate did not shard the model: its type is {accelerator.distributed_type}.")
    model.eval()
    with torch.no_grad():
        loss = float(model(**inputs).loss)
    model.train()
    bench.free()

    def step() -> None:
        accelerator.backward(model(**inputs).loss)
        optimizer.step()
        optimizer.zero_grad()

    seconds = bench.seconds(step)
    figures = {"seconds": seconds, "expressions": float(bench.batch * 4), "operations": operations}
    accelerator.end_training()
    return {**figures, "memory": bench.memory(), "loss": loss, "expected": expected}


if __name__ == "__main__":
    main()
