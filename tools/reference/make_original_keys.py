"""Writes tests/fixtures/keys/original_{unet,vae,text,motion}.txt: the names Stable Diffusion 1.5 and
AnimateDiff have in their own repositories, each beside the name diffusers gives to the same tensor.

The original names are spelled out here from the structure of those repositories' modules; which
diffusers name each has is found by sending a marked dummy tensor under every name through diffusers'
own conversion. The diffusers side is then compared with the names and shapes its classes have.
"""
import pathlib

import torch
from diffusers import AutoencoderKL, MotionAdapter, UNet2DConditionModel
from diffusers.loaders import single_file_utils as convert
from transformers import CLIPTextConfig, CLIPTextModel

KEYS = pathlib.Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "keys"
WIDTHS = (320, 640, 1280, 1280)
ATTENTION = (True, True, True, False)
VAE = (128, 256, 512, 512)


def both(name, weight_shape, bias=True):
    yield name + ".weight", weight_shape
    if bias:
        yield name + ".bias", weight_shape[:1]


def unet_resnet(name, cin, cout):
    yield from both(name + ".in_layers.0", (cin,))
    yield from both(name + ".in_layers.2", (cout, cin, 3, 3))
    yield from both(name + ".emb_layers.1", (cout, 1280))
    yield from both(name + ".out_layers.0", (cout,))
    yield from both(name + ".out_layers.3", (cout, cout, 3, 3))
    if cin != cout:
        yield from both(name + ".skip_connection", (cout, cin, 1, 1))


def transformer(name, c):
    yield from both(name + ".norm", (c,))
    yield from both(name + ".proj_in", (c, c, 1, 1))
    block = name + ".transformer_blocks.0"
    for attention, context in (("attn1", c), ("attn2", 768)):
        yield from both(f"{block}.{attention}.to_q", (c, c), bias=False)
        yield from both(f"{block}.{attention}.to_k", (c, context), bias=False)
        yield from both(f"{block}.{attention}.to_v", (c, context), bias=False)
        yield from both(f"{block}.{attention}.to_out.0", (c, c))
    yield from both(block + ".ff.net.0.proj", (8 * c, c))
    yield from both(block + ".ff.net.2", (c, 4 * c))
    for n in (1, 2, 3):
        yield from both(f"{block}.norm{n}", (c,))
    yield from both(name + ".proj_out", (c, c, 1, 1))


def unet_names():
    yield from both("time_embed.0", (1280, 320))
    yield from both("time_embed.2", (1280, 1280))
    yield from both("input_blocks.0.0", (320, 4, 3, 3))
    n, c, skips = 1, 320, [320]
    for level, width in enumerate(WIDTHS):
        for _ in range(2):
            yield from unet_resnet(f"input_blocks.{n}.0", c, width)
            if ATTENTION[level]:
                yield from transformer(f"input_blocks.{n}.1", width)
            c, n = width, n + 1
            skips.append(c)
        if level < 3:
            yield from both(f"input_blocks.{n}.0.op", (c, c, 3, 3))
            n += 1
            skips.append(c)
    yield from unet_resnet("middle_block.0", c, c)
    yield from transformer("middle_block.1", c)
    yield from unet_resnet("middle_block.2", c, c)
    n = 0
    for level in reversed(range(4)):
        width = WIDTHS[level]
        for layer in range(3):
            yield from unet_resnet(f"output_blocks.{n}.0", c + skips.pop(), width)
            c, child = width, 1
            if ATTENTION[level]:
                yield from transformer(f"output_blocks.{n}.1", width)
                child = 2
            if level > 0 and layer == 2:
                yield from both(f"output_blocks.{n}.{child}.conv", (c, c, 3, 3))
            n += 1
    yield from both("out.0", (320,))
    yield from both("out.2", (4, 320, 3, 3))


def vae_resnet(name, cin, cout):
    yield from both(name + ".norm1", (cin,))
    yield from both(name + ".conv1", (cout, cin, 3, 3))
    yield from both(name + ".norm2", (cout,))
    yield from both(name + ".conv2", (cout, cout, 3, 3))
    if cin != cout:
        yield from both(name + ".nin_shortcut", (cout, cin, 1, 1))


def vae_mid(name):
    yield from vae_resnet(name + ".mid.block_1", 512, 512)
    yield from both(name + ".mid.attn_1.norm", (512,))
    for part in ("q", "k", "v", "proj_out"):
        yield from both(f"{name}.mid.attn_1.{part}", (512, 512, 1, 1))
    yield from vae_resnet(name + ".mid.block_2", 512, 512)


def vae_names():
    yield from both("encoder.conv_in", (128, 3, 3, 3))
    c = 128
    for level, width in enumerate(VAE):
        for layer in range(2):
            yield from vae_resnet(f"encoder.down.{level}.block.{layer}", c, width)
            c = width
        if level < 3:
            yield from both(f"encoder.down.{level}.downsample.conv", (c, c, 3, 3))
    yield from vae_mid("encoder")
    yield from both("encoder.norm_out", (512,))
    yield from both("encoder.conv_out", (8, 512, 3, 3))
    yield from both("decoder.conv_in", (512, 4, 3, 3))
    yield from vae_mid("decoder")
    c = 512
    for level in reversed(range(4)):
        width = VAE[level]
        for layer in range(3):
            yield from vae_resnet(f"decoder.up.{level}.block.{layer}", c, width)
            c = width
        if level > 0:
            yield from both(f"decoder.up.{level}.upsample.conv", (c, c, 3, 3))
    yield from both("decoder.norm_out", (128,))
    yield from both("decoder.conv_out", (3, 128, 3, 3))
    yield from both("quant_conv", (8, 8, 1, 1))
    yield from both("post_quant_conv", (4, 4, 1, 1))


def motion_module(name, c):
    t = name + ".temporal_transformer"
    yield from both(t + ".norm", (c,))
    yield from both(t + ".proj_in", (c, c))
    block = t + ".transformer_blocks.0"
    for n in (0, 1):
        for part in ("to_q", "to_k", "to_v"):
            yield from both(f"{block}.attention_blocks.{n}.{part}", (c, c), bias=False)
        yield from both(f"{block}.attention_blocks.{n}.to_out.0", (c, c))
        yield f"{block}.attention_blocks.{n}.pos_encoder.pe", (1, 32, c)
        yield from both(f"{block}.norms.{n}", (c,))
    yield from both(block + ".ff.net.0.proj", (8 * c, c))
    yield from both(block + ".ff.net.2", (c, 4 * c))
    yield from both(block + ".ff_norm", (c,))
    yield from both(t + ".proj_out", (c, c))


def motion_names():
    for i, width in enumerate(WIDTHS):
        for j in range(2):
            yield from motion_module(f"down_blocks.{i}.motion_modules.{j}", width)
    yield from motion_module("mid_block.motion_modules.0", 1280)  # v2 alone
    for i, width in enumerate(reversed(WIDTHS)):
        for j in range(3):
            yield from motion_module(f"up_blocks.{i}.motion_modules.{j}", width)


def marked(names):
    """A tensor of each name's rank, mostly of size 1, that carries the name's number."""
    out = {}
    for number, (name, shape) in enumerate(names):
        size = (1,) * len(shape)
        out[name] = torch.full(size, float(number))
    return out


def pairs(names, converted):
    order = [name for name, _ in names]
    return {order[int(t.flatten()[0])]: new for new, t in converted.items()}


def write(file, names, mapping, shapes):
    lines = []
    for original, shape in names:
        new = mapping.get(original)
        if new is None:
            assert original.endswith("pos_encoder.pe"), original  # diffusers recomputes them
            continue
        assert new in shapes, (original, new)
        stored = tuple(shapes[new])
        assert tuple(d for d in stored) == tuple(shape) or (
            tuple(shape)[:2] == stored and tuple(shape)[2:] == (1, 1)), (original, shape, stored)
        lines.append(f"{original} {new} [{', '.join(str(d) for d in shape)}]\n")
    left = set(shapes) - set(mapping.values())
    assert not {n for n in left if not n.endswith("pos_embed.pe")}, left
    (KEYS / file).write_text("".join(lines))
    print(file, len(lines))


def shapes_of(make):
    with torch.device("meta"):
        return {name: t.shape for name, t in make().state_dict().items()}


def main():
    unet = list(unet_names())
    config = {"layers_per_block": 2, "class_embed_type": None, "addition_embed_type": None}
    prefixed = {f"model.diffusion_model.{n}": t for n, t in marked(unet).items()}
    write("original_unet.txt", unet, pairs(unet, convert.convert_ldm_unet_checkpoint(prefixed, config)),
          shapes_of(lambda: UNet2DConditionModel(cross_attention_dim=768)))
    vae = list(vae_names())
    prefixed = {f"first_stage_model.{n}": t for n, t in marked(vae).items()}
    config = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
    write("original_vae.txt", vae, pairs(vae, convert.convert_ldm_vae_checkpoint(prefixed, config)),
          shapes_of(lambda: AutoencoderKL(
              down_block_types=config["down_block_types"], up_block_types=config["up_block_types"],
              block_out_channels=VAE, layers_per_block=2, latent_channels=4)))
    text_config = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
                                 num_attention_heads=12)
    shapes = shapes_of(lambda: CLIPTextModel(text_config))
    # The original repository held transformers 4's CLIPTextModel itself, prefix and all.
    text = [(name if name.startswith("text_model.") else "text_model." + name, s)
            for name, s in shapes.items() if not name.endswith("position_ids")]
    prefixed = {f"cond_stage_model.transformer.{n}": t for n, t in marked(text).items()}
    converted = convert.convert_ldm_clip_checkpoint(prefixed)
    write("original_text.txt", text, pairs(text, converted),
          {name if name.startswith("text_model.") else "text_model." + name: s
           for name, s in shapes.items() if not name.endswith("position_ids")})
    motion = list(motion_names())
    write("original_motion.txt", motion,
          pairs(motion, convert.convert_animatediff_checkpoint_to_diffusers(marked(motion))),
          shapes_of(lambda: MotionAdapter(use_motion_mid_block=True, motion_max_seq_length=32)))


if __name__ == "__main__":
    main()
