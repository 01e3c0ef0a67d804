// CRC32C (Castagnoli) by the fastest way this processor has.
#pragma once

#include <cstddef>
#include <cstdint>

namespace punchline {

// Gives the CRC32C of what `crc` is the CRC32C of (0: nothing), followed by `size` bytes.
uint32_t Crc32c(uint32_t crc, const uint8_t* data, size_t size);

// A way to compute it.
struct Crc32cWay {
  uint32_t (*function)(uint32_t, const uint8_t*, size_t) = nullptr;
  const char* name = nullptr;
};

// The ways that this processor can go, the fastest first; the last, "slicing-8", goes everywhere.
// Ended by an empty one.
const Crc32cWay* Crc32cWays();

}  // namespace punchline
