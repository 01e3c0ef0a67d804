#include "aes-openssl.h"

#include <dlfcn.h>

#include <type_traits>

namespace punchline {
namespace {

// struct evp_cipher_ctx_st of OpenSSL.
struct CipherContext;

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

void Free(void* state) { OpenSsl().free(static_cast<CipherContext*>(state)); }

void* Make(const uint8_t key[kAesKeySize], bool is_sealing) {
  const Library& library = OpenSsl();
  CipherContext* const context = library.make();
  if (context == nullptr) return nullptr;
  if (library.init(context, library.aes_128_gcm(), nullptr, key, nullptr, is_sealing ? 1 : 0) ==
      1) {
    return context;
  }
  Free(context);
  return nullptr;
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

bool Seal(void* state, const AesPacket& packet) {
  const Library& library = OpenSsl();
  auto* const context = static_cast<CipherContext*>(state);
  uint8_t* const tag = packet.payload + packet.payload_size;
  int size = 0;
  return Process(context, packet) && library.finish(context, tag, &size) == 1 &&
         library.control(context, kGetTag, kAesTagSize, tag) == 1;
}

bool Open(void* state, const AesPacket& packet) {
  const Library& library = OpenSsl();
  auto* const context = static_cast<CipherContext*>(state);
  uint8_t* const tag = packet.payload + packet.payload_size;
  int size = 0;
  uint8_t rest[kAesTagSize];
  return Process(context, packet) &&
         library.control(context, kSetTag, kAesTagSize, tag) == 1 &&
         library.finish(context, rest, &size) == 1;
}

}  // namespace

const char* FindOpenSslAes(AesWay* way) {
  *way = {"openssl", Make, Free, Seal, Open};
  return OpenSsl().missing;
}

}  // namespace punchline
