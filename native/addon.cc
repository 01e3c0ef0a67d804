// What the host sees of the addon. The types on the other side are in bindings/addon.ts.
#include <napi.h>
#include <sys/utsname.h>

#include <cstring>
#include <string>

#include "aes.h"
#include "crc32c.h"
#include "hub-binding.h"
#include "machine.h"

namespace punchline {
namespace {

// Raised whenever an export changes its meaning: the loader refuses other numbers.
constexpr int kAbi = 3;

using Napi::CallbackInfo;
using Napi::Value;

Value ThrowTypeError(Napi::Env env, const char* message) {
  Napi::TypeError::New(env, message).ThrowAsJavaScriptException();
  return env.Undefined();
}

bool Bytes(const CallbackInfo& info, size_t index, uint8_t** data, size_t* size) {
  const Value value = info[index];
  if (!value.IsTypedArray() ||
      value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    return false;
  }
  auto bytes = value.As<Napi::Uint8Array>();
  *data = bytes.Data();
  *size = bytes.ByteLength();
  return true;
}

// (bytes: Uint8Array, seed = 0): the CRC32C as an unsigned 32-bit number.
Value Crc32cBinding(const CallbackInfo& info) {
  uint8_t* bytes;
  size_t size;
  if (!Bytes(info, 0, &bytes, &size)) {
    return ThrowTypeError(info.Env(), "crc32c: bytes must be a Uint8Array");
  }
  uint32_t seed = 0;
  if (info.Length() > 1 && !info[1].IsUndefined()) {
    if (!info[1].IsNumber()) return ThrowTypeError(info.Env(), "crc32c: seed must be a number");
    seed = info[1].As<Napi::Number>().Uint32Value();
  }
  const auto* const way = static_cast<const Crc32cWay*>(info.Data());
  return Napi::Number::New(info.Env(), way->function(seed, bytes, size));
}

Napi::Function BindWay(Napi::Env env, const Crc32cWay* way) {
  return Napi::Function::New(env, Crc32cBinding, way->name, const_cast<Crc32cWay*>(way));
}

Napi::Object Outcome(Napi::Env env, const Attempt& attempt) {
  auto outcome = Napi::Object::New(env);
  outcome.Set("available", attempt.error == 0);
  outcome.Set("reason", attempt.error == 0 ? "ok" : std::strerror(attempt.error));
  return outcome;
}

Napi::Object DescribeIoUring(Napi::Env env, bool probe) {
  if (!probe) {
    auto outcome = Napi::Object::New(env);
    outcome.Set("available", false);
    outcome.Set("reason", "not probed");
    return outcome;
  }
  const IoUring ring = TryIoUring();
  Napi::Object outcome = Outcome(env, ring);
  outcome.Set("setupFlags", ring.setup_flags);
  outcome.Set("features", ring.features);
  return outcome;
}

Napi::Object DescribeCpu(Napi::Env env) {
  const CpuFeatures features = DetectCpu();
  auto cpu = Napi::Object::New(env);
  cpu.Set("sse42", features.sse42);
  cpu.Set("pclmul", features.pclmul);
  cpu.Set("aes", features.aes);
  cpu.Set("avx2", features.avx2);
  cpu.Set("avx512f", features.avx512f);
  cpu.Set("avx512bw", features.avx512bw);
  cpu.Set("vaes", features.vaes);
  cpu.Set("vpclmulqdq", features.vpclmulqdq);
  cpu.Set("armCrc", features.arm_crc);
  cpu.Set("armAes", features.arm_aes);
  return cpu;
}

Napi::Object DescribeAes(Napi::Env env) {
  const std::string reason = WhyNoAes();
  auto outcome = Napi::Object::New(env);
  outcome.Set("available", reason.empty());
  outcome.Set("reason", reason.empty() ? "ok" : reason);
  if (reason.empty()) outcome.Set("way", AesWays()->name);
  return outcome;
}

// (key, nonce, header, bytes): a payload and 16 bytes for its tag, in place.
template <bool kIsSealing>
Value AesBinding(const CallbackInfo& info) {
  uint8_t *key, *nonce, *header, *bytes;
  size_t key_size, nonce_size, header_size, size;
  AesKey held;
  if (!Bytes(info, 0, &key, &key_size) || !Bytes(info, 1, &nonce, &nonce_size) ||
      !Bytes(info, 2, &header, &header_size) || !Bytes(info, 3, &bytes, &size) ||
      key_size != kAesKeySize || nonce_size != kAesNonceSize || header_size > kAesSizeMax ||
      size < kAesTagSize || size - kAesTagSize > kAesSizeMax ||
      !held.Set(*static_cast<const AesWay*>(info.Data()), key, kIsSealing)) {
    return ThrowTypeError(info.Env(), "aes: (key, nonce, header, payload and tag)");
  }
  const AesPacket packet{nonce, header, header_size, bytes, size - kAesTagSize};
  return Napi::Boolean::New(info.Env(), kIsSealing ? held.Seal(packet) : held.Open(packet));
}

// aesWays(): by name, the fastest first.
Value AesWaysBinding(const CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto ways = Napi::Object::New(env);
  for (const AesWay* way = AesWays(); way->name != nullptr; way++) {
    auto* const data = const_cast<AesWay*>(way);
    auto functions = Napi::Object::New(env);
    functions.Set("seal", Napi::Function::New(env, AesBinding<true>, "seal", data));
    functions.Set("open", Napi::Function::New(env, AesBinding<false>, "open", data));
    ways.Set(way->name, functions);
  }
  return ways;
}

// aesFaultsMissed(): how many ways with a fault the self-test lets pass.
Value AesFaultsMissed(const CallbackInfo& info) {
  constexpr size_t kRareSize = 1'000;
  AesWay wrong_byte = *AesWays(), wrong_tag = wrong_byte, opens_anything = wrong_byte;
  wrong_byte.seal = [](void* state, const AesPacket& packet) {
    const bool is_sealed = AesWays()->seal(state, packet);
    if (packet.payload_size > kRareSize) packet.payload[kRareSize] ^= 1;
    return is_sealed;
  };
  wrong_tag.seal = [](void* state, const AesPacket& packet) {
    const bool is_sealed = AesWays()->seal(state, packet);
    if (packet.payload_size > kRareSize) packet.payload[packet.payload_size] ^= 1;
    return is_sealed;
  };
  opens_anything.open = [](void* state, const AesPacket& packet) {
    AesWays()->open(state, packet);
    return true;
  };
  int missed = 0;
  for (const AesWay& way : {wrong_byte, wrong_tag, opens_anything}) missed += GivesKnownAnswers(way);
  return Napi::Number::New(info.Env(), missed);
}

// describe(probeIoUring = true). A seccomp profile that kills instead of refusing can't be caught,
// so the host can leave that probe out.
Value Describe(const CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const bool probe = info.Length() < 1 || info[0].IsUndefined() || info[0].ToBoolean();
  utsname names{};
  uname(&names);
  auto report = Napi::Object::New(env);
  report.Set("kernel", names.release);
  report.Set("ioUring", DescribeIoUring(env, probe));
  report.Set("udpSegmentation", Outcome(env, TryUdpSegmentation()));
  report.Set("udpReceiveOffload", Outcome(env, TryUdpReceiveOffload()));
  report.Set("cpu", DescribeCpu(env));
  report.Set("crc32c", Crc32cWays()->name);
  report.Set("aes128Gcm", DescribeAes(env));
  return report;
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("abi", kAbi);
  exports.Set("describe", Napi::Function::New(env, Describe, "describe"));
  exports.Set("crc32c", BindWay(env, Crc32cWays()));
  auto ways = Napi::Object::New(env);
  for (const Crc32cWay* way = Crc32cWays(); way->name != nullptr; way++) {
    ways.Set(way->name, BindWay(env, way));
  }
  exports.Set("crc32cWays", ways);
  exports.Set("aesWays", Napi::Function::New(env, AesWaysBinding, "aesWays"));
  exports.Set("aesFaultsMissed", Napi::Function::New(env, AesFaultsMissed, "aesFaultsMissed"));
  BindHubs(env, exports);
  return exports;
}

}  // namespace
}  // namespace punchline

static Napi::Object InitModule(Napi::Env env, Napi::Object exports) {
  return punchline::Init(env, exports);
}

NODE_API_MODULE(punchline, InitModule)
