#include "hub-binding.h"

#include <errno.h>

#include <cstring>
#include <memory>
#include <string>

#include "instance.h"
#include "jobs.h"

namespace punchline {
namespace {

using Napi::CallbackInfo;
using Napi::Value;

// Answers of hot calls when there is no such socket.
constexpr int kGone = -1;

// ── Hot calls: the C interface, a third faster ───────────────────────────────────────────────────

template <size_t kCount>
bool Arguments(napi_env env, napi_callback_info info, napi_value (&values)[kCount]) {
  size_t count = kCount;
  return napi_get_cb_info(env, info, &count, values, nullptr, nullptr) == napi_ok &&
         count == kCount;
}

int Int(napi_env env, napi_value value) {
  int32_t number = 0;
  napi_get_value_int32(env, value, &number);
  return number;
}

napi_value Number(napi_env env, int number) {
  napi_value value = nullptr;
  napi_create_int32(env, number, &value);
  return value;
}

HubSocket* SocketById(napi_env env, int id) {
  Instance* const instance = Instance::Of(env);
  return instance == nullptr ? nullptr : instance->sockets().Find(id);
}

Hub* HubById(napi_env env, int id) {
  Instance* const instance = Instance::Of(env);
  return instance == nullptr ? nullptr : instance->hubs().Find(id);
}

template <typename Element>
bool View(napi_env env, napi_value value, napi_typedarray_type wanted, size_t least,
          Element** data, size_t* length) {
  napi_typedarray_type type;
  void* raw = nullptr;
  if (napi_get_typedarray_info(env, value, &type, length, &raw, nullptr, nullptr) != napi_ok ||
      type != wanted || *length < least) {
    return false;
  }
  *data = static_cast<Element*>(raw);
  return true;
}

bool ReadAddress(napi_env env, napi_value value, Address* out) {
  int32_t* words;
  size_t length;
  if (!View(env, value, napi_int32_array, sizeof *out / 4, &words, &length)) return false;
  std::memcpy(out, words, sizeof *out);
  return true;
}

// flush(socket, count)
napi_value Flush(napi_env env, napi_callback_info info) {
  napi_value values[2];
  if (!Arguments(env, info, values)) return Number(env, kGone);
  HubSocket* const socket = SocketById(env, Int(env, values[0]));
  if (socket == nullptr) return Number(env, kGone);
  const int count = Int(env, values[1]);
  return Number(env, socket->hub->Flush(socket, count < 0 ? 0 : static_cast<uint32_t>(count)));
}

// send(socket, bytes, address)
napi_value Send(napi_env env, napi_callback_info info) {
  napi_value values[3];
  if (!Arguments(env, info, values)) return Number(env, kGone);
  HubSocket* const socket = SocketById(env, Int(env, values[0]));
  uint8_t* bytes;
  size_t size;
  Address to;
  if (socket == nullptr || !View(env, values[1], napi_uint8_array, 0, &bytes, &size) ||
      size > kPayloadMax || !ReadAddress(env, values[2], &to)) {
    return Number(env, kGone);
  }
  return Number(env, socket->hub->SendOne(socket, bytes, static_cast<uint32_t>(size), to));
}

// takeRefusals(socket)
napi_value TakeRefusals(napi_env env, napi_callback_info info) {
  napi_value values[1];
  if (!Arguments(env, info, values)) return Number(env, kGone);
  HubSocket* const socket = SocketById(env, Int(env, values[0]));
  return Number(env, socket == nullptr ? kGone : socket->hub->TakeRefusals(socket));
}

// setDeadline(hub, micros)
napi_value SetDeadline(napi_env env, napi_callback_info info) {
  napi_value values[2];
  double micros = -1;
  if (!Arguments(env, info, values)) return nullptr;
  Hub* const hub = HubById(env, Int(env, values[0]));
  if (hub == nullptr || napi_get_value_double(env, values[1], &micros) != napi_ok) return nullptr;
  hub->SetDeadline(micros);
  return nullptr;
}

// runJobs(hub, jobs, count, verdicts)
napi_value RunJobsBinding(napi_env env, napi_callback_info info) {
  napi_value values[4];
  if (!Arguments(env, info, values)) return Number(env, kGone);
  Hub* const hub = HubById(env, Int(env, values[0]));
  if (hub == nullptr) return Number(env, kGone);
  const auto word = [&](size_t index) { return static_cast<uint32_t>(Int(env, values[index])); };
  return Number(env, static_cast<int>(hub->RunJobs(word(1), word(2), word(3))));
}

// ── Cold calls ───────────────────────────────────────────────────────────────────────────────────

Value Fail(Napi::Env env, const char* message) {
  Napi::TypeError::New(env, message).ThrowAsJavaScriptException();
  return env.Undefined();
}

Value Outcome(Napi::Env env, const RingFailure& failure) {
  auto outcome = Napi::Object::New(env);
  outcome.Set("available", failure.error == 0);
  const std::string reason =
      failure.error == 0 ? "ok"
                         : std::string(failure.step) + ": " + std::strerror(failure.error);
  outcome.Set("reason", reason);
  return outcome;
}

Value ProbeRingBinding(const CallbackInfo& info) { return Outcome(info.Env(), ProbeRing()); }

// The hub goes when its JavaScript side does.
struct Anchor {
  std::shared_ptr<Instance> instance;
  int hub;
};

// openHub(anchor, memory, layout, words, callback)
Value OpenHub(const CallbackInfo& info) {
  const Napi::Env env = info.Env();
  void* data = nullptr;
  napi_get_instance_data(env, &data);
  if (data == nullptr) return Fail(env, "openHub: the environment is gone");
  auto& instance = *static_cast<std::shared_ptr<Instance>*>(data);
  int32_t* words;
  size_t length;
  Layout layout;
  if (info.Length() != 5 || !info[0].IsObject() || !info[4].IsFunction() ||
      !View(env, info[2], napi_int32_array, sizeof layout / 4, &words, &length)) {
    return Fail(env, "openHub: (object, Uint8Array, Int32Array, Int32Array, function)");
  }
  std::memcpy(&layout, words, sizeof layout);
  Hub* const hub = instance->MakeHub();
  if (hub == nullptr) return Fail(env, "openHub: too many hubs");
  const char* const fault = hub->Open(info[1], layout, info[3], info[4]);
  if (fault != nullptr) {
    hub->Close();
    return Fail(env, fault);
  }
  const auto finalize = [](napi_env, void* anchor_data, void*) {
    std::unique_ptr<Anchor> anchor(static_cast<Anchor*>(anchor_data));
    Hub* const found = anchor->instance->hubs().Find(anchor->hub);
    if (found != nullptr) found->Close();
  };
  auto anchor = std::make_unique<Anchor>(Anchor{instance, hub->id()});
  if (napi_wrap(env, info[0], anchor.get(), finalize, nullptr, nullptr) != napi_ok) {
    hub->Close();
    return Fail(env, "openHub: the anchor carries a hub already");
  }
  anchor.release();
  auto result = Napi::Object::New(env);
  result.Set("id", hub->id());
  result.Set("packedBytes", hub->arena().packed_size());
  return result;
}

Hub* HubArgument(const CallbackInfo& info) {
  return info.Length() > 0 && info[0].IsNumber()
             ? HubById(info.Env(), info[0].As<Napi::Number>().Int32Value())
             : nullptr;
}

HubSocket* SocketArgument(const CallbackInfo& info) {
  return info.Length() > 0 && info[0].IsNumber()
             ? SocketById(info.Env(), info[0].As<Napi::Number>().Int32Value())
             : nullptr;
}

void CloseHub(const CallbackInfo& info) {
  Hub* const hub = HubArgument(info);
  if (hub != nullptr) hub->Close();
}

Value OpenRing(const CallbackInfo& info) {
  Hub* const hub = HubArgument(info);
  if (hub == nullptr) return Fail(info.Env(), "openRing: no such hub");
  return Outcome(info.Env(), hub->OpenRing());
}

Value HubFigures(const CallbackInfo& info) {
  Hub* const hub = HubArgument(info);
  if (hub == nullptr) return info.Env().Undefined();
  auto figures = Napi::Object::New(info.Env());
  figures.Set("callbacks", static_cast<double>(hub->callbacks()));
  figures.Set("hasRing", hub->has_ring());
  figures.Set("ringCalls", static_cast<double>(hub->ring().calls()));
  figures.Set("ringFlags", hub->has_ring() ? hub->ring().setup_flags() : 0);
  figures.Set("heldKeys", hub->held_keys());
  return figures;
}

void SetBusyPoll(const CallbackInfo& info) {
  Hub* const hub = HubArgument(info);
  if (hub != nullptr && info.Length() > 1 && info[1].IsNumber()) {
    hub->SetBusyPoll(info[1].As<Napi::Number>().Uint32Value());
  }
}

bool Flag(const Napi::Object& options, const char* name) {
  return options.Get(name).ToBoolean().Value();
}

int Integer(const Napi::Object& options, const char* name) {
  const Value value = options.Get(name);
  return value.IsNumber() ? value.As<Napi::Number>().Int32Value() : 0;
}

// openSocket(hub, address, options)
Value OpenSocket(const CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Hub* const hub = HubArgument(info);
  SocketOptions options;
  if (hub == nullptr || info.Length() != 3 || !info[2].IsObject() ||
      !ReadAddress(env, info[1], &options.address)) {
    return Fail(env, "openSocket: (hub, Int32Array, object)");
  }
  const auto from = info[2].As<Napi::Object>();
  options.family = Integer(from, "family") == 6 ? AF_INET6 : AF_INET;
  options.ipv6_only = Flag(from, "ipv6Only");
  options.reuse_port = Flag(from, "reusePort");
  options.dont_fragment = Flag(from, "dontFragment");
  options.ecn = Flag(from, "ecn");
  options.segmentation = Flag(from, "segmentation");
  options.receive_offload = Flag(from, "receiveOffload");
  options.verify_crc32c = Flag(from, "verifyCrc32c");
  options.receive_buffer_bytes = Integer(from, "receiveBufferBytes");
  options.send_buffer_bytes = Integer(from, "sendBufferBytes");
  options.index = static_cast<uint32_t>(Integer(from, "index"));

  auto result = Napi::Object::New(env);
  auto socket = std::make_unique<HubSocket>();
  HubSocket* const opened = socket.get();
  const char* step = "";
  int error = opened->socket.Open(options, &step);
  if (error == 0) {
    step = "uv_poll";
    error = hub->Add(std::move(socket), Flag(from, "ring"));
  }
  result.Set("error", error);
  result.Set("syscall", step);
  if (error != 0) return result;
  auto address = Napi::Int32Array::New(env, sizeof(Address) / 4);
  std::memcpy(address.Data(), &opened->socket.bound(), sizeof(Address));
  result.Set("id", opened->id);
  result.Set("address", address);
  result.Set("isOnRing", opened->is_on_ring);
  result.Set("receiveBufferBytes", opened->socket.receive_buffer_bytes());
  result.Set("sendBufferBytes", opened->socket.send_buffer_bytes());
  return result;
}

void CloseSocket(const CallbackInfo& info) {
  HubSocket* const socket = SocketArgument(info);
  if (socket != nullptr) socket->hub->Remove(socket);
}

// failSends(socket, errno, times): for tests
void FailSends(const CallbackInfo& info) {
  HubSocket* const socket = SocketArgument(info);
  if (socket == nullptr || info.Length() != 3) return;
  socket->socket.FailSends(info[1].ToNumber().Int32Value(), info[2].ToNumber().Uint32Value());
}

void SetSocketRef(const CallbackInfo& info) {
  HubSocket* const socket = SocketArgument(info);
  if (socket != nullptr && info.Length() > 1) {
    socket->hub->SetRef(socket, info[1].ToBoolean().Value());
  }
}

Value SocketFigures(const CallbackInfo& info) {
  HubSocket* const socket = SocketArgument(info);
  if (socket == nullptr) return info.Env().Undefined();
  const UdpSocket& udp = socket->socket;
  const SocketCounters& counters = udp.counters();
  auto figures = Napi::Object::New(info.Env());
  const auto set = [&](const char* name, uint64_t value) {
    figures.Set(name, static_cast<double>(value));
  };
  set("sendCalls", counters.send_calls);
  set("receiveCalls", counters.receive_calls);
  set("datagramsSent", counters.datagrams_sent);
  set("datagramsReceived", counters.datagrams_received);
  set("descriptorsRefused", counters.descriptors_refused);
  set("sendsFailed", counters.sends_failed);
  set("receivesTruncated", counters.receives_truncated);
  set("segmentationFailures", counters.segmentation_failures);
  set("blocked", counters.blocked);
  set("drops", udp.Drops());
  figures.Set("hasSegmentation", udp.has_segmentation());
  figures.Set("segmentationReason",
              udp.segmentation_error() == 0 ? "ok" : std::strerror(udp.segmentation_error()));
  figures.Set("neverFragments", udp.NeverFragments());
  figures.Set("hasReceiveOffload", udp.has_receive_offload());
  return figures;
}

// localAddressTo(address, family, out): errno or 0
Value LocalAddress(const CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Address to, local{};
  int32_t* out;
  size_t length;
  if (info.Length() != 3 || !ReadAddress(env, info[0], &to) ||
      !View(env, info[2], napi_int32_array, sizeof local / 4, &out, &length)) {
    return Fail(env, "localAddressTo: (Int32Array, number, Int32Array)");
  }
  const int family = info[1].ToNumber().Int32Value() == 6 ? AF_INET6 : AF_INET;
  const int error = LocalAddressTo(to, family, &local);
  if (error == 0) std::memcpy(out, &local, sizeof local);
  return Napi::Number::New(env, error);
}

// liveObjects(): what this environment has open
Value LiveObjects(const CallbackInfo& info) {
  Instance* const instance = Instance::Of(info.Env());
  auto result = Napi::Object::New(info.Env());
  result.Set("hubs", instance == nullptr ? 0 : instance->hubs_alive());
  result.Set("sockets", instance == nullptr ? 0 : instance->sockets().count());
  return result;
}

void SetHot(Napi::Env env, Napi::Object exports, const char* name, napi_callback callback) {
  napi_value function;
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &function) == napi_ok) {
    exports.Set(name, function);
  }
}

}  // namespace

void BindHubs(Napi::Env env, Napi::Object exports) {
  if (!IsKnownUv() || Instance::Create(env) == nullptr) return;
  const auto set = [&](const char* name, auto callback) {
    exports.Set(name, Napi::Function::New(env, callback, name));
  };
  set("probeRing", ProbeRingBinding);
  set("openHub", OpenHub);
  set("closeHub", CloseHub);
  set("openRing", OpenRing);
  set("hubFigures", HubFigures);
  set("setBusyPoll", SetBusyPoll);
  set("openSocket", OpenSocket);
  set("closeSocket", CloseSocket);
  set("setSocketRef", SetSocketRef);
  set("failSends", FailSends);
  set("socketFigures", SocketFigures);
  set("localAddressTo", LocalAddress);
  set("liveObjects", LiveObjects);
  SetHot(env, exports, "flush", Flush);
  SetHot(env, exports, "send", Send);
  SetHot(env, exports, "takeRefusals", TakeRefusals);
  SetHot(env, exports, "setDeadline", SetDeadline);
  SetHot(env, exports, "runJobs", RunJobsBinding);

  auto shared = Napi::Object::New(env);
  shared.Set("descriptorBytes", sizeof(Descriptor));
  shared.Set("slotBytes", kSlotSize);
  shared.Set("slots", kSlots);
  shared.Set("jobBytes", sizeof(Job));
  shared.Set("words", kSharedWords);
  shared.Set("refusalsAt", kWordRefusals);
  shared.Set("refusalWords", kRefusalWords);
  exports.Set("shared", shared);
}

}  // namespace punchline
