#include "aes.h"

#include <dlfcn.h>

#include <type_traits>

namespace punchline {
namespace {

// EVP_CTRL_AEAD_GET_TAG, EVP_CTRL_AEAD_SET_TAG of <openssl/evp.h>
constexpr int kGetTag = 0x10;
constexpr int kSetTag = 0x11;

// The calls of OpenSSL that are used; their signatures are the same since 1.1.
struct Library {
  CipherContext* (*make)();
  void (*free)(CipherContext*);
  const void* (*aes_128_gcm)();
  int (*init)(CipherContext*, const void* cipher, void* engine, const uint8_t* key,
              const uint8_t* nonce, int is_sealing);
  int (*update)(CipherContext*, uint8_t* out, int* size, const uint8_t* in, int in_size);
  int (*finish)(CipherContext*, uint8_t* out, int* size);
  int (*control)(CipherContext*, int type, int size, void* value);
  const char* missing = nullptr;
};

Library FindLibrary() {
  Library library{};
  const auto find = [&](const char* name, auto& function) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(
        dlsym(RTLD_DEFAULT, name));
    if (function == nullptr && library.missing == nullptr) library.missing = name;
  };
  find("EVP_CIPHER_CTX_new", library.make);
  find("EVP_CIPHER_CTX_free", library.free);
  find("EVP_aes_128_gcm", library.aes_128_gcm);
  find("EVP_CipherInit_ex", library.init);
  find("EVP_CipherUpdate", library.update);
  find("EVP_CipherFinal_ex", library.finish);
  find("EVP_CIPHER_CTX_ctrl", library.control);
  return library;
}

const Library& OpenSsl() {
  static const Library library = FindLibrary();
  return library;
}

// Everything up to the tag.
bool Process(CipherContext* context, const AesPacket& packet) {
  const Library& library = OpenSsl();
  int size = 0;
  if (library.init(context, nullptr, nullptr, nullptr, packet.nonce, -1) != 1) return false;
  if (packet.header_size > 0 && library.update(context, nullptr, &size, packet.header,
                                               static_cast<int>(packet.header_size)) != 1) {
    return false;
  }
  return packet.payload_size == 0 || library.update(context, packet.payload, &size, packet.payload,
                                                    static_cast<int>(packet.payload_size)) == 1;
}

}  // namespace

const char* WhyNoAes() { return OpenSsl().missing; }

bool AesKey::Set(const uint8_t key[16], bool is_sealing) {
  const Library& library = OpenSsl();
  if (library.missing != nullptr) return false;
  Clear();
  context_ = library.make();
  if (context_ == nullptr) return false;
  if (library.init(context_, library.aes_128_gcm(), nullptr, key, nullptr, is_sealing ? 1 : 0) ==
      1) {
    return true;
  }
  Clear();
  return false;
}

void AesKey::Clear() {
  if (context_ != nullptr) OpenSsl().free(context_);
  context_ = nullptr;
}

bool AesKey::Seal(const AesPacket& packet) {
  const Library& library = OpenSsl();
  uint8_t* const tag = packet.payload + packet.payload_size;
  int size = 0;
  return Process(context_, packet) && library.finish(context_, tag, &size) == 1 &&
         library.control(context_, kGetTag, kAesTagSize, tag) == 1;
}

bool AesKey::Open(const AesPacket& packet) {
  const Library& library = OpenSsl();
  uint8_t* const tag = packet.payload + packet.payload_size;
  int size = 0;
  uint8_t rest[kAesTagSize];
  return Process(context_, packet) &&
         library.control(context_, kSetTag, kAesTagSize, tag) == 1 &&
         library.finish(context_, rest, &size) == 1;
}

}  // namespace punchline
