// Tensors of another source under other names: how files in the original layouts meet loaders that
// know diffusers' names only.
// Threads: immutable once filled; may be shared.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/weights.h"

namespace seamwright::model {

class RenamedSource final : public WeightSource {
 public:
  // The new name of a tensor; nullopt where the naming has no place for it.
  using Rename = std::function<std::optional<std::string>(std::string_view)>;
  using Ignore = std::function<bool(std::string_view)>;

  // Every tensor of `base` whose name begins with `prefix`, renamed without that prefix. Tensors
  // that `rename` has no place for keep their name, so that strict loading reports them. Two stored
  // tensors with one new name must hold equal bytes (position tables are stored twice); throws
  // kCorrupt otherwise. Stored names that `ignore` knows are left out.
  RenamedSource(std::shared_ptr<const WeightSource> base, std::string_view prefix,
                const Rename& rename, const Ignore& ignore = {});

  std::optional<ConstView> find(std::string_view name) const override;
  std::vector<std::string> names() const override;  // ascending
  std::string description() const override { return base_->description(); }
  bool empty() const { return tensors_.empty(); }

 private:
  std::shared_ptr<const WeightSource> base_;
  std::map<std::string, ConstView, std::less<>> tensors_;
};

}  // namespace seamwright::model
