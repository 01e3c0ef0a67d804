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

// Folding: what stands D bits before the end counts as its product with x^D, so that four registers
// of 64 bytes swallow 256 bytes at a time, and what is left is a message of 16 bytes with the same
// remainder. In a register of 16 bytes the first half stands 64 bits further to the left. A product
// of two reflected words sits one bit low, hence the exponents of one less.
constexpr uint64_t PowerOfX(size_t exponent) {
  uint32_t power = 0x80000000;  // x^0
  for (size_t i = 0; i < exponent; i++) power = TimesX(power);
  return static_cast<uint64_t>(power) << 32;
}

template <size_t kBits>
struct Distance {
  static constexpr uint64_t kFirst = PowerOfX(kBits + 64 - 1);
  static constexpr uint64_t kSecond = PowerOfX(kBits - 1);
};

#define PUNCHLINE_WIDE __attribute__((target("sse4.2,pclmul,avx512f,vpclmulqdq")))

// Shorter messages are left to the CRC instruction.
constexpr size_t kWideMin = 256;

template <size_t kBits>
PUNCHLINE_WIDE inline __m512i Fold(__m512i state, __m512i next) {
  using By = Distance<kBits>;
  const __m512i by = _mm512_set_epi64(By::kSecond, By::kFirst, By::kSecond, By::kFirst, By::kSecond,
                                      By::kFirst, By::kSecond, By::kFirst);
  const __m512i first = _mm512_clmulepi64_epi128(state, by, 0x00);
  const __m512i second = _mm512_clmulepi64_epi128(state, by, 0x11);
  return _mm512_ternarylogic_epi64(first, second, next, 0x96);
}

template <size_t kBits>
PUNCHLINE_WIDE inline __m128i FoldLane(__m128i state, __m128i next) {
  using By = Distance<kBits>;
  const __m128i by = _mm_set_epi64x(By::kSecond, By::kFirst);
  const __m128i first = _mm_clmulepi64_si128(state, by, 0x00);
  const __m128i second = _mm_clmulepi64_si128(state, by, 0x11);
  return _mm_xor_si128(_mm_xor_si128(first, second), next);
}

PUNCHLINE_WIDE uint32_t Crc32cWide(uint32_t crc, const uint8_t* data, size_t size) {
  if (size < kWideMin) return Crc32cSse42(crc, data, size);
  const auto load = [](const uint8_t* from) PUNCHLINE_WIDE { return _mm512_loadu_si512(from); };
  __m512i a = load(data), b = load(data + 64), c = load(data + 128), d = load(data + 192);
  a = _mm512_xor_si512(a, _mm512_zextsi128_si512(_mm_cvtsi32_si128(static_cast<int>(~crc))));
  for (data += 256, size -= 256; size >= 256; data += 256, size -= 256) {
    a = Fold<2048>(a, load(data));
    b = Fold<2048>(b, load(data + 64));
    c = Fold<2048>(c, load(data + 128));
    d = Fold<2048>(d, load(data + 192));
  }
  d = Fold<512>(Fold<512>(Fold<512>(a, b), c), d);
  for (; size >= 64; data += 64, size -= 64) d = Fold<512>(d, load(data));
  __m128i last = _mm512_castsi512_si128(d);
  last = FoldLane<128>(last, _mm512_extracti32x4_epi32(d, 1));
  last = FoldLane<128>(last, _mm512_extracti32x4_epi32(d, 2));
  last = FoldLane<128>(last, _mm512_extracti32x4_epi32(d, 3));
  uint64_t state = _mm_crc32_u64(0, static_cast<uint64_t>(_mm_cvtsi128_si64(last)));
  state = _mm_crc32_u64(state, static_cast<uint64_t>(_mm_extract_epi64(last, 1)));
  return Crc32cSse42(~static_cast<uint32_t>(state), data, size);
}

#elif defined(__aarch64__)

__attribute__((target("+crc"))) uint32_t Crc32cArm(uint32_t crc, const uint8_t* data, size_t size) {
  uint32_t state = ~crc;
  for (; size >= 8; data += 8, size -= 8) state = __crc32cd(state, Load64(data));
  for (; size > 0; data++, size--) state = __crc32cb(state, *data);
  return ~state;
}

#endif

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

constexpr size_t kWaysMax = 4;
using Ways = std::array<Crc32cWay, kWaysMax>;

Ways FindWays() {
  Ways ways{};
  size_t count = 0;
#if defined(__x86_64__)
  const CpuFeatures cpu = DetectCpu();
  if (cpu.sse42 && cpu.pclmul) {
    if (cpu.avx512f && cpu.vpclmulqdq) ways[count++] = {Crc32cWide, "avx512+vpclmulqdq"};
    ways[count++] = {Crc32cSse42, "sse4.2+pclmul"};
  }
#elif defined(__aarch64__)
  if (DetectCpu().arm_crc) ways[count++] = {Crc32cArm, "armv8-crc"};
#endif
  ways[count] = {Crc32cPortable, "slicing-8"};
  return ways;
}

const Ways kWays = FindWays();

}  // namespace

uint32_t Crc32c(uint32_t crc, const uint8_t* data, size_t size) {
  return kWays[0].function(crc, data, size);
}

const Crc32cWay* Crc32cWays() { return kWays.data(); }

}  // namespace punchline
