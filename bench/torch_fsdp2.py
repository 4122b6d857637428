"""PyTorch's side of `trainyard bench step` at ZeRO stage 3: fully_shard (FSDP2), a group for each layer, over Gloo.

    trainyard bench step --preset M --ranks 2 --set zero_optimization.stage=3 -- python3 bench/torch_fsdp2.py M 2
"""

import sys

import peer

preset, world = sys.argv[1], int(sys.argv[2])
peer.join(world)

import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.distributed.device_mesh import init_device_mesh  # noqa: E402
from torch.distributed.fsdp import fully_shard  # noqa: E402

torch.distributed.init_process_group("gloo")
mesh = init_device_mesh("cpu", (world,))
model = peer.decoder(preset)
for layer in model.layers:
    fully_shard(layer, mesh=mesh)
fully_shard(model, mesh=mesh)
optimizer = peer.adamw(model)


def step(tokens, targets):
    model(tokens, targets).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


peer.measure("torch-fsdp2", preset, world, step)
