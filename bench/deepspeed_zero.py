"""DeepSpeed's side of `trainyard bench step`: the same decoder, batch and optimizer under ZeRO, on CPUs over Gloo.

    trainyard bench step --preset M --ranks 2 --set zero_optimization.stage=1 -- python3 bench/deepspeed_zero.py M 2 1
"""

import contextlib
import logging
import os
import sys

import peer

preset, world, stage = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.environ.setdefault("DS_ACCELERATOR", "cpu")
rank = peer.join(world)

batch = peer.PRESETS[preset][-1]
config = dict(
    train_batch_size=batch,
    train_micro_batch_size_per_gpu=batch // world,
    zero_optimization=dict(stage=stage),
    optimizer=dict(type="AdamW", params=dict(lr=1e-3, betas=[0.9, 0.95], weight_decay=0.1)),
    gradient_clipping=1.0,
    steps_per_print=10**9,
)
# It talks on standard output, which is for the result.
with contextlib.redirect_stdout(sys.stderr):
    import deepspeed

    deepspeed.utils.logger.setLevel(logging.ERROR)
    deepspeed.init_distributed("gloo", rank=rank, world_size=world, verbose=False)
    model = peer.decoder(preset)
    engine, _, _, _ = deepspeed.initialize(model=model, model_parameters=model.parameters(), config=config)


def step(tokens, targets):
    engine.backward(engine(tokens, targets))
    engine.step()


peer.measure(f"deepspeed-zero-{stage}", preset, world, step)
