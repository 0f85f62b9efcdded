"""The demo checkpoint's networks: sizes, building, and reading and writing in diffusers' layout."""
import json
import pathlib

import torch
from diffusers import (AutoencoderTiny, DDIMScheduler, MotionAdapter, UNet2DConditionModel,
                       UNetMotionModel)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

LATENT_CHANNELS = 8
LATENT_SCALE = 16  # picture pixels per latent pixel
SAMPLE_SIZE = 16
CHANNELS = (64, 128)
TEXT_WIDTH = 128
WINDOW = 16
KNOWN_LORA = "known_frames.safetensors"  # the LoRA for jobs with known frames
TEXT_PREFIX = "text_model."  # as published CLIP checkpoints name their weights
GROUPS = 16

SCHEDULE = dict(num_train_timesteps=1000, beta_start=1e-4, beta_end=2e-2, beta_schedule="linear",
                prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=True,
                steps_offset=0, timestep_spacing="trailing")


def build_vae():
    vae = AutoencoderTiny(
        encoder_block_out_channels=(32,) * 5, num_encoder_blocks=(0, 1, 2, 2, 2),
        decoder_block_out_channels=(32,) * 5, num_decoder_blocks=(3, 3, 2, 1, 0),
        latent_channels=LATENT_CHANNELS, scaling_factor=1.0)
    for module in vae.modules():  # no norms: start with unit gain and nearly empty residual branches
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
    for name, module in vae.named_modules():
        if name.endswith(".conv.4") or name.endswith(f"layers.{len(vae.decoder.layers) - 1}"):
            module.weight.data.mul_(0.2)
    return vae


def build_unet():
    unet = UNet2DConditionModel(
        sample_size=SAMPLE_SIZE, in_channels=LATENT_CHANNELS, out_channels=LATENT_CHANNELS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=CHANNELS, layers_per_block=1, norm_num_groups=GROUPS,
        cross_attention_dim=TEXT_WIDTH, attention_head_dim=4)
    torch.nn.init.zeros_(unet.conv_out.weight)
    return unet


def build_adapter():
    adapter = MotionAdapter(
        block_out_channels=CHANNELS, motion_layers_per_block=1, motion_num_attention_heads=4,
        motion_norm_num_groups=GROUPS, motion_max_seq_length=32, use_motion_mid_block=False)
    for name, value in adapter.named_parameters():
        if ".proj_out." in name:  # an untrained motion module changes nothing
            torch.nn.init.zeros_(value)
    return adapter


def build_text_encoder(vocabulary):
    return CLIPTextModel(CLIPTextConfig(
        vocab_size=vocabulary, hidden_size=TEXT_WIDTH, intermediate_size=4 * TEXT_WIDTH,
        num_hidden_layers=4, num_attention_heads=4, max_position_embeddings=77, hidden_act="quick_gelu",
        bos_token_id=vocabulary - 2, eos_token_id=vocabulary - 1, pad_token_id=vocabulary - 1,
        projection_dim=TEXT_WIDTH))


def build_scheduler():
    return DDIMScheduler(**SCHEDULE)


def alphas_cumprod(device="cpu"):
    """The running product that training and samplers share, from the same float32 betas."""
    return build_scheduler().alphas_cumprod.to(device)


def join(unet, adapter):
    """UNetMotionModel whose spatial weights are `unet`'s and whose motion modules are `adapter`'s."""
    return UNetMotionModel.from_unet2d(unet, adapter)


def split_state(state):
    """Divides a UNetMotionModel's state into (UNet2DConditionModel's, MotionAdapter's)."""
    motion = {k: v for k, v in state.items() if ".motion_modules." in k}
    return {k: v for k, v in state.items() if k not in motion}, motion


PIPELINE_INDEX = {
    "_class_name": "AnimateDiffPipeline",
    "feature_extractor": [None, None], "image_encoder": [None, None],
    "motion_adapter": ["diffusers", "MotionAdapter"], "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderTiny"],
}


def _tidy_configs(folder):
    """Configuration files say nothing about where they were made; everybody may read the weights."""
    for path in pathlib.Path(folder).rglob("*.safetensors"):
        path.chmod(0o644)
    for path in sorted(pathlib.Path(folder).rglob("*.json")):
        if path.name in ("vocab.json", "tokenizer.json"):
            continue
        content = json.loads(path.read_text())
        content.pop("_name_or_path", None)
        path.write_text(json.dumps(content, indent=2) + "\n")


def save_checkpoint(folder, vae, text, unet_state, tokenizer_folder=None):
    """Writes the whole checkpoint in fp16. `unet_state` is a UNetMotionModel's state (or just the
    spatial part with an untrained adapter)."""
    folder = pathlib.Path(folder)
    unet, adapter = build_unet(), build_adapter()
    spatial, motion = split_state(unet_state)
    unet.load_state_dict(spatial)
    if motion:
        adapter.load_state_dict(motion)
    for name, model in (("vae", vae), ("text_encoder", text), ("unet", unet),
                        ("motion_adapter", adapter)):
        model = type(model)(model.config) if name == "text_encoder" else type(model).from_config(
            model.config)
        source = {"vae": vae, "text_encoder": text, "unet": unet, "motion_adapter": adapter}[name]
        model.load_state_dict(source.state_dict())
        model.to(torch.float16).save_pretrained(folder / name)
    path = folder / "text_encoder" / "model.safetensors"
    state = {TEXT_PREFIX + k.removeprefix(TEXT_PREFIX): v for k, v in load_file(path).items()}
    save_file(state, path, metadata={"format": "pt"})
    build_scheduler().save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps(PIPELINE_INDEX, indent=2) + "\n")
    if tokenizer_folder and pathlib.Path(tokenizer_folder) != folder / "tokenizer":
        (folder / "tokenizer").mkdir(parents=True, exist_ok=True)
        for path in pathlib.Path(tokenizer_folder).iterdir():
            (folder / "tokenizer" / path.name).write_bytes(path.read_bytes())
    lora = (folder / KNOWN_LORA).exists()
    save_suggestions(folder, {**SUGGESTIONS, **(dict(known_frames=KNOWN_FRAMES) if lora else {})})
    _tidy_configs(folder)


def load_tokenizer(folder):
    return CLIPTokenizer.from_pretrained(str(folder))


def load_text(module, state):
    """Loads a text encoder's state whether or not this transformers version prefixes its names."""
    prefix = TEXT_PREFIX if any(k.startswith(TEXT_PREFIX) for k in module.state_dict()) else ""
    module.load_state_dict({prefix + k.removeprefix(TEXT_PREFIX): v for k, v in state.items()})


def save_state(path, **parts):
    """One safetensors file holding several state dicts under 'part/' prefixes."""
    flat = {f"{part}/{k}": v.detach().contiguous().cpu() for part, state in parts.items()
            for k, v in state.items()}
    path = pathlib.Path(path)
    temporary = path.with_name("." + path.name)
    save_file(flat, temporary)
    temporary.rename(path)


def load_state(path):
    parts = {}
    for key, value in load_file(path).items():
        part, _, name = key.partition("/")
        parts.setdefault(part, {})[name] = value
    return parts


# What seamwright takes where a request leaves a choice open (its name for the file; diffusers ignores it).
SUGGESTIONS = {"steps": 20, "guidance": 3, "sampler": "ddim", "coherence": "local", "overlap": 8}
KNOWN_FRAMES = {"read": "clean", "lora": KNOWN_LORA, "window": 2 * WINDOW, "overlap": WINDOW, "guidance": 2}
FEW_STEP_SUGGESTIONS = {"steps": 4, "guidance": 1, "video_guidance": 2,
                        **{k: SUGGESTIONS[k] for k in ("sampler", "coherence", "overlap")}}
SHARED_PARTS = ("model_index.json", "scheduler", "text_encoder", "tokenizer", "vae")


def save_suggestions(folder, suggestions):
    (pathlib.Path(folder) / "seamwright.json").write_text(json.dumps(suggestions, indent=2) + "\n")


def save_few_step(folder, unet_state):
    """The few-step variant's U-Net and adapter; everything else is the main checkpoint's, by links that
    make this folder a model of its own."""
    folder = pathlib.Path(folder)
    spatial, motion = split_state(unet_state)
    for name, model, state in (("unet", build_unet(), spatial), ("motion_adapter", build_adapter(), motion)):
        model.load_state_dict(state)
        model.to(torch.float16).save_pretrained(folder / name)
    for name in SHARED_PARTS:
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(pathlib.Path("..") / name)
    save_suggestions(folder, FEW_STEP_SUGGESTIONS)
    _tidy_configs(folder)
