// Proof of a shared token without sending it: HMAC-SHA256 over both ends' nonces.
// Threads: pure functions, but for the system's random source.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/sha256.h"

namespace seamwright::comm {

Sha256Digest hmac_sha256(std::span<const std::byte> key, std::span<const std::byte> message);

// Takes the same time whether and wherever they differ. Lengths are not secret.
bool equal_in_constant_time(std::string_view a, std::string_view b);

// 32 random bytes from the operating system, in hex.
std::string make_nonce();

// What `role` ("client" or "server") must show to prove it has the token. The role and both nonces
// are in it, so that no proof can be replayed or sent back to its author.
std::string make_proof(std::string_view token, std::string_view role, std::string_view server_nonce,
                       std::string_view client_nonce);

}  // namespace seamwright::comm
