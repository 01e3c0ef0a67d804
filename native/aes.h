// AES-128-GCM by the fastest way this process has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace punchline {

constexpr size_t kAesKeySize = 16;
constexpr size_t kAesTagSize = 16;
constexpr size_t kAesNonceSize = 12;
// Largest header and payload.
constexpr size_t kAesSizeMax = 1 << 20;

// What one call works on. `payload` is changed in place, the tag lies behind it.
struct AesPacket {
  const uint8_t* nonce;
  const uint8_t* header;
  size_t header_size;
  uint8_t* payload;
  size_t payload_size;
};

// A way to compute it. A state is what a way keeps of one key in one direction.
struct AesWay {
  const char* name = nullptr;
  // Gives null when there is no memory.
  void* (*make)(const uint8_t key[kAesKeySize], bool is_sealing) = nullptr;
  // Wipes the state.
  void (*free)(void* state) = nullptr;
  bool (*seal)(void* state, const AesPacket& packet) = nullptr;
  // False when the packet is not what was sealed; the payload is worthless then, the tag as it was.
  bool (*open)(void* state, const AesPacket& packet) = nullptr;
};

// The ways that this process can go and that gave the known answers, the fastest first. Ended by an
// empty one.
const AesWay* AesWays();

// Whether `way` seals and opens as the published vectors and OpenSSL do.
bool GivesKnownAnswers(const AesWay& way);

// Empty, or why there is no way.
std::string WhyNoAes();

// One key in one direction.
class AesKey {
 public:
  AesKey() = default;
  AesKey(const AesKey&) = delete;
  AesKey& operator=(const AesKey&) = delete;
  // Wipes the key.
  ~AesKey() { Clear(); }

  bool Set(const AesWay& way, const uint8_t key[kAesKeySize], bool is_sealing);
  void Clear();
  bool is_set() const { return state_ != nullptr; }

  bool Seal(const AesPacket& packet) { return way_->seal(state_, packet); }
  bool Open(const AesPacket& packet) { return way_->open(state_, packet); }

 private:
  const AesWay* way_ = nullptr;
  void* state_ = nullptr;
};

}  // namespace punchline
