#!/bin/bash
# A short run of the demo model's training: every stage from nothing, resumed, continued from committed
# weights alone, exported, and compared with diffusers; and the evaluator's detectors on fresh scenes. Exits 77
# (skipped) without the Python packages.
#   train_smoke.sh SOURCE-FOLDER
set -euo pipefail
source=$1
python=${SEAMWRIGHT_PYTHON:-python3}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
if ! "$python" -c 'import torch, diffusers, transformers, PIL' 2>/dev/null; then
  echo "skipped: $python has no torch, diffusers and transformers (set SEAMWRIGHT_PYTHON)"
  exit 77
fi
if ! "$python" -c 'from torch.nn.functional import scaled_dot_product_attention' 2>/dev/null; then
  echo "skipped: training needs torch 2 or later; $python has an older one"
  exit 77
fi
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
cd "$source/tools/demo_model"
small=(--device cpu --size 32 --images 64 --clips 8 --pool 32 --max-steps 2 --stride 1
       --batch vae=4,image=4,words=4,ways=2,motion=1,teach=1,few=1,known=1)
budget=vae=60,cache=5,image=60,clips=5,motion=60,teach=2,few=60,known=60

"$python" train.py --out "$work/run" "${small[@]}" --budget-s $budget --export "$work/model"
for file in vae model few_step; do [ -s "$work/run/$file.safetensors" ]; done
for stage in vae image words motion teach few known; do grep -q "\"stage\": \"$stage\"" "$work/run/log.jsonl"; done
"$python" check.py "$work/model" --size 32 --steps 2

"$python" train.py --out "$work/run" "${small[@]}" --budget-s $budget
grep -q '"stage": "resume".*"few_step"' "$work/run/log.jsonl"

"$python" train.py --out "$work/again" --from "$source/models/demo" "${small[@]}" \
  --budget-s cache=5,clips=5,motion=60,teach=2,few=60 --one-way 1 --press 550,850,0.5 --still-text
grep -q '"stage": "resume".*"checkpoint"' "$work/again/log.jsonl"
[ -s "$work/again/few_step.safetensors" ]

# What the few-step variant learns from is kept for the next run, until the main weights change: trained on, or from elsewhere.
teach() { "$python" train.py --out "$work/again" --from "$source/models/demo" "${small[@]}" \
  --budget-s words=0,cache=0,clips=0,known=0,"$1"; }
teach motion=0,teach=0,few=60
grep '"stage": "teach"' "$work/again/log.jsonl" | tail -n 1 | grep -q '"clips": 0, "all": [1-9]'
teach motion=0,teach=60,few=0
grep '"stage": "teach"' "$work/again/log.jsonl" | tail -n 1 | grep -q '"all": 8'  # --clips
"$python" - "$work/again/lessons" <<'END'
import pathlib, sys
from teacher import Lessons
states, tokens = Lessons(pathlib.Path(sys.argv[1])).all("cpu")
assert states.shape[:2] == (8, 5) and tokens.shape == (8, 77), (states.shape, tokens.shape)
assert len({row.numpy().tobytes() for row in states[:, 0]}) == 8  # no run draws what one before it drew
END
teach motion=60,clips=5,teach=2,few=60
grep '"stage": "teach"' "$work/again/log.jsonl" | tail -n 1 | grep -q '"clips": \([1-9]\), "all": \1[,}]'

for from in "$source/models/demo" "$work/model"; do
  "$python" train.py --out "$work/lessons" --from "$from" "${small[@]}" \
    --budget-s words=0,cache=0,clips=0,motion=0,teach=2,few=0,known=0
done
grep '"stage": "teach"' "$work/lessons/log.jsonl" | tail -n 1 | grep -q '"clips": \([1-9]\), "all": \1[,}]'

# The LoRA for known frames goes with the main weights it was taught on, and goes on from its file.
grep -q '"known_frames"' "$work/model/seamwright.json"
[ -s "$work/model/known_frames.safetensors" ]
"$python" train.py --out "$work/known" --from "$work/model" "${small[@]}" \
  --budget-s words=0,cache=0,clips=5,motion=0,teach=0,few=0,known=60 --export "$work/known-model"
grep -q '"stage": "resume".*"known_frames.safetensors"' "$work/known/log.jsonl"
cmp "$work/model/unet/diffusion_pytorch_model.safetensors" \
  "$work/known-model/unet/diffusion_pytorch_model.safetensors"
if cmp -s "$work"/{model,known-model}/known_frames.safetensors; then exit 1; fi
"$python" - <<'END'
import torch
from known import WINDOW, known_frames
torch.manual_seed(0)
for length in (WINDOW // 2, WINDOW):
    known = known_frames(4000, length, "cpu")
    assert not known.all(1).any()
    none = (~known.any(1)).float().mean()
    assert 0.03 < none < 0.15, none
    hole = (~known[:, 1:-1]).any(1) & known[:, 0] & known[:, -1]
    assert hole.float().mean() > 0.4
    beginning = known[:, 0] & ~known[:, -1]
    assert beginning.float().mean() > 0.3
END

# Lessons in direction go on from a model that moves, with that LoRA merged, which is not theirs any more; and resume.
ways() { "$python" train.py --out "$1" --from "$2" "${small[@]}" --clips 48 --max-steps "$3" \
  --budget-s words=0,cache=0,clips=60,ways=600,motion="${4:-0}",teach=0,few=0,known=0 "${@:5}"; }
ways "$work/ways" "$work/model" 2 60 --export "$work/ways-model"
grep -q '"merged": "known_frames.safetensors"' "$work/ways/log.jsonl"
[ ! -e "$work/ways-model/known_frames.safetensors" ]
ways "$work/ways" "$work/model" 2
[ "$(grep -c '"merged"' "$work/ways/log.jsonl")" = 1 ]
"$python" train.py --out "$work/ways" --from "$work/model" "${small[@]}" \
  --budget-s words=0,cache=0,clips=0,ways=0,motion=0,teach=0,few=0,known=0 --export "$work/ways-model"
[ ! -e "$work/ways-model/known_frames.safetensors" ]  # nor when a run that teaches nothing writes them
"$python" - "$work/ways/ways.json" <<'END'
import json, sys, torch
from cache import LatentCache
from scene import MOTIONS, pose, sample_scenes
from ways import FEW, KINDS, REST, WINDOW, Difficulty, both_ways, ordinary_levels, subject_cells
assert set(json.load(open(sys.argv[1]))["scenes"]) == set(KINDS)

# The subject's latent pixels: its middle is among them, a place far from it is not, a drifting one's are on both sides.
scenes = sample_scenes(300, torch.Generator().manual_seed(2))
cells = subject_cells(scenes, torch.arange(WINDOW), 16)
x, y, radius, _ = pose(scenes, torch.arange(WINDOW))
rows, columns = (y / 16).long().clamp(0, 15), (x / 16).long().clamp(0, 15)
at = lambda r, c: cells.flatten(2).gather(2, (16 * r + c)[..., None])[..., 0]
assert at(rows, columns).all() and not at((rows + 8) % 16, (columns + 8) % 16).any()
assert cells.float().mean() < 0.2
leaving = (scenes.motion == MOTIONS.index("drift-right"))[:, None] & (x > 250)
assert leaving.any() and at(rows, torch.zeros_like(columns))[leaving].all()

# Pairs leave one frame in opposite directions, with the captions of their ways.
times = torch.arange(float(WINDOW)).view(1, -1, 1, 1, 1).expand(300, -1, 1, 16, 16)
cache = LatentCache(times, torch.arange(2).view(1, 2, 1, 1).expand(300, -1, 4, 77), scenes)
index, place = torch.arange(20), torch.arange(20) % 16
z, where, ids = both_ways(cache, cells, index, place)
assert z.shape == (40, 1, 16, 16, 16) and where.shape == (40, 16, 16, 16)
there = torch.arange(20)
assert (z[there, 0, place] == 16).all() and (z[20 + there, 0, place] == 16).all()
assert (z[:20, 0, 1] - z[:20, 0, 0] == 1).all() and (z[20:, 0, 1] - z[20:, 0, 0] == -1).all()
assert (ids[:20] == 0).all() and (ids[20:] == 1).all() and torch.equal(where[:20], where[20:])

# Ordinary lessons: each level may come, most come where shapes and motions are decided.
levels = ordinary_levels(4000, "cpu")
assert levels.min() < 100 and levels.max() > 980 and levels.max() < 1000
assert 0.48 < ((levels >= 300) & (levels < 650)).float().mean() < 0.53

# It gets harder only where both kinds are heard, in its order, and never beyond an ordinary lesson.
hard, most = Difficulty.start(), {"drift": 40, "circle": 40}
for kind in KINDS:
    hard.heard(kind, 0.1)
for _ in range(50):
    hard.step(most)
assert hard.scenes == {k: FEW for k in KINDS}
for _ in range(50):
    hard.heard("drift", 1.0)
for _ in range(40 * REST):
    hard.step(most)
assert hard.scenes == {"drift": 40, "circle": FEW} and hard.reach == 0
for _ in range(50):
    hard.heard("circle", 1.0)
for _ in range(200 * REST):
    assert hard.haze == 0 or hard.reach == 15
    hard.step(most)
assert hard.haze == 1 and hard.scenes["circle"] == 40
END
if "$python" train.py --out "$work/no-motion" --from "$work/empty" "${small[@]}" \
  --budget-s words=0,cache=0,clips=60,ways=60,motion=0,teach=0,few=0,known=0 2>"$work/refused"; then exit 1; fi
grep -q 'give `motion` a budget first' "$work/refused"

# The old few-step variant's difference on a main model that was trained on.
"$python" blend.py --old "$source/models/demo" --new "$work/model" --out "$work/blend"
[ -s "$work/blend/few_step/unet/diffusion_pytorch_model.safetensors" ]

# Which words the new checkpoint hears.
"$python" train.py --out "$work/again" "${small[@]}" --budget-s $budget --export "$work/next"
"$python" hears.py --model "$work/next" --clips 1 --levels 849 --change direction shape
"$python" hears.py --model "$work/next" --readings

# A way is written into the text states at its own size, and a share of clips runs one way.
"$python" - <<'END'
import torch
from cache import LatentCache
from scene import MOTIONS, sample_scenes
from words import WRITTEN, codes, lesson, written
captions, said = lesson(200, 3)
told = written(said)
for text, (way, pace) in zip(captions, told.tolist()):
    right = " clockwise" in text or "to the right" in text
    left = "counterclockwise" in text or "to the left" in text
    assert way == WRITTEN * (right - left), (text, way)
    assert pace == WRITTEN * (("quickly" in text or "fast" in text) - ("slowly" in text)), (text, pace)
assert torch.allclose(codes(128) @ codes(128).T, torch.eye(2), atol=1e-5)
scenes = sample_scenes(400, torch.Generator().manual_seed(1))
latents = torch.arange(2.0).view(1, 2, 1, 1, 1).expand(400, -1, -1, -1, -1)  # a clip says which frame comes first
cache = LatentCache(latents, torch.arange(2).view(1, 2, 1, 1).expand(400, -1, 1, 1), scenes)
cache.may_turn[:] = True  # not so of scenes whose turned clip is an evaluation scene
torch.manual_seed(0)
for share in (0.5, 0.9):
    shown, ids = cache.draw(4000, torch.zeros(1, dtype=torch.long), 0.0, torch.tensor(share))
    assert torch.equal(shown[:, 0].flatten(), ids.flatten().float())  # turned clips have the turned captions
    assert abs(shown[:, 0].mean().item() - 0.5) < 0.05
cache.directed[:], cache.backward[:] = True, False
shown, _ = cache.draw(4000, torch.zeros(1, dtype=torch.long), 0.0, torch.tensor(0.9))
assert abs(shown[:, 0].mean().item() - 0.1) < 0.03
END

# A clip in reverse order is a clip of the scene that its reversed captions name, phase aside.
"$python" - <<'END'
import dataclasses, torch
from cache import reversed_in_time
from scene import MOTIONS, period_of, pose, sample_scenes
scenes = sample_scenes(len(MOTIONS) * 20, torch.Generator().manual_seed(3),
                       fixed={"motion": torch.arange(len(MOTIONS)).repeat(20)})
end = -(scenes.phase + 15 * 2 * torch.pi / period_of(scenes))
sine = torch.isin(scenes.motion, torch.tensor([MOTIONS.index(m) for m in ("left-right", "swing", "pulse")]))
there = dataclasses.replace(reversed_in_time(scenes), phase=end + torch.pi * sine)
for got, want in zip(pose(there, torch.arange(16)), pose(scenes, torch.arange(16).flip(0))):
    off = (got - want).abs()
    assert torch.minimum(off, (256 - off).abs()).max() < 0.02, off.max()
END

# The evaluator's detectors on a few fresh scenes: everything right, everything bad refused.
"$python" check_detectors.py --checks 9 --trips 0 --spoiled 3

# The committed weights against diffusers, at full size.
"$python" check.py "$source/models/demo" --steps 2
echo "training smoke run passed"
