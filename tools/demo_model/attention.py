"""What is quick in training: of two attention backends the quicker for a motion module's many short sequences, and on a CPU
plain products for all attention and the gated linear layers apart."""
import time
import types

import torch
import torch.nn.functional as F
from diffusers.models.activations import GEGLU


class Processor:
    """Plain attention without masks or norms, as the demo checkpoint uses it (diffusers' interface)."""

    def __init__(self, fused=True):
        self.fused = fused

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None,
                 **unused):
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        batch, length, _ = hidden_states.shape
        q, k, v = attn.to_q(hidden_states), attn.to_k(source), attn.to_v(source)
        size = q.shape[-1] // attn.heads
        q, k, v = (x.view(batch, -1, attn.heads, size).transpose(1, 2) for x in (q, k, v))
        out = attend(q, k, v, self.fused).transpose(1, 2).reshape(batch, length, -1)
        return attn.to_out[0](out)


def attend(q, k, v, fused):
    if fused:
        return F.scaled_dot_product_attention(q, k, v)
    weights = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2)).softmax(-1)
    return torch.matmul(weights, v)


@torch.enable_grad()
def _seconds(fused, shape, dtype):
    q, k, v = (torch.randn(shape, device="cuda", dtype=dtype, requires_grad=True) for _ in range(3))
    best = float("inf")
    for _ in range(4):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(4):
            attend(q, k, v, fused).sum().backward()
        torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - start) / 4)
    return best


def install(model, dtype, clips, log, frames=16, positions=256, heads=4, size=16):
    """Prepares a U-Net for this device: on a GPU motion modules get the attention that is quicker there, on a CPU everything
    is plain products."""
    fused = gpu = next(model.parameters()).is_cuda
    if gpu:
        shape = (clips * positions, heads, frames, size)
        times = {f: _seconds(f, shape, dtype) for f in (True, False)}
        fused = times[True] <= times[False]
        log("attention", fused_ms=round(1e3 * times[True], 2), plain_ms=round(1e3 * times[False], 2))
    model.set_attn_processor({name: Processor(fused if "motion_modules" in name else gpu)
                              for name in model.attn_processors})
    if not gpu:
        for module in model.modules():
            if isinstance(module, GEGLU):
                module.forward = types.MethodType(halves, module)


def halves(module, x):
    """GEGLU as two products: a CPU spends long on taking one product apart and its gradient together."""
    (value, gate), (value_bias, gate_bias) = module.proj.weight.chunk(2), module.proj.bias.chunk(2)
    return F.linear(x, value, value_bias) * F.gelu(F.linear(x, gate, gate_bias))
