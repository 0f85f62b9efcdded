#include "model/inspect.h"

#include <algorithm>
#include <functional>
#include <optional>

#include "model/model_folder.h"
#include "model/model_parts.h"
#include "model/text/tokenizer.h"

namespace seamwright::model {
namespace {

std::size_t bytes_of(const Activations& activations, const std::vector<std::string>& names) {
  std::size_t bytes = 0;
  for (const auto& name : names) {
    if (activations.has(name)) bytes += activations.get(name).bytes();
  }
  return bytes;
}

// Runs one step of an inspection; a refusal becomes text.
std::string refusal_of(const std::function<void()>& step) {
  try {
    step();
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

template <class Network>
void describe(PartReport& part, const Built<Network>& built) {
  part.parameters = built.parameters;
  part.stored_bytes = built.stored_bytes;
  part.resident_bytes = built.resident_bytes;
}

std::string mebibytes(std::size_t bytes) {
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
}

}  // namespace

DenoiserCost count_denoiser(const UNet& unet, DryBackend& backend, std::int64_t frames,
                            std::int64_t height, std::int64_t width, std::int64_t context_tokens,
                            std::int64_t context_width) {
  DenoiserCost cost{frames, height, width, {}, 0, 0, 0};
  CountingAllocator memory;
  Exec exec{backend, memory};
  PromptContext context(Tensor(heap(), DType::kF32, {1, context_tokens, context_width}));
  Activations activations;
  activations.put("sample", Tensor(memory, backend.activation_type(),
                                   {frames, height, width, unet.in_channels()}));
  const DenoiseInput input{.timestep = 0, .context = &context, .height = height, .width = width};
  backend.take_records();
  for (std::size_t i = 0; i < unet.blocks().size(); ++i) {
    const BlockInfo& info = unet.blocks()[i];
    BlockCost block{info.name,
                    info.parameters,
                    info.weight_bytes,
                    0,
                    0,
                    bytes_of(activations, unet.crossing(i))};
    unet.run(exec, i, i + 1, input, activations);
    for (const auto& op : backend.take_records()) {
      block.flops += op.flops;
      block.traffic_bytes += op.bytes;
    }
    cost.flops += block.flops;
    cost.traffic_bytes += block.traffic_bytes;
    cost.blocks.push_back(std::move(block));
  }
  cost.peak_activation_bytes = memory.peak();
  return cost;
}

namespace {

class Inspector {
 public:
  explicit Inspector(const InspectOptions& options)
      : options_(options), backend_(make_dry_backend(options.activations)) {
    const auto& model = options.load.model;
    report_.folder =
        std::filesystem::is_regular_file(model) ? model : find_model_folder(model.string());
  }

  ModelReport run() {
    unet();
    vae();
    text();
    whole();
    return std::move(report_);
  }

 private:
  void unet() {
    PartReport part{.part = "unet"};
    part.refused = refusal_of([&] {
      denoiser_ = open_denoiser(report_.folder, options_.load.motion_adapter);
      part.class_name = denoiser_->class_name;
      part.files = denoiser_->unet.paths.size();
      if (denoiser_->adapter.source) {
        part.class_name += " + MotionAdapter";
        part.files += denoiser_->adapter.paths.size();
      }
      const auto built = build_denoiser(*denoiser_, *backend_);
      describe(part, built);
      report_.max_window = built.network->max_window();
      count(*built.network);
    });
    report_.parts.push_back(std::move(part));
  }

  void count(const UNet& unet) {
    const UNetConfig& config = denoiser_->config;
    const std::int64_t height =
        options_.latent_height > 0 ? options_.latent_height : config.sample_height;
    const std::int64_t width =
        options_.latent_width > 0 ? options_.latent_width : config.sample_width;
    const std::int64_t frames = std::min(options_.frames, unet.max_window());
    report_.denoiser = count_denoiser(unet, *backend_, frames, height, width, 77,
                                      config.cross_attention_dim.front());
  }

  void vae() {
    PartReport part{.part = "vae"};
    part.refused = refusal_of([&] {
      const CodecFiles files = open_codec(report_.folder, options_.load.vae);
      part.class_name = files.class_name;
      part.files = files.weights.paths.size();
      auto built = build_codec(files, *backend_);
      describe(part, built);
      codec_ = std::move(built.network);
    });
    report_.parts.push_back(std::move(part));
  }

  void text() {
    PartReport part{.part = "text_encoder"};
    part.refused = refusal_of([&] {
      text_ = open_text(report_.folder);
      part.class_name = "CLIPTextModel";
      part.files = text_->weights.paths.size();
      describe(part, build_text(*text_, *backend_));
    });
    report_.parts.push_back(std::move(part));
  }

  void whole() {
    const auto note = [&](const std::string& refusal) {
      if (!refusal.empty()) report_.refusals.push_back(refusal);
    };
    note(refusal_of([&] {
      const auto tokenizer = ClipTokenizer::load(tokenizer_folder(
          report_.folder, options_.load.tokenizer, options_.load.tokenizer_fallback));
      require(!text_ || tokenizer.largest_id() < text_->config.vocab_size,
              "the tokenizer has token ids up to {}, but the text encoder only {} embeddings",
              tokenizer.largest_id(), text_ ? text_->config.vocab_size : 0);
    }));
    std::string known_frames_lora;
    note(refusal_of([&] {
      known_frames_lora = read_model_defaults(report_.folder, nullptr).known_frames.lora;
    }));
    if (!denoiser_) return;
    note(refusal_of([&] {
      if (!text_ || known_frames_lora.empty() || options_.load.motion_adapter) return;
      auto denoiser = *denoiser_;
      auto text = *text_;
      add_loras({{report_.folder / known_frames_lora, 1}}, denoiser, text);
    }));
    note(refusal_of([&] {
      if (text_) add_loras(options_.load.loras, *denoiser_, *text_);
    }));
    note(refusal_of([&] {
      check_parts_fit(denoiser_->config, text_ ? &text_->config : nullptr, codec_.get());
    }));
  }

  const InspectOptions& options_;
  std::unique_ptr<DryBackend> backend_;
  ModelReport report_;
  std::optional<DenoiserFiles> denoiser_;
  std::optional<TextFiles> text_;
  std::unique_ptr<FrameCodec> codec_;
};

}  // namespace

bool ModelReport::loads() const {
  return refusals.empty() &&
         std::ranges::all_of(parts, [](const PartReport& p) { return p.refused.empty(); });
}

ModelReport inspect_model(const InspectOptions& options) { return Inspector(options).run(); }

std::string to_text(const ModelReport& report) {
  std::string out = fmt::format("{}\n\n", report.folder.string());
  for (const auto& part : report.parts) {
    out += fmt::format("{:<13} {:<38} {:>14} parameters, {:>11} stored, {:>11} in memory\n",
                       part.part, part.class_name.empty() ? "?" : part.class_name, part.parameters,
                       mebibytes(part.stored_bytes), mebibytes(part.resident_bytes));
  }
  const DenoiserCost& cost = report.denoiser;
  if (!cost.blocks.empty()) {
    out += fmt::format(
        "\none evaluation of {} frames at {}x{} latents: {:.3f} TFLOP, {:.1f} GB of "
        "traffic, {} of activations; windows up to {} frames\n\n",
        cost.frames, cost.width, cost.height, cost.flops / 1e12, cost.traffic_bytes / 1e9,
        mebibytes(cost.peak_activation_bytes), report.max_window);
    out += fmt::format("{:<36} {:>12} {:>11} {:>9} {:>7} {:>15}\n", "block", "parameters",
                       "weights", "GFLOP", "share", "cut before it");
    for (const auto& block : cost.blocks) {
      out += fmt::format("{:<36} {:>12} {:>11} {:>9.2f} {:>6.1f}% {:>15}\n", block.name,
                         block.parameters, mebibytes(block.weight_bytes), block.flops / 1e9,
                         cost.flops > 0 ? 100 * block.flops / cost.flops : 0,
                         mebibytes(block.crossing_bytes));
    }
  }
  for (const auto& part : report.parts) {
    if (!part.refused.empty()) out += fmt::format("\nrefused: {}: {}\n", part.part, part.refused);
  }
  for (const auto& refusal : report.refusals) out += fmt::format("\nrefused: {}\n", refusal);
  if (report.loads()) out += "\nloads: every tensor has its place\n";
  return out;
}

}  // namespace seamwright::model
