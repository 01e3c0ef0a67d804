#include "crc32c.h"

#include <array>
#include <cstring>

#include "machine.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#endif

namespace punchline {
namespace {

// The generator polynomial, bits reversed (RFC 3720 §12.1).
constexpr uint32_t kPolynomial = 0x82f63b78;

constexpr uint32_t TimesX(uint32_t a) {
  return (a >> 1) ^ ((a & 1) != 0 ? kPolynomial : 0);
}

uint64_t Load64(const uint8_t* p) {
  uint64_t value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

// Table k holds the CRC of a byte followed by k zero bytes.
using SlicingTables = std::array<std::array<uint32_t, 256>, 8>;

constexpr SlicingTables MakeSlicingTables() {
  SlicingTables tables{};
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; bit++) crc = TimesX(crc);
    tables[0][byte] = crc;
  }
  for (size_t k = 1; k < tables.size(); k++) {
    for (uint32_t byte = 0; byte < 256; byte++) {
      const uint32_t shorter = tables[k - 1][byte];
      tables[k][byte] = (shorter >> 8) ^ tables[0][shorter & 255];
    }
  }
  return tables;
}

constexpr SlicingTables kSlicing = MakeSlicingTables();

#if defined(__x86_64__)

// Three independent chains hide the instruction's latency of three cycles. Their results are
// joined by multiplying the first two with powers of x: what the bytes after them amount to.
constexpr size_t kLanes = 3;
// Longest lane, in 8-byte words. Longer messages go in several blocks.
constexpr size_t kLaneWordsMax = 42;
// Below this a single chain is as fast as joining three.
constexpr size_t kLaneWordsMin = 8;

// kShift[w] is x^(64w − 33) mod P: multiplying by it and taking the CRC instruction's own x^32
// moves a state over w words of zeros (the product of two reflected words sits one bit low).
using ShiftTable = std::array<uint32_t, 2 * kLaneWordsMax + 1>;

constexpr ShiftTable MakeShiftTable() {
  ShiftTable table{};
  uint32_t power = 0x80000000;  // x^0
  for (size_t exponent = 0; exponent <= 64 * 2 * kLaneWordsMax - 33; exponent++) {
    if ((exponent + 33) % 64 == 0) table[(exponent + 33) / 64] = power;
    power = TimesX(power);
  }
  return table;
}

constexpr ShiftTable kShift = MakeShiftTable();

__attribute__((target("sse4.2,pclmul"))) uint32_t OverZeros(uint64_t state, size_t words) {
  const __m128i a = _mm_cvtsi64_si128(static_cast<int64_t>(state));
  const __m128i b = _mm_cvtsi32_si128(static_cast<int>(kShift[words]));
  const __m128i product = _mm_clmulepi64_si128(a, b, 0);
  return static_cast<uint32_t>(_mm_crc32_u64(0, static_cast<uint64_t>(_mm_cvtsi128_si64(product))));
}

__attribute__((target("sse4.2,pclmul"))) uint32_t Crc32cSse42(uint32_t crc, const uint8_t* data,
                                                              size_t size) {
  uint64_t state = static_cast<uint32_t>(~crc);
  while (size >= kLanes * kLaneWordsMin * 8) {
    size_t words = size / (kLanes * 8);
    if (words > kLaneWordsMax) words = kLaneWordsMax;
    const uint8_t* const second = data + 8 * words;
    const uint8_t* const third = second + 8 * words;
    uint64_t a = state, b = 0, c = 0;
    for (size_t i = 0; i < words; i++) {
      a = _mm_crc32_u64(a, Load64(data + 8 * i));
      b = _mm_crc32_u64(b, Load64(second + 8 * i));
      c = _mm_crc32_u64(c, Load64(third + 8 * i));
    }
    state = OverZeros(a, 2 * words) ^ OverZeros(b, words) ^ static_cast<uint32_t>(c);
    data = third + 8 * words;
    size -= kLanes * 8 * words;
  }
  for (; size >= 8; data += 8, size -= 8) state = _mm_crc32_u64(state, Load64(data));
  uint32_t tail = static_cast<uint32_t>(state);
  for (; size > 0; data++, size--) tail = _mm_crc32_u8(tail, *data);
  return ~tail;
}

#elif defined(__aarch64__)

__attribute__((target("+crc"))) uint32_t Crc32cArm(uint32_t crc, const uint8_t* data, size_t size) {
  uint32_t state = ~crc;
  for (; size >= 8; data += 8, size -= 8) state = __crc32cd(state, Load64(data));
  for (; size > 0; data++, size--) state = __crc32cb(state, *data);
  return ~state;
}

#endif

struct Choice {
  uint32_t (*function)(uint32_t, const uint8_t*, size_t);
  const char* name;
};

Choice Choose() {
#if defined(__x86_64__)
  const CpuFeatures cpu = DetectCpu();
  if (cpu.sse42 && cpu.pclmul) return {Crc32cSse42, "sse4.2+pclmul"};
#elif defined(__aarch64__)
  if (DetectCpu().arm_crc) return {Crc32cArm, "armv8-crc"};
#endif
  return {Crc32cPortable, "slicing-8"};
}

const Choice kChoice = Choose();

}  // namespace

uint32_t Crc32c(uint32_t crc, const uint8_t* data, size_t size) {
  return kChoice.function(crc, data, size);
}

const char* Crc32cImplementation() { return kChoice.name; }

uint32_t Crc32cPortable(uint32_t crc, const uint8_t* data, size_t size) {
  uint32_t state = ~crc;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  for (; size >= 8; data += 8, size -= 8) {
    const uint64_t word = Load64(data) ^ state;
    state = 0;
    for (size_t byte = 0; byte < 8; byte++) state ^= kSlicing[7 - byte][(word >> (8 * byte)) & 255];
  }
#endif
  for (; size > 0; data++, size--) state = (state >> 8) ^ kSlicing[0][(state ^ *data) & 255];
  return ~state;
}

}  // namespace punchline
