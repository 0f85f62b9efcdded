#include "worker/gang_setup.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace seamwright::worker {

using Json = nlohmann::json;

std::vector<BranchPrompts> share_prompts(std::vector<BranchPrompts> own, comm::Fabric* fabric) {
  if (fabric == nullptr) return own;
  comm::Bytes bytes;
  Json header = Json::array();
  for (const auto& branch : own) {
    Json shapes = Json::array();
    for (const auto& k : branch.keyframes) {
      shapes.push_back({k.shape()[0], k.shape()[1], k.shape()[2]});
      const auto* raw = k.view().as<std::byte>();
      bytes.insert(bytes.end(), raw, raw + k.view().bytes());
    }
    header.push_back(shapes);
  }
  std::string text = header.dump();
  comm::Bytes head(reinterpret_cast<const std::byte*>(text.data()),
                   reinterpret_cast<const std::byte*>(text.data()) + text.size());
  fabric->broadcast(0, head);
  fabric->broadcast(0, bytes);
  if (fabric->rank() == 0) return own;
  const auto* begin = reinterpret_cast<const char*>(head.data());
  std::vector<BranchPrompts> prompts;
  std::size_t at = 0;
  for (const auto& branch : Json::parse(begin, begin + head.size())) {
    auto& keyframes = prompts.emplace_back().keyframes;
    for (const auto& dims : branch) {
      model::Tensor t(model::heap(), model::DType::kF32,
                      {dims.at(0).get<std::int64_t>(), dims.at(1).get<std::int64_t>(),
                       dims.at(2).get<std::int64_t>()});
      ensure(at + t.view().bytes() <= bytes.size(), "prompt embeddings arrived incomplete");
      std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), t.view().bytes(),
                  t.view().as<std::byte>());
      at += t.view().bytes();
      keyframes.push_back(std::move(t));
    }
  }
  return prompts;
}

namespace {

// As the other rank may be of another build, it may say anything.
Json agreement_in(const comm::Bytes& bytes) {
  const auto* begin = reinterpret_cast<const char*>(bytes.data());
  auto said = Json::parse(begin, begin + bytes.size(), nullptr, /*allow_exceptions=*/false);
  return said.is_object() ? said : Json::object();
}

}  // namespace

void check_agreement(const std::string& own, comm::Fabric& fabric) {
  const auto all = fabric.all_gather(std::as_bytes(std::span(own.data(), own.size())));
  const auto first = agreement_in(all.front());
  for (std::size_t r = 1; r < all.size(); ++r) {
    const auto other = agreement_in(all[r]);
    for (const auto& [what, hint] : {std::pair("plan", "are all ranks the same build?"),
                                     std::pair("numerics",
                                               "the ranks of a gang need one build "
                                               "and one kind of device"),
                                     std::pair("model", "do all hosts have the same files?")}) {
      const auto here = first.value(what, ""), there = other.value(what, "");
      if (here == there) continue;
      fail(ErrorCode::kInternal, "rank {} has another {} than rank 0 ('{}', not '{}'): {}", r, what,
           there, here, hint);
    }
    ensure(first == other, "rank {} plans another job than rank 0: are all ranks the same build?",
           r);
  }
}

}  // namespace seamwright::worker
