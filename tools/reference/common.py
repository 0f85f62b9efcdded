"""Loading the tiny checkpoints with diffusers and transformers, samplers by our names, noise injection."""
import contextlib
import json

import diffusers
import numpy as np
import torch
import transformers
from diffusers.schedulers import scheduling_euler_ancestral_discrete, scheduling_lcm
from transformers import CLIPTextModel, CLIPTokenizer

import tokenizer

diffusers.utils.logging.set_verbosity_error()
transformers.logging.set_verbosity_error()

CHECKPOINTS = tokenizer.FIXTURES / "checkpoints"
SAMPLERS = {
    "ddim": (diffusers.DDIMScheduler, {}),
    "euler": (diffusers.EulerDiscreteScheduler, {}),
    "euler_a": (diffusers.EulerAncestralDiscreteScheduler, {}),
    "dpm++_2m": (diffusers.DPMSolverMultistepScheduler, {}),
    "dpm++_2m_karras": (diffusers.DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
    "lcm": (diffusers.LCMScheduler, {}),
}
STOCHASTIC = ("euler_a", "lcm")


def load(name, dtype=torch.float32):
    """The checkpoint folder as an AnimateDiffPipeline; fp16 files are widened, never computed in."""
    folder = CHECKPOINTS / name
    kwargs = {"torch_dtype": dtype, **({"variant": "fp16"} if name == "fp16" else {})}
    vae_class = getattr(diffusers, json.loads((folder / "vae" / "config.json").read_text())["_class_name"])
    if (folder / "motion_adapter").exists():
        unet = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet", **kwargs)
        adapter = diffusers.MotionAdapter.from_pretrained(folder / "motion_adapter", torch_dtype=dtype)
        unet = diffusers.UNetMotionModel.from_unet2d(unet, adapter)
    else:
        unet = diffusers.UNetMotionModel.from_pretrained(folder / "unet", **kwargs)
    scheduler_config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    pipe = diffusers.AnimateDiffPipeline(
        vae=vae_class.from_pretrained(folder / "vae", **kwargs).to(dtype).eval(),
        text_encoder=CLIPTextModel.from_pretrained(folder / "text_encoder", **kwargs).to(dtype).eval(),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        unet=unet.to(dtype).eval(), motion_adapter=None,
        scheduler=diffusers.DDIMScheduler.from_config(scheduler_config))
    pipe.scheduler_file = scheduler_config
    pipe.set_progress_bar_config(disable=True)
    return pipe


def sampler(pipe, name):
    """What a user gets from `Class.from_config(checkpoint's own scheduler_config.json)`."""
    cls, overrides = SAMPLERS[name]
    return cls.from_config(pipe.scheduler_file, **overrides)


@contextlib.contextmanager
def injected_noise(source):
    """Inside, the stochastic schedulers take `source()` (a [1, C, F, h, w] tensor) for their random draw."""
    modules = (scheduling_euler_ancestral_discrete, scheduling_lcm)
    saved = [m.randn_tensor for m in modules]

    def draw(shape, generator=None, device=None, dtype=None, layout=None):
        noise = source()
        assert tuple(noise.shape) == tuple(shape), (noise.shape, shape)
        return noise.to(dtype)

    for m in modules:
        m.randn_tensor = draw
    try:
        yield
    finally:
        for m, old in zip(modules, saved):
            m.randn_tensor = old


def to_video(frames):
    """[F, C, h, w] (NumPy or torch) -> [1, C, F, h, w], the order the U-Net takes."""
    return torch.as_tensor(np.ascontiguousarray(frames)).permute(1, 0, 2, 3)[None]


def to_frames(video):
    """[1, C, F, h, w] -> [F, C, h, w], the order of our files."""
    return video[0].permute(1, 0, 2, 3).contiguous()


def relative_error(a, b):
    """RMS(a - b) / RMS(b)."""
    a, b = a.double(), b.double()
    return float((a - b).pow(2).mean().sqrt() / b.pow(2).mean().sqrt())


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
