// The models a gang keeps loaded from one job to the next.
// Threads: safe from any thread; what it gives is const.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "model/backend.h"
#include "model/video_model.h"

namespace seamwright::worker {

struct LoadedModel {
  std::shared_ptr<model::Backend> backend;
  std::shared_ptr<const model::VideoModel> model;
};

// The model keeps the backend, in whose memory its weights lie, whoever lets go of which first.
LoadedModel loaded_model(std::shared_ptr<model::Backend> backend,
                         std::unique_ptr<const model::VideoModel> model);

class ModelCache {
 public:
  // What lies in `slot` if it was made for the same key. Otherwise that is let go first, so that
  // two models never lie in memory at once, and `make` makes what takes its place.
  LoadedModel get(const std::string& slot, const std::string& key,
                  const std::function<LoadedModel()>& make);

  // What was found out about a model in this gang, as text; "" where nothing is known.
  std::string note_of(const std::string& key);
  void set_note(const std::string& key, std::string note);

 private:
  struct Entry {
    std::string key;
    LoadedModel loaded;
  };
  std::mutex mutex_;
  std::map<std::string, Entry> entries_;
  std::map<std::string, std::string> notes_;
};

}  // namespace seamwright::worker
