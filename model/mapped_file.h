// A file mapped read-only into memory; pages are read when touched, and never copied.
// Threads: the bytes may be read from any thread while the object lives.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace seamwright::model {

class MappedFile {
 public:
  // Throws kNotFound or kIo, naming the file. The file must not be cut short while it is mapped:
  // the operating system answers a read past its end with SIGBUS.
  explicit MappedFile(std::filesystem::path path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }

  // Tells the system that these bytes will not be read again soon, so that weights which have been
  // copied into their final layout no longer count as resident.
  void release_pages(std::span<const std::byte> bytes) const;

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace seamwright::model
