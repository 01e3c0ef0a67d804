#include "aes-wide.h"

#include "machine.h"

#if defined(__x86_64__)
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 takes what its own header leaves undefined on purpose for mistakes of ours.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include <cstring>
#include <new>
#endif

namespace punchline {

#if defined(__x86_64__)

// Numbers of sections are those of NIST SP 800-38D. There is no table and no branch that depends on
// a key or a payload, only on sizes.
namespace {

#define PUNCHLINE_VAES \
  __attribute__((target("aes,pclmul,sse4.1,avx512f,avx512bw,vaes,vpclmulqdq")))
#define PUNCHLINE_VAES_INLINE PUNCHLINE_VAES __attribute__((always_inline)) inline

constexpr size_t kBlockSize = 16;
constexpr size_t kRounds = 10;
// A register holds four blocks, and a group is four registers: enough side by side to hide how long
// each instruction takes.
constexpr size_t kVectorSize = 64;
constexpr size_t kGroupVectors = 4;
constexpr size_t kGroupSize = kGroupVectors * kVectorSize;
// The hash key's power for each block of a group, and one more for the block of lengths.
constexpr size_t kPowers = kGroupSize / kBlockSize + 1;

// ── GHASH (§6.4) ─────────────────────────────────────────────────────────────────────────────────
//
// A block is a polynomial over GF(2) whose x^0 is the first bit. With the bytes reversed it is a
// number whose highest bit is x^0. The carry-less product of two such numbers has its x^0 at bit
// 254; one of the factors is therefore kept divided by x, and then x^0 is at bit 255 where it
// belongs. Products are summed as long as no block needs the result, and reduced once.

// A sum of products: middle stands 64 bits above low, high 128. Four sums side by side.
struct Products {
  __m512i low, middle, high;
};

PUNCHLINE_VAES_INLINE __m512i Xor(__m512i a, __m512i b, __m512i c) {
  return _mm512_ternarylogic_epi64(a, b, c, 0x96);
}

PUNCHLINE_VAES_INLINE Products NoProducts() {
  const __m512i zero = _mm512_setzero_si512();
  return {zero, zero, zero};
}

PUNCHLINE_VAES_INLINE void AddEnds(Products* sum, __m512i blocks, __m512i powers) {
  sum->low = _mm512_xor_si512(sum->low, _mm512_clmulepi64_epi128(blocks, powers, 0x00));
  sum->high = _mm512_xor_si512(sum->high, _mm512_clmulepi64_epi128(blocks, powers, 0x11));
}

PUNCHLINE_VAES_INLINE void AddMiddle(Products* sum, __m512i blocks, __m512i powers) {
  const __m512i cross = _mm512_clmulepi64_epi128(blocks, powers, 0x10);
  sum->middle = Xor(sum->middle, cross, _mm512_clmulepi64_epi128(blocks, powers, 0x01));
}

PUNCHLINE_VAES_INLINE void Add(Products* sum, __m512i blocks, __m512i powers) {
  AddEnds(sum, blocks, powers);
  AddMiddle(sum, blocks, powers);
}

PUNCHLINE_VAES_INLINE __m512i HalvesExchanged(__m512i value) {
  return _mm512_shuffle_epi32(value, _MM_PERM_BADC);
}

// The remainder by x^128 + x^7 + x^2 + x + 1, of all four sums together. The lowest 64 bits stand
// for x^128 times what the same bits stand for 128 places further up, so they come back there as
// their product with x^7 + x^2 + x + 1: the constant is that without its 1 and divided by x, and
// exchanging the halves is the 1. Then the next 64.
PUNCHLINE_VAES_INLINE __m128i Remainder(const Products& sum) {
  const __m512i constant = _mm512_set1_epi64(static_cast<long long>(0xc200000000000000));
  const __m512i once =
      Xor(sum.middle, HalvesExchanged(sum.low), _mm512_clmulepi64_epi128(sum.low, constant, 0x00));
  const __m512i twice =
      Xor(sum.high, HalvesExchanged(once), _mm512_clmulepi64_epi128(once, constant, 0x00));
  const __m256i two =
      _mm256_xor_si256(_mm512_castsi512_si256(twice), _mm512_extracti64x4_epi64(twice, 1));
  return _mm_xor_si128(_mm256_castsi256_si128(two), _mm256_extracti128_si256(two, 1));
}

PUNCHLINE_VAES_INLINE __m512i First(__m128i block) { return _mm512_zextsi128_si512(block); }

PUNCHLINE_VAES_INLINE __m128i Multiply(__m128i a, __m128i b_over_x) {
  Products product = NoProducts();
  Add(&product, First(a), First(b_over_x));
  return Remainder(product);
}

PUNCHLINE_VAES_INLINE __m128i DivideByX(__m128i block) {
  const __m128i carries = _mm_srli_epi64(block, 63);
  const __m128i shifted =
      _mm_or_si128(_mm_slli_epi64(block, 1), _mm_slli_si128(carries, 8));
  // 1/x is x^127 + x^6 + x + 1: it comes in where x^0 goes out.
  const __m128i one_over_x = _mm_set_epi64x(static_cast<long long>(0xc200000000000000), 1);
  const __m128i went_out = _mm_shuffle_epi32(_mm_srai_epi32(block, 31), 0xff);
  return _mm_xor_si128(shifted, _mm_and_si128(went_out, one_over_x));
}

PUNCHLINE_VAES_INLINE __m128i Reversed(__m128i block) {
  return _mm_shuffle_epi8(block,
                          _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

PUNCHLINE_VAES_INLINE __m512i Reversed(__m512i blocks) {
  return _mm512_shuffle_epi8(blocks, _mm512_broadcast_i32x4(_mm_set_epi8(
                                         0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)));
}

// ── The key ──────────────────────────────────────────────────────────────────────────────────────

struct WideKey {
  uint8_t rounds[kRounds + 1][kBlockSize];
  // H^17, …, H^1 of the hash key H, each divided by x, and what a whole register reads behind them.
  uint8_t powers[kPowers + kVectorSize / kBlockSize - 1][kBlockSize];

  // Where the powers for `blocks` blocks begin, the last of which gets H^`last`.
  const uint8_t* PowersFor(size_t blocks, size_t last) const {
    return powers[kPowers + 1 - blocks - last];
  }
};

PUNCHLINE_VAES_INLINE __m128i Load(const uint8_t* from) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}

PUNCHLINE_VAES_INLINE void Store(uint8_t* to, __m128i block) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), block);
}

PUNCHLINE_VAES_INLINE __m128i Encrypt(const WideKey& key, __m128i block) {
  block = _mm_xor_si128(block, Load(key.rounds[0]));
  for (size_t r = 1; r < kRounds; r++) block = _mm_aesenc_si128(block, Load(key.rounds[r]));
  return _mm_aesenclast_si128(block, Load(key.rounds[kRounds]));
}

// FIPS 197 §5.2: a word is the exclusive or of the word before and the one four before; the first
// of each round key takes the word before through the S-box first.
template <int kConstant>
PUNCHLINE_VAES_INLINE __m128i NextRound(__m128i round, uint8_t* to) {
  const __m128i word = _mm_shuffle_epi32(_mm_aeskeygenassist_si128(round, kConstant), 0xff);
  round = _mm_xor_si128(round, _mm_slli_si128(round, 4));
  round = _mm_xor_si128(round, _mm_slli_si128(round, 8));
  round = _mm_xor_si128(round, word);
  Store(to, round);
  return round;
}

PUNCHLINE_VAES void Expand(const uint8_t bytes[kAesKeySize], WideKey* key) {
  __m128i round = Load(bytes);
  Store(key->rounds[0], round);
  round = NextRound<0x01>(round, key->rounds[1]);
  round = NextRound<0x02>(round, key->rounds[2]);
  round = NextRound<0x04>(round, key->rounds[3]);
  round = NextRound<0x08>(round, key->rounds[4]);
  round = NextRound<0x10>(round, key->rounds[5]);
  round = NextRound<0x20>(round, key->rounds[6]);
  round = NextRound<0x40>(round, key->rounds[7]);
  round = NextRound<0x80>(round, key->rounds[8]);
  round = NextRound<0x1b>(round, key->rounds[9]);
  NextRound<0x36>(round, key->rounds[10]);
  const __m128i hash_key = DivideByX(Reversed(Encrypt(*key, _mm_setzero_si128())));
  __m128i power = hash_key;
  for (size_t at = kPowers; at > 0; at--) {
    Store(key->powers[at - 1], power);
    power = Multiply(power, hash_key);
  }
}

// ── Packets ──────────────────────────────────────────────────────────────────────────────────────

constexpr __mmask64 FirstBytes(size_t count) { return ~uint64_t{0} >> (kVectorSize - count); }

// Counters (§6.2) and round keys, as registers.
struct Cipher {
  __m512i rounds[kRounds + 1];
  // Four counter blocks, the counters in the byte order of the processor.
  __m512i counters;
};

PUNCHLINE_VAES_INLINE __m512i CounterBlocks(__m512i counters) {
  return _mm512_shuffle_epi8(counters, _mm512_broadcast_i32x4(_mm_set_epi8(
                                           12, 13, 14, 15, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)));
}

// Gives the next `kVectors` registers of the key stream but for the last round. Between the rounds
// it sums what `waiting` is to the hash, its first last: that one needs the hash before it.
template <size_t kVectors, size_t kWaiting>
PUNCHLINE_VAES_INLINE void Advance(Cipher* cipher, __m512i* stream, const __m512i* waiting,
                                   const uint8_t* powers, Products* sum) {
  const __m512i four = _mm512_broadcast_i32x4(_mm_set_epi32(4, 0, 0, 0));
#pragma GCC unroll 4
  for (size_t v = 0; v < kVectors; v++) {
    stream[v] = _mm512_xor_si512(CounterBlocks(cipher->counters), cipher->rounds[0]);
    cipher->counters = _mm512_add_epi32(cipher->counters, four);
  }
#pragma GCC unroll 10
  for (size_t r = 1; r < kRounds; r++) {
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; v++) {
      stream[v] = _mm512_aesenc_epi128(stream[v], cipher->rounds[r]);
    }
    if (r <= 2 * kWaiting) {
      const size_t v = kWaiting - 1 - (r - 1) / 2;
      const __m512i power = _mm512_loadu_si512(powers + v * kVectorSize);
      if (r % 2 != 0) {
        AddEnds(sum, waiting[v], power);
      } else {
        AddMiddle(sum, waiting[v], power);
      }
    }
  }
}

PUNCHLINE_VAES_INLINE __m128i HashHeader(const WideKey& key, const uint8_t* header, size_t size) {
  __m128i hash = _mm_setzero_si128();
  while (size > 0) {
    const size_t part = size < kVectorSize ? size : kVectorSize;
    const __m512i blocks = Reversed(_mm512_maskz_loadu_epi8(FirstBytes(part), header));
    Products sum = NoProducts();
    Add(&sum, _mm512_xor_si512(blocks, First(hash)),
        _mm512_loadu_si512(key.PowersFor((part + kBlockSize - 1) / kBlockSize, 1)));
    hash = Remainder(sum);
    header += part;
    size -= part;
  }
  return hash;
}

// What is left of a packet, at most a group: the hash of it and of the lengths.
template <bool kIsSealing, size_t kVectors>
PUNCHLINE_VAES_INLINE __m128i Finish(const WideKey& key, Cipher* cipher, __m128i hash, uint8_t* at,
                                     size_t rest, __m128i lengths) {
  Products sum = NoProducts();
  if constexpr (kVectors == 0) {
    lengths = _mm_xor_si128(lengths, hash);
  } else {
    const uint8_t* const powers = key.PowersFor((rest + kBlockSize - 1) / kBlockSize, 2);
    const __mmask64 mask = FirstBytes(rest - (kVectors - 1) * kVectorSize);
    __m512i stream[kVectors], bytes[kVectors];
    Advance<kVectors, 0>(cipher, stream, nullptr, nullptr, &sum);
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; v++) {
      const __mmask64 there = v + 1 < kVectors ? FirstBytes(kVectorSize) : mask;
      bytes[v] = _mm512_maskz_loadu_epi8(there, at + v * kVectorSize);
      const __m512i out = _mm512_xor_si512(
          bytes[v], _mm512_aesenclast_epi128(stream[v], cipher->rounds[kRounds]));
      _mm512_mask_storeu_epi8(at + v * kVectorSize, there, out);
      __m512i blocks = Reversed(kIsSealing ? _mm512_maskz_mov_epi8(there, out) : bytes[v]);
      if (v == 0) blocks = _mm512_xor_si512(blocks, First(hash));
      Add(&sum, blocks, _mm512_loadu_si512(powers + v * kVectorSize));
    }
  }
  Add(&sum, First(lengths), First(Load(key.PowersFor(1, 1))));
  return Remainder(sum);
}

PUNCHLINE_VAES_INLINE __m128i HashGroup(const WideKey& key, __m128i hash, const __m512i* waiting) {
  const uint8_t* const powers = key.PowersFor(kGroupSize / kBlockSize, 1);
  Products sum = NoProducts();
#pragma GCC unroll 4
  for (size_t v = 0; v < kGroupVectors; v++) {
    const __m512i blocks = v == 0 ? _mm512_xor_si512(waiting[0], First(hash)) : waiting[v];
    Add(&sum, blocks, _mm512_loadu_si512(powers + v * kVectorSize));
  }
  return Remainder(sum);
}

// Takes a group through the cipher and ciphertext into the hash: when opening that of the group,
// when sealing that of the group before, which is there already.
template <bool kIsSealing, bool kHashes>
PUNCHLINE_VAES_INLINE void TakeGroup(const WideKey& key, Cipher* cipher, __m512i* waiting,
                                     __m128i* hash, uint8_t* at) {
  const uint8_t* const powers = key.PowersFor(kGroupSize / kBlockSize, 1);
  __m512i stream[kGroupVectors], bytes[kGroupVectors];
#pragma GCC unroll 4
  for (size_t v = 0; v < kGroupVectors; v++) {
    bytes[v] = _mm512_loadu_si512(at + v * kVectorSize);
    if (!kIsSealing) waiting[v] = Reversed(bytes[v]);
  }
  Products sum = NoProducts();
  if (kHashes) waiting[0] = _mm512_xor_si512(waiting[0], First(*hash));
  Advance<kGroupVectors, kHashes ? kGroupVectors : 0>(cipher, stream, waiting, powers, &sum);
  if (kHashes) *hash = Remainder(sum);
#pragma GCC unroll 4
  for (size_t v = 0; v < kGroupVectors; v++) {
    const __m512i out = _mm512_xor_si512(
        bytes[v], _mm512_aesenclast_epi128(stream[v], cipher->rounds[kRounds]));
    _mm512_storeu_si512(at + v * kVectorSize, out);
    if (kIsSealing) waiting[v] = Reversed(out);
  }
}

template <bool kIsSealing>
PUNCHLINE_VAES_INLINE __m128i Run(const WideKey& key, const AesPacket& packet) {
  int32_t nonce[3];
  std::memcpy(nonce, packet.nonce, sizeof nonce);
  // §7.1: with a nonce of 96 bits the first counter block is the nonce and 1.
  const __m128i first = _mm_set_epi32(1, nonce[2], nonce[1], nonce[0]);
  Cipher cipher;
#pragma GCC unroll 11
  for (size_t r = 0; r <= kRounds; r++) {
    cipher.rounds[r] = _mm512_broadcast_i32x4(Load(key.rounds[r]));
  }
  cipher.counters = _mm512_add_epi32(
      _mm512_broadcast_i32x4(first),
      _mm512_set_epi32(4, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0));
  const __m128i mask = Encrypt(key, _mm512_castsi512_si128(CounterBlocks(First(first))));
  __m128i hash = HashHeader(key, packet.header, packet.header_size);

  uint8_t* at = packet.payload;
  size_t rest = packet.payload_size;
  __m512i waiting[kGroupVectors];
  const bool will_wait = kIsSealing && rest > kGroupSize;
  if (will_wait) {
    TakeGroup<kIsSealing, false>(key, &cipher, waiting, &hash, at);
    at += kGroupSize;
    rest -= kGroupSize;
  }
  for (; rest > kGroupSize; at += kGroupSize, rest -= kGroupSize) {
    TakeGroup<kIsSealing, true>(key, &cipher, waiting, &hash, at);
  }
  if (will_wait) hash = HashGroup(key, hash, waiting);
  const __m128i lengths = _mm_set_epi64x(static_cast<long long>(packet.header_size * 8),
                                         static_cast<long long>(packet.payload_size * 8));
  switch ((rest + kVectorSize - 1) / kVectorSize) {
    case 0: hash = Finish<kIsSealing, 0>(key, &cipher, hash, at, rest, lengths); break;
    case 1: hash = Finish<kIsSealing, 1>(key, &cipher, hash, at, rest, lengths); break;
    case 2: hash = Finish<kIsSealing, 2>(key, &cipher, hash, at, rest, lengths); break;
    case 3: hash = Finish<kIsSealing, 3>(key, &cipher, hash, at, rest, lengths); break;
    default: hash = Finish<kIsSealing, 4>(key, &cipher, hash, at, rest, lengths);
  }
  return _mm_xor_si128(Reversed(hash), mask);
}

PUNCHLINE_VAES bool Seal(void* state, const AesPacket& packet) {
  Store(packet.payload + packet.payload_size,
        Run<true>(*static_cast<const WideKey*>(state), packet));
  return true;
}

PUNCHLINE_VAES bool Open(void* state, const AesPacket& packet) {
  const __m128i told = Load(packet.payload + packet.payload_size);
  const __m128i tag = Run<false>(*static_cast<const WideKey*>(state), packet);
  const __m128i difference = _mm_xor_si128(told, tag);
  return _mm_testz_si128(difference, difference) != 0;
}

void* Make(const uint8_t key[kAesKeySize], bool) {
  auto* const state = new (std::nothrow) WideKey{};
  if (state != nullptr) Expand(key, state);
  return state;
}

void Free(void* state) {
  std::memset(state, 0, sizeof(WideKey));
  // Or else a compiler leaves out what nobody reads.
  __asm__ __volatile__("" : : "r"(state) : "memory");
  delete static_cast<WideKey*>(state);
}

}  // namespace

bool FindWideAes(AesWay* way) {
  const CpuFeatures cpu = DetectCpu();
  if (!cpu.aes || !cpu.pclmul || !cpu.avx512f || !cpu.avx512bw || !cpu.vaes || !cpu.vpclmulqdq) {
    return false;
  }
  *way = {"avx512+vaes", Make, Free, Seal, Open};
  return true;
}

#else

bool FindWideAes(AesWay*) { return false; }

#endif

}  // namespace punchline
