"""The few-step variant of a main model that was trained on, where there was no time to teach it anew.

    python tools/demo_model/blend.py --old OLD --new NEW --out FOLDER [--kept 0.8 --learned 0.5]

Weights are added: the new main model's, `--kept` times what made the old few-step variant of the old main model, and
`--learned` times what a short lesson (NEW/few_step) has changed in the new one. OLD and NEW are checkpoints in diffusers'
layout. Writes FOLDER, NEW's checkpoint with this few-step variant. That differences of weights add up is an old
observation about fine-tuned networks (task arithmetic, Ilharco et al. 2023); how well it does here is in the model card.
"""
import argparse
import pathlib
import shutil

import nets
from train import read_checkpoint


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--old", type=pathlib.Path, required=True)
    p.add_argument("--new", type=pathlib.Path, required=True)
    p.add_argument("--out", type=pathlib.Path, required=True)
    p.add_argument("--kept", type=float, default=0.8)
    p.add_argument("--learned", type=float, default=0.5)
    options = p.parse_args()
    old, new = ({k: v for k, v in read_checkpoint(f).items() if k[1] == "unet"} for f in (options.old, options.new))
    parts = [{k: v.float() for k, v in state.items()} for state in
             (new["model", "unet"], old["few_step", "unet"], old["model", "unet"], new["few_step", "unet"])]
    main_new, few_old, main_old, few_new = parts
    few = {k: v + options.kept * (few_old[k] - main_old[k]) + options.learned * (few_new[k] - v)
           for k, v in main_new.items()}
    shutil.copytree(options.new, options.out, symlinks=True, dirs_exist_ok=True)
    nets.save_few_step(options.out / "few_step", few)


if __name__ == "__main__":
    main()
