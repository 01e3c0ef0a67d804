// AES-128-GCM by the OpenSSL inside the running Node: its symbols are found at run time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace punchline {

// struct evp_cipher_ctx_st of OpenSSL.
struct CipherContext;

constexpr size_t kAesTagSize = 16;
constexpr size_t kAesNonceSize = 12;

// What one call works on. `payload` is changed in place, the tag lies behind it.
struct AesPacket {
  const uint8_t* nonce;
  const uint8_t* header;
  size_t header_size;
  uint8_t* payload;
  size_t payload_size;
};

// Null, or why there is no AES: which symbol is missing.
const char* WhyNoAes();

// One key in one direction.
class AesKey {
 public:
  AesKey() = default;
  AesKey(const AesKey&) = delete;
  AesKey& operator=(const AesKey&) = delete;
  // Wipes the key.
  ~AesKey() { Clear(); }

  bool Set(const uint8_t key[16], bool is_sealing);
  void Clear();
  bool is_set() const { return context_ != nullptr; }

  bool Seal(const AesPacket& packet);
  // False when the packet is not what was sealed; the payload is worthless then.
  bool Open(const AesPacket& packet);

 private:
  CipherContext* context_ = nullptr;
};

}  // namespace punchline
