"""Writes tests/fixtures/checkpoints: tiny but complete AnimateDiff folders with random weights.

diffusers and transformers save every network file; only tokenizer files (classic layout, which
transformers 5 no longer writes), the old attention names of one VAE and model_index.json are
written here; two text encoders keep the tensor names of transformers 4. Weights are seeded, then the output layers are set so that a whole sampling run stays
of order one (see fit_prediction): otherwise rounding would grow twenty-five-fold on the way.
"""
import argparse
import json
import shutil

import safetensors.torch
import torch
from diffusers import (AutoencoderKL, AutoencoderTiny, DDIMScheduler, MotionAdapter, PNDMScheduler,
                       UNet2DConditionModel, UNetMotionModel)
from transformers import CLIPTextConfig, CLIPTextModel

import tokenizer

OUT = tokenizer.FIXTURES / "checkpoints"
TINY_MERGES = 512
CONTEXT = 32
RIDGE = 2e-1
# Last layers of residual branches: half size, so that the input still shows in the last features.
RESIDUAL_ENDS = ("conv2.weight", "proj_out.weight", "to_out.0.weight", "ff.net.2.weight")


def keep_input_visible(unet):
    """Carries x and -x to the last features (SiLU(a) - SiLU(-a) = a), else no readout finds x there."""
    first, last = unet.conv_in.weight.data, unet.up_blocks[-1].resnets[-1].conv_shortcut.weight.data
    first *= 0.5
    skip = last.shape[1] - first.shape[0]  # the last concatenation ends with conv_in's output
    last[:, :skip] *= 0.5
    for channel in range(8):
        first[channel, channel % 4, 1, 1] += 1.5 if channel < 4 else -1.5
        last[channel, skip + channel] += 1.5


def randomise(module, seed):
    """Every parameter random, sized so that activations keep their variance."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in module.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if "embedding" in name and p.ndim == 2 and "linear" not in name:
            p.data = 0.7 * noise
        elif p.ndim >= 2:
            p.data = noise / (p.numel() / p.shape[0]) ** 0.5
            if any(end in name for end in RESIDUAL_ENDS):
                p.data *= 0.5
        elif name.endswith("bias"):
            p.data = 0.1 * noise
        else:
            p.data = 1 + 0.1 * noise
    if isinstance(module, (UNetMotionModel, UNet2DConditionModel)):
        keep_input_visible(module)
    return module.eval()


def unet_inputs(unet, generator, count):
    """Noisy latents of unit variance at spread timesteps; clean part and noise independent."""
    betas = torch.linspace(0.00085, 0.012, 1000, dtype=torch.float64)
    abar = torch.cumprod(1 - betas, 0)
    for i in range(count):
        t = 999 - (i * 997) // count
        x = torch.randn(1, 4, 4, 12, 10, generator=generator)
        context = torch.randn(1, 9, CONTEXT, generator=generator).repeat(4, 1, 1)
        yield x, t, context, float((1 - abar[t]) ** 0.5)


@torch.no_grad()
def fit_prediction(unet, seed, v_prediction):
    """Sets conv_out so that the network predicts roughly the noise a Gaussian latent holds.

    For epsilon: least squares of sigma_t * x from the last features, plus a random part (what
    makes the output depend on everything else). For v the best guess is zero: random part alone.
    """
    generator = torch.Generator().manual_seed(seed)
    features, targets = [], []
    hook = unet.conv_out.register_forward_pre_hook(lambda _, args: features.append(args[0]))
    for x, t, context, sigma in unet_inputs(unet, generator, 12):
        unet(x, t, encoder_hidden_states=context)
        targets.append(sigma * x.permute(0, 2, 1, 3, 4).reshape(-1, 4, 12, 10))
    hook.remove()
    patches = torch.nn.functional.unfold(torch.cat(features), 3, padding=1)  # [N, C*9, h*w]
    patches = patches.transpose(1, 2).reshape(-1, patches.shape[1]).double()
    wanted = torch.cat(targets).flatten(2).transpose(1, 2).reshape(-1, 4).double()
    rand = torch.randn(patches.shape[1], 4, generator=generator).double()
    rand *= (0.35 if v_prediction else 0.1) / (patches @ rand).std()
    fitted = torch.zeros_like(rand)
    if not v_prediction:
        gram = patches.T @ patches + RIDGE * len(patches) * torch.eye(patches.shape[1]).double()
        fitted = torch.linalg.solve(gram, patches.T @ wanted)
        residual = (patches @ fitted - wanted).std() / wanted.std()
        print(f"  prediction fit leaves {residual:.3f} of the target")
    weight = (fitted + rand).T.reshape(4, -1, 3, 3)
    unet.conv_out.weight.data = weight.float().contiguous()
    unet.conv_out.bias.data = 0.05 * torch.randn(4, generator=generator)


@torch.no_grad()
def fit_vae(vae, seed):
    """Scales the last layers: moments of order one before scaling_factor, pixels mostly inside [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    image = torch.rand(2, 3, 6 * factor, 6 * factor, generator=generator) * 2 - 1
    latent = torch.randn(2, 4, 6, 6, generator=generator)
    if isinstance(vae, AutoencoderKL):
        encoded, encoder_last = vae.encode(image).latent_dist.mean, vae.quant_conv
        target, decoder_last = 1 / vae.config.scaling_factor, vae.decoder.conv_out
        latent = latent / vae.config.scaling_factor
        encoder_last.weight.data[:4] *= target / encoded.std()
    else:
        encoded, encoder_last = vae.encode(image).latents, vae.encoder.layers[-1]
        decoder_last = vae.decoder.layers[-1]
        encoder_last.weight.data *= 1 / encoded.std()
    decoded = vae.decode(latent).sample
    decoder_last.weight.data *= 0.4 / decoded.std()
    if not isinstance(vae, AutoencoderKL):
        decoder_last.bias.data += 0.5


def kl(channels, seed, **extra):
    blocks = len(channels)
    vae = AutoencoderKL(block_out_channels=channels, down_block_types=["DownEncoderBlock2D"] * blocks,
                        up_block_types=["UpDecoderBlock2D"] * blocks, norm_num_groups=4, latent_channels=4,
                        layers_per_block=1, sample_size=64, **extra)
    fit_vae(randomise(vae, seed), seed)
    return vae


def tiny_vae(seed):
    channels = (16, 16, 16)
    vae = AutoencoderTiny(encoder_block_out_channels=channels, decoder_block_out_channels=channels,
                          num_encoder_blocks=(1, 1, 2), num_decoder_blocks=(2, 1, 1))
    fit_vae(randomise(vae, seed), seed)
    return vae


def text_encoder(act, layers, seed):
    vocab = 512 + TINY_MERGES + 2
    config = CLIPTextConfig(vocab_size=vocab, hidden_size=CONTEXT, intermediate_size=64, num_hidden_layers=layers,
                            num_attention_heads=4, max_position_embeddings=77, hidden_act=act,
                            bos_token_id=0, eos_token_id=2, pad_token_id=1, projection_dim=CONTEXT)
    return randomise(CLIPTextModel(config), seed)


def motion_unet(seed, v_prediction=False, **config):
    defaults = dict(cross_attention_dim=CONTEXT, norm_num_groups=8, sample_size=16)
    unet = randomise(UNetMotionModel(**{**defaults, **config}), seed)
    fit_prediction(unet, seed, v_prediction)
    return unet


def plain_unet_and_adapter(seed, unet_config, adapter_config):
    unet = randomise(UNet2DConditionModel(cross_attention_dim=CONTEXT, norm_num_groups=8, sample_size=16,
                                          **unet_config), seed)
    adapter = randomise(MotionAdapter(motion_norm_num_groups=8, **adapter_config), seed + 1)
    whole = UNetMotionModel.from_unet2d(unet, adapter).eval()
    fit_prediction(whole, seed, False)
    unet.conv_out.load_state_dict(whole.conv_out.state_dict())
    return unet, adapter


def linear_ddim(**extra):
    return DDIMScheduler(**{**dict(beta_start=0.00085, beta_end=0.012, beta_schedule="linear", clip_sample=False,
                                   timestep_spacing="linspace", steps_offset=1), **extra})


def old_attention_names(path):
    """Renames a VAE file's attention tensors to the spelling of Stable Diffusion 1.x files."""
    renames = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    tensors = {}
    for name, value in safetensors.torch.load_file(path).items():
        for new, old in renames.items():
            name = name.replace(new, old) if "attentions.0" in name else name
        tensors[name] = value
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})


def old_text_names(path):
    """The spelling of transformers 4 and earlier: a `text_model.` prefix and a position_ids buffer."""
    tensors = {"text_model." + name: value for name, value in safetensors.torch.load_file(path).items()}
    tensors["text_model.embeddings.position_ids"] = torch.arange(77).unsqueeze(0)
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})


def write(name, unet, vae, text, scheduler, adapter=None, pad=tokenizer.END, map_style="string",
          variant=None, shard=None):
    print(name)
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    parts = {"unet": unet, "vae": vae, "text_encoder": text, **({"motion_adapter": adapter} if adapter else {})}
    for part, module in parts.items():
        module = module.half() if variant == "fp16" else module
        kwargs = {"max_shard_size": shard} if shard and part == "unet" else {}
        if part == "text_encoder" and variant:
            # transformers 5 ignores `variant` for single files on some paths; the name is what counts.
            module.save_pretrained(folder / part)
            (folder / part / "model.safetensors").rename(folder / part / f"model.{variant}.safetensors")
        else:
            module.save_pretrained(folder / part, **({"variant": variant} if variant else {}), **kwargs)
    scheduler.save_pretrained(folder / "scheduler")
    if isinstance(scheduler, PNDMScheduler):  # Stable Diffusion 1.x files hold this key of another class
        path = folder / "scheduler" / "scheduler_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "clip_sample": False}, indent=2) + "\n")
    merges = tokenizer.public_merges()[:TINY_MERGES]
    tokenizer.write_vocabulary(folder / "tokenizer", merges)
    tokenizer.write_config(folder / "tokenizer", pad, map_style)
    index = {"_class_name": "AnimateDiffPipeline" if not adapter else "StableDiffusionPipeline",
             "_diffusers_version": "0.42.1",
             "scheduler": ["diffusers", type(scheduler).__name__],
             "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
             "unet": ["diffusers", type(unet).__name__], "vae": ["diffusers", type(vae).__name__],
             **({"feature_extractor": [None, None], "image_encoder": [None, None],
                 "motion_adapter": [None, None]} if not adapter else
                {"feature_extractor": [None, None], "safety_checker": [None, None]})}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)


def unetmotion3():
    unet = motion_unet(11, block_out_channels=(16, 32, 32), layers_per_block=1,
                       down_block_types=("CrossAttnDownBlockMotion", "CrossAttnDownBlockMotion", "DownBlockMotion"),
                       up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion", "CrossAttnUpBlockMotion"),
                       num_attention_heads=2, motion_num_attention_heads=4, motion_max_seq_length=32,
                       use_motion_mid_block=True)
    write("unetmotion3", unet, kl((8, 8, 16, 16), 12), text_encoder("quick_gelu", 2, 13), linear_ddim())


def unet2d_adapter_v2():
    unet, adapter = plain_unet_and_adapter(
        21, dict(block_out_channels=(16, 32), layers_per_block=2, attention_head_dim=4,
                 down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                 up_block_types=("UpBlock2D", "CrossAttnUpBlock2D")),
        dict(block_out_channels=(16, 32), motion_layers_per_block=2, motion_num_attention_heads=2,
             motion_max_seq_length=32, use_motion_mid_block=True))
    scheduler = PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="linear", skip_prk_steps=True,
                              steps_offset=1, set_alpha_to_one=False, timestep_spacing="leading")
    write("unet2d_adapter_v2", unet, kl((8, 16, 16), 22), text_encoder("quick_gelu", 3, 23), scheduler, adapter)
    old_attention_names(OUT / "unet2d_adapter_v2" / "vae" / "diffusion_pytorch_model.safetensors")
    old_text_names(OUT / "unet2d_adapter_v2" / "text_encoder" / "model.safetensors")


def unet2d_adapter_v3():
    unet, adapter = plain_unet_and_adapter(
        31, dict(block_out_channels=(16, 24, 32), layers_per_block=1, attention_head_dim=[2, 3, 4],
                 use_linear_projection=True,
                 down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
                 up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D")),
        dict(block_out_channels=(16, 24, 32), motion_layers_per_block=1, motion_num_attention_heads=8,
             motion_max_seq_length=32, use_motion_mid_block=False))
    write("unet2d_adapter_v3", unet, tiny_vae(32), text_encoder("gelu", 2, 33),
          linear_ddim(timestep_spacing="trailing", beta_schedule="scaled_linear"), adapter, pad="!", map_style="object")


def fp16():
    unet = motion_unet(41, block_out_channels=(16, 32), layers_per_block=1, num_attention_heads=2,
                       down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
                       up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion"),
                       motion_num_attention_heads=8, motion_max_seq_length=24, use_motion_mid_block=False)
    write("fp16", unet, kl((8, 16, 16), 42), text_encoder("quick_gelu", 2, 43),
          linear_ddim(timestep_spacing="leading"), variant="fp16")
    old_text_names(OUT / "fp16" / "text_encoder" / "model.fp16.safetensors")


def sharded():
    unet = motion_unet(51, v_prediction=True, block_out_channels=(24, 32), layers_per_block=1,
                       num_attention_heads=4,
                       down_block_types=("DownBlockMotion", "CrossAttnDownBlockMotion"),
                       up_block_types=("CrossAttnUpBlockMotion", "UpBlockMotion"),
                       motion_num_attention_heads=4, motion_max_seq_length=32, use_motion_mid_block=True)
    write("sharded", unet, kl((8, 16, 16), 52), text_encoder("gelu", 2, 53),
          linear_ddim(prediction_type="v_prediction", beta_schedule="scaled_linear", timestep_spacing="leading"),
          shard="300KB")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="only these")
    makers = [unetmotion3, unet2d_adapter_v2, unet2d_adapter_v3, fp16, sharded]
    wanted = parser.parse_args().names
    for make in makers:
        if not wanted or make.__name__ in wanted:
            make()


if __name__ == "__main__":
    main()
