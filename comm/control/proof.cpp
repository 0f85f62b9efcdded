#include "comm/control/proof.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>

#include "base/error.h"

namespace seamwright::comm {
namespace {

constexpr std::size_t kBlockBytes = 64;  // of SHA-256

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace

Sha256Digest hmac_sha256(std::span<const std::byte> key, std::span<const std::byte> message) {
  std::array<std::byte, kBlockBytes> block{};
  if (key.size() > kBlockBytes) {
    const Sha256Digest digest = sha256(key);
    std::ranges::copy(std::as_bytes(std::span(digest)), block.begin());
  } else {
    std::ranges::copy(key, block.begin());
  }
  std::array<std::byte, kBlockBytes> inner_key = block;
  std::array<std::byte, kBlockBytes> outer_key = block;
  for (std::byte& b : inner_key) b ^= std::byte{0x36};
  for (std::byte& b : outer_key) b ^= std::byte{0x5c};
  Sha256 inner;
  inner.update(inner_key);
  inner.update(message);
  const Sha256Digest inner_digest = inner.finish();
  Sha256 outer;
  outer.update(outer_key);
  outer.update(std::as_bytes(std::span(inner_digest)));
  return outer.finish();
}

bool equal_in_constant_time(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  // volatile: the compiler must not stop at the first difference.
  volatile unsigned char difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference = static_cast<unsigned char>(
        difference | (static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i])));
  }
  return difference == 0;
}

std::string make_nonce() {
  std::array<unsigned char, 32> bytes{};
  ensure(getentropy(bytes.data(), bytes.size()) == 0, "the system gives no random bytes");
  return to_hex(bytes);
}

std::string make_proof(std::string_view token, std::string_view role, std::string_view server_nonce,
                       std::string_view client_nonce) {
  // Hex nonces and fixed roles hold no '|', so the joined text is unambiguous.
  std::string text = "seamwright-control-1|";
  text.append(role).append("|").append(server_nonce).append("|").append(client_nonce);
  return to_hex(hmac_sha256(bytes_of(token), bytes_of(text)));
}

}  // namespace seamwright::comm
