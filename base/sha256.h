// SHA-256 of byte ranges, incremental or at once.
// Threads: one object per thread.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace seamwright {

using Sha256Digest = std::array<unsigned char, 32>;

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(std::span<const std::byte> bytes);
  void update(std::string_view text);
  // Ends the computation; the object must not be updated afterwards.
  Sha256Digest finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

Sha256Digest sha256(std::span<const std::byte> bytes);
std::string to_hex(std::span<const unsigned char> bytes);
// Throws kCorrupt unless it is 64 hexadecimal digits.
Sha256Digest digest_from_hex(std::string_view hex);

}  // namespace seamwright
