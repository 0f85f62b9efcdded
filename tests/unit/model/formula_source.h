// Weights and inputs given by formula, the same as behind tests/fixtures/model-fixtures.json.
// Threads: one per test.
#pragma once

#include <array>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "model/layers.h"

namespace seamwright::model::testing_support {

// A parameter named N with flat index i: s = crc32(N) mod 1000, v = sin(0.1 i + s). Biases are
// 0.05 v, other vectors 1 + 0.1 v, everything else 1.5 v / sqrt(elements / outermost).
class FormulaSource final : public WeightSource {
 public:
  std::optional<ConstView> find(std::string_view name) const override {
    const auto found = made_.find(name);
    if (found == made_.end()) return std::nullopt;
    return found->second->view();
  }

  std::optional<ConstView> find_as(std::string_view name, const Shape& expected) const override {
    if (const auto known = find(name)) return known;
    if (name.ends_with(".pe") || name == absent_) return std::nullopt;
    const auto tensor = std::make_shared<Tensor>(heap(), DType::kF64, expected);
    fill(std::string(name), expected, tensor->view().as<double>());
    if (name == perturbed_) tensor->view().as<double>()[perturbed_index_] += perturbation_;
    made_.emplace(std::string(name), tensor);
    return tensor->view();
  }

  std::vector<std::string> names() const override {
    std::vector<std::string> all;
    for (const auto& [name, tensor] : made_) all.push_back(name);
    return all;
  }
  std::string description() const override { return "weights by formula"; }

  // Adds to one element of one tensor, to see whether it is used.
  void perturb(std::string name, std::int64_t index, double amount) {
    perturbed_ = std::move(name);
    perturbed_index_ = index;
    perturbation_ = amount;
  }
  void leave_out(std::string name) { absent_ = std::move(name); }

 private:
  static std::uint32_t crc32(std::string_view text) {
    std::uint32_t crc = ~0U;
    for (unsigned char c : text) {
      crc ^= c;
      for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) ? 0xEDB88320U : 0U);
    }
    return ~crc;
  }

  static void fill(const std::string& name, const Shape& shape, double* out) {
    const double s = crc32(name) % 1000;
    const auto n = static_cast<double>(shape.elements());
    for (std::int64_t i = 0; i < shape.elements(); ++i) {
      const double v = std::sin(0.1 * static_cast<double>(i) + s);
      if (name.ends_with("bias")) {
        out[i] = 0.05 * v;
      } else if (shape.rank() == 1) {
        out[i] = 1 + 0.1 * v;
      } else {
        out[i] = v * 1.5 / std::sqrt(n / static_cast<double>(shape[0]));
      }
    }
  }

  mutable std::map<std::string, std::shared_ptr<Tensor>, std::less<>> made_;
  std::string perturbed_, absent_;
  std::int64_t perturbed_index_ = 0;
  double perturbation_ = 0;
};

// A formula source with the ledger and context a network is built from.
struct FormulaLoad {
  explicit FormulaLoad(Backend& backend) : ledger(source), context{ledger, backend} {}
  FormulaSource source;
  WeightLedger ledger;
  LoadContext context;
};

// Fixture inputs, sin(step i + phase), are written in [N, C, F, H, W] order with N = 1; networks
// here read [F, H, W, C].
inline Tensor fixture_input(std::array<std::int64_t, 4> cfhw, double step = 0.05,
                            double phase = 0.3) {
  const auto [c, f, h, w] = cfhw;
  Tensor x(heap(), DType::kF64, {f, h, w, c});
  std::int64_t i = 0;
  for (std::int64_t ci = 0; ci < c; ++ci) {
    for (std::int64_t fi = 0; fi < f; ++fi) {
      for (std::int64_t p = 0; p < h * w; ++p, ++i) {
        x.view().as<double>()[(fi * h * w + p) * c + ci] =
            std::sin(step * static_cast<double>(i) + phase);
      }
    }
  }
  return x;
}

// [F, H, W, C] back to the fixtures' [C, F, H, W] order.
inline std::vector<double> fixture_order(const std::vector<double>& fhwc, const Shape& shape) {
  std::vector<double> out(fhwc.size());
  const std::int64_t frames = shape[0], pixels = shape[1] * shape[2], channels = shape[3];
  for (std::int64_t f = 0; f < frames; ++f) {
    for (std::int64_t p = 0; p < pixels; ++p) {
      for (std::int64_t c = 0; c < channels; ++c) {
        out[static_cast<std::size_t>((c * frames + f) * pixels + p)] =
            fhwc[static_cast<std::size_t>((f * pixels + p) * channels + c)];
      }
    }
  }
  return out;
}

}  // namespace seamwright::model::testing_support
