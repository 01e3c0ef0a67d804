// CRC32C (Castagnoli) by the fastest way this processor has.
#pragma once

#include <cstddef>
#include <cstdint>

namespace punchline {

// Gives the CRC32C of what `crc` is the CRC32C of (0: nothing), followed by `size` bytes.
uint32_t Crc32c(uint32_t crc, const uint8_t* data, size_t size);

// The same by slicing-8 tables: what machines without the instruction get, and the tests compare.
uint32_t Crc32cPortable(uint32_t crc, const uint8_t* data, size_t size);

// Names the way that Crc32c goes: "sse4.2+pclmul", "armv8-crc" or "slicing-8".
const char* Crc32cImplementation();

}  // namespace punchline
