#!/usr/bin/env python3
"""Times with PyTorch, one by one, the ops that `seamwright bench unet --device cuda --report F` timed.

    tools/gpu/torch_ops.py REPORT.json [--top 60]

Prints a JSON list, the longest first: op, calls, our microseconds a call, PyTorch's (least of its ways: cuDNN's
heuristic and its search, each SDPA kernel), and which way that was. bf16, channels last, median of device events over
rotated inputs. A peer for each op, not a limit: the whole forward is compared by tools/reference/bench_torch.py.
"""
import argparse
import json
import pathlib
import re

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel


def timed(call):
    """Median microseconds of one call on the device, launch gaps hidden by a graph of ten."""
    call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(10):
            call()
    graph.replay()
    took = []
    for _ in range(5):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        took.append(begin.elapsed_time(end) * 100)
    return sorted(took)[2]


def randn(*shape):
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)


def ways_of(op):
    """{way: function} for one line of the report; empty where PyTorch has no such op."""
    shape = [int(n) for n in re.search(r"\[([\d, ]+)\]", op).group(1).split(",")]
    out = int(m.group(1)) if (m := re.search(r"-> (\d+)", op)) else None
    kind = op.split(" ")[0]
    ways = {}
    if kind.startswith("conv"):
        k, stride = int(kind[4]), 2 if "/2" in op else 1
        x = randn(shape[0], shape[3], shape[1], shape[2]).to(memory_format=torch.channels_last)
        w = randn(out, shape[3], k, k).to(memory_format=torch.channels_last)
        b = randn(out)

        def convolve(search):
            torch.backends.cudnn.benchmark = search
            F.conv2d(x, w, b, stride=stride, padding=k // 2)

        ways = {"heuristic": lambda: convolve(False), "search": lambda: convolve(True)}
    elif kind in ("linear", "geglu"):
        rows = 1
        for n in shape[:-1]:
            rows *= n
        wide = 2 * out if kind == "geglu" else out
        x, w, b = randn(rows, shape[-1]), randn(wide, shape[-1]), randn(wide)
        if kind == "linear":
            ways = {"linear": lambda: F.linear(x, w, b), "no bias": lambda: F.linear(x, w)}
        else:

            def gated():
                value, gate = F.linear(x, w, b).chunk(2, -1)
                return value * F.gelu(gate)

            ways = {"linear and gelu": gated, "product alone": lambda: F.linear(x, w)}
    elif kind == "attention" and "heads" in op:
        keys, heads = int(re.search(r"x (\d+) keys", op).group(1)), int(re.search(r"(\d+) heads", op).group(1))
        q = randn(shape[0], shape[1], heads, shape[2] // heads).transpose(1, 2)
        kv = randn(shape[0], keys, heads, shape[2] // heads).transpose(1, 2)
        for name, backend in (("flash", SDPBackend.FLASH_ATTENTION), ("cudnn", SDPBackend.CUDNN_ATTENTION),
                              ("efficient", SDPBackend.EFFICIENT_ATTENTION)):

            def attend(backend=backend):
                with sdpa_kernel(backend):
                    F.scaled_dot_product_attention(q, kv, kv)

            ways[name] = attend
    elif kind == "temporal_attention":
        heads = int(re.search(r"(\d+) heads", op).group(1))
        q = randn(shape[1], heads, shape[0], shape[2] // heads)
        ways = {"sdpa": lambda: F.scaled_dot_product_attention(q, q, q)}
    elif kind == "layer_norm":
        x, w, b = randn(*shape), randn(shape[-1]), randn(shape[-1])
        ways = {"layer_norm": lambda: F.layer_norm(x, (shape[-1],), w, b)}
    elif kind.startswith("group_norm") and len(shape) == 4:
        x = randn(shape[0], shape[3], shape[1], shape[2]).to(memory_format=torch.channels_last)
        w, b = randn(shape[3]), randn(shape[3])
        ways = {"group_norm": lambda: F.silu(F.group_norm(x, 32, w, b, 1e-5))}
    return ways


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=pathlib.Path)
    parser.add_argument("--top", type=int, default=60)
    args = parser.parse_args()
    lines = []
    for op in sorted(json.loads(args.report.read_text())["ops"], key=lambda o: -o["seconds"])[:args.top]:
        times = {}
        for way, call in ways_of(op["op"]).items():
            try:
                times[way] = round(timed(call), 1)
            except RuntimeError as error:  # a kernel that does not take this shape
                times[way] = str(error).splitlines()[0][:60]
        lines.append({"op": op["op"], "calls": op["calls"], "ours_us": round(1e6 * op["seconds"] / op["calls"], 1),
                      "torch_us": times})
        torch.cuda.empty_cache()
    print(json.dumps(lines, indent=0))


if __name__ == "__main__":
    main()
