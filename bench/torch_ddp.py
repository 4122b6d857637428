"""PyTorch's side of `trainyard bench step`: the same decoder, batch and optimizer under DistributedDataParallel.

    trainyard bench step --preset S --ranks 2 -- python3 bench/torch_ddp.py S 2
"""

import sys

import peer

preset, world = sys.argv[1], int(sys.argv[2])
peer.join(world)

import torch  # noqa: E402
from torch import nn  # noqa: E402

model = peer.decoder(preset)
if world > 1:
    torch.distributed.init_process_group("gloo")
    model = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
optimizer = peer.adamw(model)


def step(tokens, targets):
    model(tokens, targets).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


peer.measure("torch-ddp", preset, world, step)
