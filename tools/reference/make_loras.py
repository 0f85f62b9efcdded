"""Writes tests/fixtures/loras: small LoRA files in every naming, and the weights diffusers has after
load_lora_weights and fuse_lora.

Base: tests/fixtures/checkpoints/unet2d_adapter_v2, loaded as an AnimateDiffPipeline. Each case is
NAME.safetensors (the LoRA) and NAME-fused.safetensors (every weight that fusing changed, in the
names of the folder's own files, prefixed unet., motion. or text.).
"""
import json

import torch
from diffusers import AnimateDiffPipeline
from safetensors.torch import load_file, save_file

import common
import tokenizer

OUT = tokenizer.FIXTURES / "loras"
BASE = "unet2d_adapter_v2"
SCALE = 0.7


def weights(pipe):
    """Everything LoRA may change, under the names of the folder's files."""
    out = {}
    for name, t in pipe.unet.state_dict().items():
        name = name.replace(".base_layer.", ".")
        if "lora_" in name:
            continue
        out[("motion." if "motion_modules" in name else "unet.") + name] = t
    stored = load_file(common.CHECKPOINTS / BASE / "text_encoder" / "model.safetensors")
    prefix = "text_model." if any(n.startswith("text_model.") for n in stored) else ""
    for name, t in pipe.text_encoder.state_dict().items():
        name = name.replace(".base_layer.", ".")
        if "lora_" in name or "position_ids" in name:
            continue
        out["text." + prefix + name.removeprefix("text_model.")] = t
    return out


class Maker:
    def __init__(self, pipe, seed):
        self.pipe = pipe
        self.generator = torch.Generator().manual_seed(seed)
        self.state = {}

    def tensor(self, *shape):
        return torch.randn(shape, generator=self.generator) * 0.3

    def halves(self, part, path, rank):
        """down and up of the layer at `path`, for its kind."""
        layer = (self.pipe.unet if part == "unet" else self.pipe.text_encoder).get_submodule(path)
        w = layer.weight
        if w.ndim == 2:
            return self.tensor(rank, w.shape[1]), self.tensor(w.shape[0], rank)
        return self.tensor(rank, *w.shape[1:]), self.tensor(w.shape[0], rank, 1, 1)


ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0"
UNET_LAYERS = [f"{ATTENTION}.attn1.to_q", f"{ATTENTION}.attn1.to_out.0", f"{ATTENTION}.attn2.to_k",
               f"{ATTENTION}.attn2.to_v"]
FEED_FORWARD = [f"{ATTENTION}.ff.net.0.proj", f"{ATTENTION}.ff.net.2"]
CONVS = ["down_blocks.0.attentions.0.proj_in", "down_blocks.0.resnets.0.conv1",
         "down_blocks.0.downsamplers.0.conv", "down_blocks.0.resnets.0.time_emb_proj"]
MOTION = "down_blocks.0.motion_modules.0.transformer_blocks.0"
MOTION_LAYERS = [f"{MOTION}.attn1.to_q", f"{MOTION}.attn1.to_out.0", f"{MOTION}.attn2.to_v"]


def text_layers(pipe):
    names = [n for n, _ in pipe.text_encoder.named_modules()]
    head = next(n for n in names if n.endswith("layers.0.self_attn")).removesuffix("layers.0.self_attn")
    return [f"{head}layers.0.self_attn.q_proj", f"{head}layers.0.self_attn.out_proj",
            f"{head}layers.1.mlp.fc1"]


def outside(path):
    """The name a text encoder's layer has in files, whichever transformers made the class."""
    return path if path.startswith("text_model.") else "text_model." + path


def kohya(pipe):
    m = Maker(pipe, 1)
    for part, prefix, layers in (("unet", "lora_unet_", UNET_LAYERS + FEED_FORWARD + CONVS),
                                 ("text", "lora_te_", text_layers(pipe))):
        for path in layers:
            down, up = m.halves(part, path, 4)
            key = prefix + (path if part == "unet" else outside(path)).replace(".", "_")
            m.state[key + ".lora_down.weight"], m.state[key + ".lora_up.weight"] = down, up
            m.state[key + ".alpha"] = torch.tensor(2.0)
    return m.state, {}


def diffusers_old(pipe):
    """Attention processors, as the first diffusers LoRA files have them."""
    m = Maker(pipe, 2)
    for path in UNET_LAYERS:
        down, up = m.halves("unet", path, 3)
        owner, leaf = path.removesuffix(".0").rsplit(".", 1)
        key = f"unet.{owner}.processor.{leaf}_lora"
        m.state[key + ".down.weight"], m.state[key + ".up.weight"] = down, up
    for path in text_layers(pipe)[:2]:
        down, up = m.halves("text", path, 3)
        key = "text_encoder." + outside(path).replace("q_proj", "to_q_lora").replace("out_proj", "to_out_lora")
        m.state[key + ".down.weight"], m.state[key + ".up.weight"] = down, up
    return m.state, {}


def diffusers_new(pipe):
    m = Maker(pipe, 3)
    for path in UNET_LAYERS + FEED_FORWARD:
        down, up = m.halves("unet", path, 2)
        m.state[f"unet.{path}.lora.down.weight"], m.state[f"unet.{path}.lora.up.weight"] = down, up
    for path in text_layers(pipe)[:2]:
        down, up = m.halves("text", path, 2)
        key = f"text_encoder.{outside(path)}.lora_linear_layer"
        m.state[key + ".down.weight"], m.state[key + ".up.weight"] = down, up
    return m.state, {}


def peft(pipe):
    """PEFT names; alphas in the file's metadata, as diffusers now writes them."""
    m = Maker(pipe, 4)
    for path in UNET_LAYERS + CONVS:
        down, up = m.halves("unet", path, 4)
        m.state[f"unet.{path}.lora_A.weight"], m.state[f"unet.{path}.lora_B.weight"] = down, up
    config = {"r": 4, "lora_alpha": 6, "target_modules": UNET_LAYERS + CONVS, "peft_type": "LORA"}
    metadata = {f"unet.{k}": v for k, v in config.items()}
    return m.state, {"lora_adapter_metadata": json.dumps(metadata)}


def motion_diffusers(pipe):
    m = Maker(pipe, 5)
    for path in MOTION_LAYERS:
        down, up = m.halves("unet", path, 4)
        owner, leaf = path.removesuffix(".0").rsplit(".", 1)
        key = f"unet.{owner}.processor.{leaf}_lora"
        m.state[key + ".down.weight"], m.state[key + ".up.weight"] = down, up
    return m.state, {}


def motion_original(pipe):
    """The names of the authors' files; diffusers is given what its conversion makes of them."""
    state, _ = motion_diffusers(pipe)
    renamed = {}
    for key, t in state.items():
        key = key.removeprefix("unet.").replace(".transformer_blocks", ".temporal_transformer.transformer_blocks")
        renamed[key.replace(".attn1", ".attention_blocks.0").replace(".attn2", ".attention_blocks.1")] = t
    return renamed, {}


def run(name, state, metadata, loaded=None):
    pipe = common.load(BASE)
    before = {n: t.clone() for n, t in weights(pipe).items()}
    OUT.mkdir(parents=True, exist_ok=True)
    state = {k: v.contiguous() for k, v in state.items()}
    save_file(state, OUT / f"{name}.safetensors", metadata or None)
    source = loaded if loaded is not None else str(OUT / f"{name}.safetensors")
    pipe.load_lora_weights(source, adapter_name="a")
    pipe.fuse_lora(lora_scale=SCALE, components=["unet", "text_encoder"])
    after = weights(pipe)
    changed = {n: t.contiguous() for n, t in after.items() if not torch.equal(t, before[n])}
    save_file(changed, OUT / f"{name}-fused.safetensors")
    layers = len([k for k in state if k.endswith(("down.weight", "lora_A.weight"))])
    print(f"{name}: {layers} layers in the file, {len(changed)} weights changed by diffusers")
    assert len(changed) == layers


def main():
    pipe = common.load(BASE)
    assert isinstance(pipe, AnimateDiffPipeline)
    for name, make in (("kohya", kohya), ("diffusers_old", diffusers_old),
                       ("diffusers_new", diffusers_new), ("peft", peft),
                       ("motion_diffusers", motion_diffusers)):
        run(name, *make(pipe))
    run("motion_original", *motion_original(pipe), loaded=dict(motion_diffusers(pipe)[0]))


if __name__ == "__main__":
    main()
