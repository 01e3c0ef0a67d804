// Everything native that belongs to one core memory: its sockets, at most one ring, a deadline. It
// lives on the event loop of the thread that made it and tells JavaScript through one callback.
#pragma once

#include <node_api.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "arena.h"
#include "handles.h"
#include "jobs.h"
#include "ring.h"
#include "udp-socket.h"

namespace punchline {

class Hub;
class Instance;

// What the callback is told: (event, id of the socket or 0, number).
enum class Event : int {
  // The first `number` receive descriptors are for this socket.
  kReceived = 1,
  // What was set aside has left: the socket takes more.
  kWritable = 2,
  // `number` records of refusals lie in the shared words.
  kRefused = 3,
  // The deadline has come.
  kDeadline = 4,
  // Receive descriptors that JavaScript has filled must be taken now.
  kPrepare = 5,
  // The socket is of no use any more; `number` is the errno.
  kFailed = 6,
  // What an event has led to is done: JavaScript asked for this call by kWordSettle.
  kSettle = 7,
};

// Words that the hub and JavaScript share.
constexpr uint32_t kWordBusy = 0;
// An event is being told, or what follows from it runs.
constexpr uint32_t kWordInside = 1;
constexpr uint32_t kWordSettle = 2;
constexpr uint32_t kWordRefusals = 16;
constexpr uint32_t kRefusalWords = 8;
constexpr uint32_t kRefusalCount = 64;
constexpr uint32_t kSharedWords = kWordRefusals + kRefusalWords * kRefusalCount;

// Descriptors that one callback carries at most, and callbacks of one wake-up. More than one would
// let a fast peer's answer overtake what the program has put off with setImmediate: `http` over `tls`
// then sees the next request before the last answer is through, and takes that for an error.
constexpr uint32_t kDescriptorsPerDrain = 512;
constexpr int kRoundsPerWake = 1;
// Sockets whose datagrams come through the ring. They share its few buffers: a crowd of sockets
// would spend its time re-arming, and is served from the poll set.
constexpr uint32_t kRingSocketsMax = 8;

// A socket with its place on the event loop.
struct HubSocket {
  Hub* hub = nullptr;
  int id = 0;
  UdpSocket socket;
  PollHandle poll;
  bool is_ref = true;
  bool is_on_ring = false;
  // A multishot receive is under way, or was asked for.
  bool is_armed = false;
  // Sends wait until the system takes them.
  bool is_blocked = false;
  // Room for name and control data of the multishot receive.
  msghdr receive_header{};

  // What the system did not take, copied out of the train arena, which others use meanwhile.
  struct Aside {
    std::vector<uint8_t> bytes;
    std::vector<Descriptor> descriptors;
    uint32_t first = 0;
  } aside;
};

class Hub final : public HandleOwner {
 public:
  Hub(Instance* instance, napi_env env) : instance_(instance), env_(env) {}
  Hub(const Hub&) = delete;
  Hub& operator=(const Hub&) = delete;

  // Null for success, else what is wrong. `memory` and `words` are kept alive while sockets are
  // open.
  const char* Open(napi_value memory, const Layout& layout, napi_value words, napi_value callback);
  // Closes everything. No kernel writes into the core's memory afterwards. The hub frees itself when
  // its handles have closed.
  void Close();

  int id() const { return id_; }
  void set_id(int id) { id_ = id; }
  const Arena& arena() const { return arena_; }
  bool has_ring() const { return ring_.is_open(); }
  const Ring& ring() const { return ring_; }
  RingFailure OpenRing();
  uint64_t callbacks() const { return callbacks_; }

  // Takes over a bound socket. 0 or errno.
  int Add(std::unique_ptr<HubSocket> socket, bool wants_ring);
  void Remove(HubSocket* socket);
  void SetRef(HubSocket* socket, bool is_ref);

  // Sends the first `count` send descriptors. Bit 0 of the result: the rest was set aside, kWritable
  // will tell. Bit 1: refusals wait.
  int Flush(HubSocket* socket, uint32_t count);
  // Sends one datagram from anywhere; the same result.
  int SendOne(HubSocket* socket, const uint8_t* bytes, uint32_t size, const Address& to);
  // Writes the socket's refusals to the shared words; gives how many.
  int TakeRefusals(HubSocket* socket);

  // Rings once after that many microseconds; negative: not at all.
  void SetDeadline(double micros);
  // For how long after a small datagram the hub looks for the next one instead of sleeping; 0: never.
  void SetBusyPoll(uint32_t micros) { look_micros_ = micros; }

  // See jobs.h.
  uint32_t RunJobs(uint32_t jobs, uint32_t count, uint32_t verdicts);
  uint32_t held_keys() const { return jobs_.held_keys(); }

  void HandleClosed() override;

 private:
  class Scope;
  HubSocket* Find(int id) const;
  bool Hold();
  bool Call(Event event, int socket, int number);
  void CallOnce(napi_value callback, Event event, int socket, int number);
  bool Prepare();

  void OnPoll(HubSocket* socket, int status, int events);
  void OnRing();
  void OnDeadline();
  void OnIdle();

  int Watch(HubSocket* socket);
  int SendAll(HubSocket* socket, uint8_t* memory, Descriptor* descriptors, uint32_t count);
  void SetAside(HubSocket* socket, const uint8_t* memory, const Descriptor* descriptors,
                uint32_t count);
  void Resume(HubSocket* socket);
  bool TellRefusals(HubSocket* socket);

  // Receiving from the poll set.
  uint32_t ReceiveRounds(HubSocket* socket, int rounds);
  uint32_t Drain(HubSocket* socket, bool* is_exhausted);

  // Receiving through the ring.
  struct Staged {
    HubSocket* socket;
    Descriptor descriptor;
    // Buffer to give back afterwards, −1: none.
    int buffer;
  };
  uint32_t RingRounds(int rounds);
  uint32_t Collect();
  bool Stage(const Completion& completion);
  void Reap();
  bool Deliver();
  void Arm(HubSocket* socket);
  bool Disarm(HubSocket* socket);
  void UpdateRingRef();

  bool Pack(const HubSocket* socket, Descriptor* descriptor);
  void Verify(HubSocket* socket, Descriptor* descriptor);

  // Looking for the next datagram instead of sleeping.
  void Look(int socket_id, uint32_t received);
  bool IsSmall(uint32_t received) const;
  void StopLooking();

  Instance* const instance_;
  const napi_env env_;
  int id_ = 0;
  size_t memory_size_ = 0;
  Arena arena_;
  JobRunner jobs_;
  napi_ref memory_ = nullptr, words_ref_ = nullptr, callback_ = nullptr;
  napi_async_context context_ = nullptr;
  int32_t* words_ = nullptr;
  bool is_closed_ = false;
  uint32_t socket_count_ = 0;
  uint64_t callbacks_ = 0;
  uint32_t open_handles_ = 0;
  uint64_t aside_bytes_ = 0;
  // Closed sockets wait here until no function works with them.
  std::vector<std::unique_ptr<HubSocket>> graveyard_;

  uint32_t packed_used_ = 0;

  Ring ring_;
  PollHandle ring_poll_;
  std::vector<HubSocket*> ring_sockets_;
  // Completions that were taken while something else was waited for.
  std::vector<Completion> reaped_;
  size_t reaped_first_ = 0;
  std::vector<Staged> staged_;
  uint32_t buffers_held_ = 0;

  int timer_fd_ = -1;
  PollHandle timer_poll_;

  uint32_t look_micros_ = 0;
  IdleHandle idle_;
  bool is_looking_ = false;
  // 0: the ring.
  int look_socket_ = 0;
  uint64_t look_until_ = 0;
  // Bytes received and sent since the last receive call.
  uint64_t moved_bytes_ = 0;
  // How looking went lately.
  int look_score_ = 8;
  uint32_t skipped_looks_ = 0;
};

}  // namespace punchline
