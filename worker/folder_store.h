// A durable store in a folder of this machine (docs/formats/checkpoint.md): every record and
// segment is a file that is complete or absent.
// Threads: as DurableStore; one thread of its own writes records.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "worker/durable_store.h"

namespace seamwright::worker {

struct FolderStoreOptions {
  // How long to wait for a previous owner that is just dying.
  std::chrono::milliseconds lock_patience{10'000};
  std::function<void(const std::string& line)> warn;  // what was found damaged and is ignored
  // Called between the steps of writing: "record" before a record gets its name, "records" before
  // its folder is synchronised, "segment" between a segment's file and its commit. For fault tests.
  std::function<void(const char* where)> step;
};

// Creates the folder, or goes on with what it holds. Throws kInvalidArgument when it was made for
// another identity, naming what differs; kIo when it holds something else; kUnavailable when
// another process uses it.
std::unique_ptr<DurableStore> open_folder_store(const std::filesystem::path& folder,
                                                const DurableIdentity& identity,
                                                const FolderStoreOptions& options = {});

}  // namespace seamwright::worker
