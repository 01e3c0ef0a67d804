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

// (bytes: Uint8Array, seed = 0): the CRC32C as an unsigned 32-bit number.
Value Crc32cBinding(const CallbackInfo& info) {
  if (info.Length() < 1 || !info[0].IsTypedArray() ||
      info[0].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    return ThrowTypeError(info.Env(), "crc32c: bytes must be a Uint8Array");
  }
  uint32_t seed = 0;
  if (info.Length() > 1 && !info[1].IsUndefined()) {
    if (!info[1].IsNumber()) return ThrowTypeError(info.Env(), "crc32c: seed must be a number");
    seed = info[1].As<Napi::Number>().Uint32Value();
  }
  const auto bytes = info[0].As<Napi::Uint8Array>();
  const auto* const way = static_cast<const Crc32cWay*>(info.Data());
  return Napi::Number::New(info.Env(), way->function(seed, bytes.Data(), bytes.ByteLength()));
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
  cpu.Set("vpclmulqdq", features.vpclmulqdq);
  cpu.Set("armCrc", features.arm_crc);
  cpu.Set("armAes", features.arm_aes);
  return cpu;
}

Napi::Object DescribeAes(Napi::Env env) {
  const char* const missing = WhyNoAes();
  auto outcome = Napi::Object::New(env);
  outcome.Set("available", missing == nullptr);
  outcome.Set("reason",
              missing == nullptr ? "ok" : std::string("node does not export ") + missing);
  return outcome;
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
  BindHubs(env, exports);
  return exports;
}

}  // namespace
}  // namespace punchline

static Napi::Object InitModule(Napi::Env env, Napi::Object exports) {
  return punchline::Init(env, exports);
}

NODE_API_MODULE(punchline, InitModule)
