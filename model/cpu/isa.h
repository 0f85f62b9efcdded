// The instruction sets the CPU backend has kernels for, chosen once when a backend is made.
// Threads: pure functions; safe anywhere.
#pragma once

#include <cstdint>
#include <string_view>

namespace seamwright::model::cpu {

// Each level includes the ones before it. kAmx is AVX-512 with bf16 and usable tile registers.
enum class Isa : std::uint8_t { kNone, kAvx2, kAvx512, kAvx512Bf16, kAmx };

// The best level that both this processor and the operating system support.
Isa detect_isa();
std::string_view to_string(Isa isa);

}  // namespace seamwright::model::cpu
