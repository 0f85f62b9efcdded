"""Network weights in one byte each: rows of int8 with a scale per row, so that they are small enough to be committed."""
import torch


def packed(state):
    """{name: tensor} -> {name: int8 tensor, name + ':scale': float32 tensor}."""
    result = {}
    for name, value in state.items():
        rows = value.float().flatten(1) if value.dim() > 1 else value.float()[None]
        scale = rows.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
        result[name] = (rows / scale).round().to(torch.int8).view(value.shape).contiguous()
        result[f"{name}:scale"] = scale[:, 0]
    return result


def unpacked(state):
    """What `packed` was given, to within rounding."""
    result = {}
    for name, value in state.items():
        if name.endswith(":scale"):
            continue
        scale = state[f"{name}:scale"]
        result[name] = value.float() * (scale.view(-1, *[1] * (value.dim() - 1)) if value.dim() > 1 else scale)
    return result
