"""Two steps of training with weights and optimiser sharded by FSDP2, and the same without."""

import os
from pathlib import Path

import torch
from checkpoints import tiny_model
from safetensors.torch import save_file
from torch.distributed import destroy_process_group, init_process_group
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from pbrec_hf.training.config import TrainingConfig
from pbrec_hf.training.optimizer import build_optimizer


def train_sharded(folder: Path) -> None:
    """Writes the weights as `<number of processes>.safetensors`; sharded if there are several."""
    torch.set_num_threads(1)
    number = int(os.environ.get("WORLD_SIZE", 1))
    model = tiny_model()
    start = model.center_head.layers[0].weight.detach().clone()
    if number > 1:
        init_process_group("gloo")
        mesh = init_device_mesh("cpu", (number,))
        for layer in (*model.model.fusion.layers, *model.model.text_model.encoder.layer):
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
        assert isinstance(model, FSDPModule)
    optimizer = build_optimizer(model, TrainingConfig(init="a", data="b"))
    generator = torch.Generator().manual_seed(0)
    inputs = {
        "pixel_values": torch.randn(2, 3, 128, 128, generator=generator),
        "pixel_mask": torch.ones(2, 128, 128, dtype=torch.int64),
        "input_ids": torch.randint(5, 14, (3, 6), generator=generator),
        "image_index": torch.tensor([0, 1, 1]),
        "centerness_labels": torch.rand(3, 16, generator=generator),
        "massness_labels": torch.rand(3, 16, generator=generator),
    }
    for _ in range(2):
        model(**inputs).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    state = model.state_dict()
    whole = {
        name: value.full_tensor() if number > 1 and hasattr(value, "full_tensor") else value
        for name, value in state.items()
    }
    assert not torch.equal(whole["center_head.layers.0.weight"], start)
    if os.environ.get("RANK", "0") == "0":
        save_file(
            {name: value.contiguous().clone() for name, value in whole.items()}, folder / f"{number}.safetensors"
        )
    if number > 1:
        destroy_process_group()
