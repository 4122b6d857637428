"""What the peers of `trainyard bench step` share: the decoder, the ranks, and the one line that each prints."""

import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import time

PRESETS = {"S": (256, 4, 4, 128, 16), "M": (512, 8, 8, 256, 8), "L": (1024, 12, 16, 256, 4)}
VOCABULARY, WARM_UP, STEPS = 4096, 3, 10


def join(world):
    """In the process that was started: runs itself once for each rank, and leaves. In a rank: says which one."""
    if "RANK" in os.environ:
        return int(os.environ["RANK"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    threads = str(max(1, len(os.sched_getaffinity(0)) // world))
    common = dict(WORLD_SIZE=str(world), LOCAL_WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
                  GLOO_SOCKET_IFNAME="lo", OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads)
    ranks = [subprocess.Popen([sys.executable, *sys.argv],
                              env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)})
             for rank in range(world)]
    sys.exit(max(rank.wait() for rank in ranks))


def decoder(preset):
    """The model of the preset: a Llama without biases, its loss the mean over the targets."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    width, layers, heads, length, _ = PRESETS[preset]
    hidden = -(-8 * width // 3 // 64) * 64 if (8 * width // 3) % 64 else 8 * width // 3

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.norms = nn.ModuleList(nn.RMSNorm(width, eps=1e-5) for _ in range(2))
            self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
            self.gate, self.up = (nn.Linear(width, hidden, bias=False) for _ in range(2))
            self.down = nn.Linear(hidden, width, bias=False)

        def forward(self, x, cosine, sine):
            normed = self.norms[0](x)
            q, k, v = (part(normed).unflatten(-1, (heads, -1)).transpose(1, 2)
                       for part in (self.query, self.key, self.value))
            q, k = (turn(each, cosine, sine) for each in (q, k))
            attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(attended.transpose(1, 2).flatten(2))
            normed = self.norms[1](x)
            return x + self.down(F.silu(self.gate(normed)) * self.up(normed))

    def turn(x, cosine, sine):
        left, right = x.chunk(2, -1)
        return torch.cat((left * cosine - right * sine, right * cosine + left * sine), -1)

    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(VOCABULARY, width)
            self.layers = nn.ModuleList(Layer() for _ in range(layers))
            self.norm = nn.RMSNorm(width, eps=1e-5)
            self.head = nn.Linear(width, VOCABULARY, bias=False)
            half = width // heads // 2
            angles = torch.outer(torch.arange(length), 10000.0 ** (-torch.arange(half) / half))
            self.register_buffer("cosine", angles.cos())
            self.register_buffer("sine", angles.sin())
            for parameter in self.parameters():
                if parameter.dim() > 1:
                    nn.init.normal_(parameter, 0, 0.02)

        def forward(self, tokens, targets):
            x = self.embedding(tokens)
            for layer in self.layers:
                x = layer(x, self.cosine, self.sine)
            return F.cross_entropy(self.head(self.norm(x)).flatten(0, 1), targets.flatten())

    torch.manual_seed(0)
    return Decoder()


def adamw(model):
    import torch

    return torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)


def measure(name, preset, world, step):
    """Times `step(tokens, targets)` after some to warm up; rank 0 prints the line. Does not return."""
    import torch

    _, _, _, length, batch = PRESETS[preset]
    times = []
    for _ in range(WARM_UP + STEPS):
        tokens = torch.randint(VOCABULARY, (batch // world, length + 1))
        start = time.perf_counter()
        step(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())
        times.append(time.perf_counter() - start)
    median = statistics.median(times[WARM_UP:])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if int(os.environ["RANK"]) == 0:
        print(json.dumps(dict(peer=name, world=world, preset=preset, step_ms=round(median * 1e3, 1),
                              tokens_s=round(batch * length / median, 1), peak_bytes=peak)), flush=True)
    if world > 1:
        torch.distributed.barrier()
    os._exit(0)
