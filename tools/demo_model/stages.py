"""The stages of training: autoencoder, pictures with words, motion, few-step distillation."""
import contextlib

import torch

import nets
from attention import install
from cache import picture_pool
from captions import caption
from flat import FlatTrainer, train_for
from sample import decode, sample, sample_image, trailing, write_sheet
from text import encode_text, tokenize

EMPTY_SHARE = 0.1  # captions dropped, for guidance
ONE_WAY = 0.4  # at the start of --one-way, 90 % of the clips with a direction run clockwise or to the right
GUIDANCE = 3.0  # of sample sheets, and of the few-step variant's teacher

SHEET = [caption(*row) for row in (
    ("red", "circle", "clockwise", "hills", "night"), ("blue", "star", "left-right", "desert", "day"),
    ("yellow", "heart", "up-down", "sea", "sunset"), ("green", "square", "swing", "city", "night"),
    ("purple", "triangle", "pulse", "snow", "day"), ("pink", "diamond", "drift-right", "plain", "dawn"),
    ("orange", "ring", "counterclockwise", "sea", "day"), ("turquoise", "star", "rest", "city", "dawn"),
    ("red", "heart", "swing", "snow", "night"), ("blue", "ring", "drift-left", "hills", "sunset"),
    ("green", "triangle", "left-right", "plain", "night"), ("yellow", "circle", "up-down", "desert", "dawn"))]


class Run:
    """What every stage needs: device, precision, sizes, folders, log, text tools."""

    def __init__(self, options, device, log, tokenizer):
        self.options, self.device, self.log, self.tokenizer = options, device, log, tokenizer
        self.dtype = options.dtype
        self.out, self.size = options.out, options.size
        self.latent_size = options.size // nets.LATENT_SCALE
        self.alphas = nets.alphas_cumprod(device)
        self.empty = tokenize(tokenizer, [""])[0].to(device).long()

    def frozen(self, module, dtype=None):
        return module.to(self.device, dtype or self.dtype).requires_grad_(False).eval()

    def text_states(self, text, prompts):
        dtype = next(text.parameters()).dtype
        ids = tokenize(self.tokenizer, [*prompts, ""]).long().to(self.device)
        with torch.no_grad():
            states = encode_text(text, ids).to(dtype)
        return states[:-1], states[-1:]


@contextlib.contextmanager
def shielded(log):
    """A sample sheet that fails is reported; it must not cost the run."""
    try:
        yield
    except Exception as error:
        log("sheet", failed=repr(error))


def spatial_gradients(x):
    return x[..., 1:, :] - x[..., :-1, :], x[..., :, 1:] - x[..., :, :-1]


def train_vae(run, vae, budget, batch, peak, save, max_steps):
    """Reconstruction of pictures, with latents held near unit variance and smooth to decode."""
    device, size = run.device, run.size
    generator = torch.Generator().manual_seed(run.options.seed)
    pool = picture_pool(run.options.pool, size, device, generator)
    trainer = FlatTrainer({"vae": vae}, run.dtype, device, decay=1e-3, average=0.995)

    def body():
        index = torch.randint(pool.shape[0], (batch,), device=device)
        x = pool[index].to(run.dtype) / 127.5 - 1
        z = vae.encode(x).latents
        noise = torch.randn_like(z) * (torch.rand(batch, 1, 1, 1, device=device, dtype=z.dtype) * 0.12)
        y = vae.decode(z + noise).sample
        difference = (y - x).float()
        zf = z.float()
        spread = zf.std(dim=(0, 2, 3)), zf.mean(dim=(0, 2, 3))
        edges = sum(g.abs().mean() for g in spatial_gradients(difference))
        loss = (difference.abs().mean() + 2 * difference.square().mean() + edges
                + 0.1 * ((spread[0] - 1).square().mean() + spread[1].square().mean())
                + 0.05 * (zf.abs() - 2.6).clamp(min=0).square().mean())
        trainer.update(loss)

    train_for("vae", trainer, body, budget, peak, peak * 0.02, batch, run.log,
              lambda seconds: save(seconds, vae=trainer.averaged("vae")), max_steps=max_steps)
    trainer.use_average()
    with shielded(run.log):
        vae_sheet(run, vae)
    return trainer.averaged("vae")


def vae_sheet(run, vae):
    """Round trip of fresh pictures: originals and reconstructions side by side."""
    size, device = run.size, run.device
    fresh = picture_pool(64, size, device, torch.Generator().manual_seed(run.options.seed + 77))
    with torch.no_grad():
        x = fresh.to(run.dtype) / 127.5 - 1
        z = vae.encode(x).latents
        y = decode(vae, z)
    truth = fresh.float() / 255
    error = (y - truth).square().mean()
    run.log("vae", psnr=round((-10 * torch.log10(error)).item(), 2), mean=round(z.float().mean().item(), 3),
            std=[round(v, 3) for v in z.float().std(dim=(0, 2, 3)).tolist()])
    write_sheet(run.out / "sheet_vae.png", torch.stack([truth[:24], y[:24]], 1).view(6, 8, *y.shape[1:]))


def velocity_loss(pred, z, noise, a, s):
    return (pred.float() - (a * noise - s * z)).square().mean()


def noised(run, z, count, press=None):
    """Stratified timesteps, noise and the noised latents. `press` (low, high, share): that share of the timesteps
    lies from low to high, the others anywhere."""
    u = (torch.arange(count, device=run.device) + torch.rand(count, device=run.device)) / count
    if press:
        low, high, share = press
        u = torch.where(u < share, (low + (high - low) * u / share) / 1000, (u - share) / (1 - share))
    t = (u * 1000).long().clamp(max=999)
    return t, *noised_to(run, z, t)


def noised_to(run, z, t):
    """Noise, both amplitudes and the latents `z` [N, ...] noised to the timesteps `t` [N]."""
    alpha = run.alphas[t].view(-1, *[1] * (z.dim() - 1))
    a, s = alpha.sqrt(), (1 - alpha).sqrt()
    noise = torch.randn_like(z)
    return noise, a, s, a * z + s * noise


def per_frame(context):
    """Text states [B, T, D] for every frame of every clip: [B * F, T, D]."""
    return context[:, None].expand(-1, nets.WINDOW, -1, -1).flatten(0, 1)


def train_image(run, text, unet, vae, cache, budget, batch, peak, save, max_steps):
    """Single pictures with captions: the spatial U-Net and the text encoder together."""
    trainer = FlatTrainer({"text": text, "unet": unet}, run.dtype, run.device)
    install(unet, run.dtype, 1, run.log)

    def body():
        latents, ids = cache.draw(batch, run.empty, EMPTY_SHARE)
        z = latents[:, 0].float()
        t, noise, a, s, x = noised(run, z, batch)
        pred = unet(x.to(run.dtype), t, encode_text(text, ids)).sample
        trainer.update(velocity_loss(pred, z, noise, a, s))

    train_for("image", trainer, body, budget, peak, peak * 0.15, batch, run.log,
              lambda seconds: save(seconds, text=trainer.averaged("text"), unet=trainer.averaged("unet")),
              max_steps=max_steps)
    trainer.use_average()
    with shielded(run.log):
        image_sheet(run, text, unet, vae)
    return {name: trainer.averaged(name) for name in ("text", "unet")}


def sheet_steps(run, steps):
    """A smoke run's sheets are not worth more steps than its training."""
    return min(steps, run.options.max_steps or steps)


def image_sheet(run, text, unet, vae):
    """One picture for each of the twelve prompts."""
    context, empty = run.text_states(text, SHEET)
    z = sample_image(unet, context, empty, run.alphas, sheet_steps(run, 20), GUIDANCE, run.latent_size,
                     torch.Generator().manual_seed(1))
    picture = decode(vae, z)
    write_sheet(run.out / "sheet_image.png", picture.view(3, 4, *picture.shape[1:]))


def motion_sheet(run, name, text, model, vae, steps, guidance):
    """Four frames of each of the twelve prompts, two prompts a row."""
    context, empty = run.text_states(text, SHEET)
    z = sample(model, context, empty, run.alphas, sheet_steps(run, steps), guidance, run.latent_size,
               torch.Generator().manual_seed(1))
    z = z[:, :, ::4].permute(0, 2, 1, 3, 4)
    picture = decode(vae, z.flatten(0, 1))
    write_sheet(run.out / f"sheet_{name}.png", picture.view(6, 8, *picture.shape[1:]))


def train_motion(run, text, model, vae, cache, budget, batch, peak, save, max_steps):
    """Clips of one window with captions: everything trains, the motion modules from nothing. Where the text encoder
    has had a lesson of its own it can be kept as it is (`still_text`): what the U-Net does not use yet would fade."""
    still = run.options.still_text
    trainer = FlatTrainer({"model": model} if still else {"text": text, "model": model}, run.dtype, run.device,
                          average=run.options.average)
    if still:
        run.frozen(text)
    states = lambda: {"unet": trainer.averaged("model"), **({} if still else {"text": trainer.averaged("text")})}
    install(model, run.dtype, batch, run.log)

    def body():
        uneven = torch.clamp(1 - trainer.steps / run.options.one_way, min=0) if run.options.one_way else 0 * trainer.steps
        latents, ids = cache.draw(batch, run.empty, EMPTY_SHARE, 0.5 + ONE_WAY * uneven)
        z = latents.permute(0, 2, 1, 3, 4).float()  # [B, C, F, h, w]
        t, noise, a, s, x = noised(run, z, batch, run.options.press)
        pred = model(x.to(run.dtype), t, per_frame(encode_text(text, ids))).sample
        trainer.update(velocity_loss(pred, z, noise, a, s))

    train_for("motion", trainer, body, budget, peak, peak * 0.03, batch, run.log,
              lambda seconds: save(seconds, **states()), max_steps=max_steps)
    trainer.use_average()
    with shielded(run.log):
        motion_sheet(run, "motion", text, model, vae, 20, GUIDANCE)
    return states()


def train_few_step(run, text, student, vae, lessons, budget, batch, peak, save, max_steps):
    """The student learns four steps without guidance that follow the teacher's guided trajectories.

    It walks its own path from the teacher's noise, and at each step the target is the teacher's next
    state, so it learns to return to the trajectory from where its own errors put it."""
    states, tokens = lessons
    trainer = FlatTrainer({"model": student}, run.dtype, run.device, average=0.998)
    install(student, run.dtype, batch, run.log)
    times = trailing(4)
    moves = []
    for i, t in enumerate(times):
        alpha = run.alphas[t].item()
        after = run.alphas[times[i + 1]].item() if i + 1 < 4 else 1.0
        a, s, b, r = alpha ** 0.5, (1 - alpha) ** 0.5, after ** 0.5, (1 - after) ** 0.5
        moves.append((torch.tensor([t], device=run.device), b * a + r * s, r * a - b * s))

    def body():
        index = torch.randint(states.shape[0], (batch,), device=run.device)
        path = states[index]
        with torch.no_grad():
            context = per_frame(encode_text(text, tokens[index].long()))
        stay = torch.rand(batch, 1, 1, 1, 1, device=run.device) < 0.35  # share on the teacher's path
        x = path[:, 0].float()
        loss = 0.0
        for i, (t, keep, turn) in enumerate(moves):
            v = student(x.to(run.dtype), t, context).sample.float()
            target = (path[:, i + 1].float() - keep * x) / turn
            error = v - target
            loss = loss + error.square().mean() + 0.3 * error.abs().mean()
            x = torch.where(stay, path[:, i + 1].float(), (keep * x + turn * v).detach())
        trainer.update(loss / 4)

    train_for("few", trainer, body, budget, peak, peak * 0.03, batch, run.log,
              lambda seconds: save(seconds, unet=trainer.averaged("model")), max_steps=max_steps)
    trainer.use_average()
    with shielded(run.log):
        motion_sheet(run, "few", text, student, vae, 4, 1)
    return {"unet": trainer.averaged("model")}
