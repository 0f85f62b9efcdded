#include "model/denoiser.h"

#include <algorithm>
#include <atomic>

namespace seamwright::model {

void Activations::put(std::string name, Tensor value) {
  const ConstView view = value;
  values_.insert_or_assign(std::move(name), Entry{std::move(value), view});
}

void Activations::borrow(std::string name, ConstView value) {
  values_.insert_or_assign(std::move(name), Entry{{}, value});
}

ConstView Activations::get(std::string_view name) const {
  const auto found = values_.find(name);
  ensure(found != values_.end(), "there is no activation '{}' here", name);
  return found->second.view;
}

Tensor Activations::take(std::string_view name) {
  const auto found = values_.find(name);
  ensure(found != values_.end(), "there is no activation '{}' here", name);
  ensure(static_cast<bool>(found->second.owned), "activation '{}' is borrowed", name);
  Tensor value = std::move(found->second.owned);
  values_.erase(found);
  return value;
}

void Activations::drop(std::string_view name) {
  const auto found = values_.find(name);
  if (found != values_.end()) values_.erase(found);
}

void Activations::merge(Activations&& other) {
  values_.merge(other.values_);
  ensure(other.values_.empty(), "activation '{}' is held twice",
         other.values_.empty() ? "" : other.values_.begin()->first);
}

bool Activations::has(std::string_view name) const { return values_.contains(name); }

namespace {

std::uint64_t next_context_id() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

}  // namespace

PromptContext::PromptContext(Tensor embeddings)
    : id_(next_context_id()), embeddings_(std::move(embeddings)) {
  const Shape& shape = embeddings_.shape();
  ensure(shape.rank() == 3, "prompt embeddings must be [P, tokens, dim], not {}",
         shape.to_string());
}

PromptContext::~PromptContext() = default;

std::vector<std::string> Denoiser::crossing(std::size_t at) const {
  const auto& all = blocks();
  ensure(at <= all.size(), "there is no cut before block {} of {}", at, all.size());
  std::vector<std::string> names;
  for (std::size_t writer = 0; writer < at; ++writer) {
    for (const auto& name : all[writer].writes) {
      // Read at or after the cut before anything there writes it anew.
      for (std::size_t i = at; i < all.size(); ++i) {
        if (std::ranges::find(all[i].reads, name) != all[i].reads.end()) {
          if (std::ranges::find(names, name) == names.end()) names.push_back(name);
          break;
        }
        if (std::ranges::find(all[i].writes, name) != all[i].writes.end()) break;
      }
    }
  }
  return names;
}

Tensor Denoiser::predict(Exec& exec, ConstView sample, const DenoiseInput& input) const {
  Activations activations;
  activations.borrow("sample", sample);
  run(exec, 0, blocks().size(), input, activations);
  return activations.take("prediction");
}

}  // namespace seamwright::model
