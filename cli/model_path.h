// Where a model given by name, path or hub id is on this machine.
// Threads: reads the environment; main thread only.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace seamwright::cli {

// "" is the demo model; a .safetensors file is itself. Names (of folders, or of files without their
// ending) are looked up in $SEAMWRIGHT_MODELS, in share/seamwright/models
// beside an installed program, and in models/ beside a build folder; ids "org/name" in the Hugging
// Face cache ($HF_HOME, or ~/.cache/huggingface). Throws kNotFound saying where it looked.
std::filesystem::path find_model(const std::string& model);

// The public CLIP tokenizer that comes with the program, for single-file checkpoints; empty when it
// is not there.
std::filesystem::path clip_tokenizer();

// The folders in which a model's name is looked up, the strongest first.
std::vector<std::filesystem::path> model_roots();

}  // namespace seamwright::cli
