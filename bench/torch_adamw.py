"""The peer of `trainyard bench adam`: torch's AdamW over --n fp32 parameters in --tensors tensors, or DeepSpeed's for
CPUs (--which deepspeed, where it is installed). The last line says what the median update took."""

import argparse
import json
import os
import statistics
import time

flags = argparse.ArgumentParser()
flags.add_argument("--which", default="fused", choices=["fused", "foreach", "deepspeed"])
flags.add_argument("--n", type=int, default=50_000_000)
flags.add_argument("--tensors", type=int, default=1)
flags.add_argument("--threads", type=int, default=1)
flags.add_argument("--steps", type=int, default=15)
given = flags.parse_args()
os.environ["OMP_NUM_THREADS"] = str(given.threads)

import torch  # noqa: E402: the number of threads comes first

WARM_UP = 2
torch.set_num_threads(given.threads)
parameters = [torch.nn.Parameter(torch.randn(given.n // given.tensors) * 0.02) for _ in range(given.tensors)]
for parameter in parameters:
    parameter.grad = torch.randn_like(parameter) * 1e-3
options = dict(lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
if given.which == "deepspeed":
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    from deepspeed.ops.adam import DeepSpeedCPUAdam

    optimizer = DeepSpeedCPUAdam(parameters, adamw_mode=True, **options)
else:
    optimizer = torch.optim.AdamW(parameters, **options, **{given.which: True})

times = []
for _ in range(WARM_UP + given.steps):
    start = time.perf_counter()
    optimizer.step()
    times.append(time.perf_counter() - start)
median = statistics.median(times[WARM_UP:])
print(json.dumps(dict(peer="adamw-" + given.which, n=given.n, tensors=given.tensors, threads=given.threads,
                      ms=round(median * 1e3, 3), gb_s=round(28 * given.n / median / 1e9, 2))))
