#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/quoted.h"
#include "model/safetensors.h"

namespace seamwright::model {
namespace {

[[noreturn]] void io_error(const char* action, const std::filesystem::path& path, int code) {
  fail(code == ENOSPC || code == EDQUOT ? ErrorCode::kResource : ErrorCode::kIo, "cannot {} {}: {}",
       action, path.string(), errno_text(code));
}

// A file that appears under its final name only once commit() has made it durable.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path target)
      : target_(std::move(target)),
        temporary_(target_.string() + ".part." + std::to_string(::getpid())) {
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd_ < 0) io_error("create", temporary_, errno);
  }
  ~AtomicFile() {
    if (fd_ >= 0) ::close(fd_);
    if (!committed_) ::unlink(temporary_.c_str());
  }
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, std::size_t size) {
    const auto* next = static_cast<const char*>(data);
    while (size > 0) {
      const ssize_t done = ::write(fd_, next, size);
      if (done < 0 && errno == EINTR) continue;
      if (done < 0) io_error("write", temporary_, errno);
      next += done;
      size -= static_cast<std::size_t>(done);
    }
  }

  void commit() {
    if (::fsync(fd_) != 0) io_error("flush", temporary_, errno);
    if (::close(std::exchange(fd_, -1)) != 0) io_error("close", temporary_, errno);
    if (::rename(temporary_.c_str(), target_.c_str()) != 0) io_error("rename to", target_, errno);
    committed_ = true;
    const auto folder = target_.has_parent_path() ? target_.parent_path() : ".";
    const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) io_error("open the folder", folder, errno);
    const int status = ::fsync(fd);
    const int code = errno;
    ::close(fd);
    if (status != 0) io_error("flush the folder", folder, code);
  }

 private:
  std::filesystem::path target_;
  std::filesystem::path temporary_;
  int fd_ = -1;
  bool committed_ = false;
};

void check_tensor(const StoredTensor& tensor) {
  require(!tensor.name.empty() && tensor.name != "__metadata__", "a tensor cannot be named {}",
          in_quotes(tensor.name));
  const std::size_t bytes = tensor.view().bytes();
  require(bytes == tensor.bytes.size(), "tensor {} of shape {} needs {} bytes, but has {}",
          in_quotes(tensor.name), tensor.shape.to_string(), bytes, tensor.bytes.size());
}

std::vector<std::int64_t> dimensions(const Shape& shape) {
  std::vector<std::int64_t> out;
  for (int i = 0; i < shape.rank(); ++i) out.push_back(shape[i]);
  return out;
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, std::span<const StoredTensor> tensors,
                       const std::map<std::string, std::string>& metadata) {
  for (const StoredTensor& tensor : tensors) check_tensor(tensor);
  // Widest elements first keeps every tensor aligned without padding; then by name.
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&tensors](std::size_t a, std::size_t b) {
    const std::size_t wide_a = byte_size(tensors[a].type);
    const std::size_t wide_b = byte_size(tensors[b].type);
    return wide_a != wide_b ? wide_a > wide_b : tensors[a].name < tensors[b].name;
  });

  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::set<std::string_view> names;
  std::uint64_t offset = 0;
  for (const std::size_t i : order) {
    const StoredTensor& tensor = tensors[i];
    require(names.insert(tensor.name).second, "two tensors are named {}", in_quotes(tensor.name));
    header[tensor.name] = {{"dtype", to_string(tensor.type)},
                           {"shape", dimensions(tensor.shape)},
                           {"data_offsets", {offset, offset + tensor.bytes.size()}}};
    offset += tensor.bytes.size();
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception& error) {
    fail(ErrorCode::kInvalidArgument, "a tensor name or metadata is not UTF-8: {}", error.what());
  }
  text.append((8 - text.size() % 8) % 8, ' ');
  require(text.size() <= kMaxHeaderBytes, "the header of {} would have {} bytes, more than {}",
          path.string(), text.size(), kMaxHeaderBytes);

  AtomicFile file(path);
  const std::uint64_t header_bytes = text.size();
  file.write(&header_bytes, sizeof(header_bytes));
  file.write(text.data(), text.size());
  for (const std::size_t i : order) file.write(tensors[i].bytes.data(), tensors[i].bytes.size());
  file.commit();
}

}  // namespace seamwright::model
