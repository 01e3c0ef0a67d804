#include "hub.h"

#include <errno.h>
#include <sched.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "crc32c.h"
#include "instance.h"

namespace punchline {
namespace {

constexpr uint32_t kRingSubmissions = 64;
constexpr uint32_t kRingCompletions = 4096;
// Entries of the buffer ring: the power of two above kSlots.
constexpr uint32_t kRingBuffers = 16;
// Where the kernel puts things in a provided buffer.
constexpr uint32_t kNameRoom = 32;
constexpr uint32_t kHeaderRoom = sizeof(ReceiveHeader) + kNameRoom + kReceiveControlSize;
static_assert(kHeaderRoom % 16 == 0, "payloads stay aligned");
// Verdict bytes lie behind the largest payload.
constexpr uint32_t kVerdictsAt = kSlotSize - kVerdictsMax;
static_assert(kHeaderRoom + kPayloadMax <= kVerdictsAt, "a slot holds everything");

// What all sockets of a hub may set aside together.
constexpr uint64_t kAsideBytesMax = 16u << 20;

// One look for the next datagram; then the event loop has a turn.
constexpr uint64_t kLookNanos = 50'000;
// More than so many descriptors, or bytes received and sent, is bulk, which only loses by looking.
constexpr uint32_t kLookBatchMax = 2;
constexpr uint64_t kLookBytesMax = 8'192;
// Looking goes on while four of five looks find something: a find counts one, a miss four. Below zero
// only one of so many is tried. A peer that needs our processor for its answer is never found.
constexpr int kScoreMax = 16;
constexpr int kMissCost = 4;
constexpr uint32_t kSkippedMax = 64;

// How often a cancelled receive is waited for. It ends in the first round.
constexpr int kCancelTries = 64;

uint64_t NowNanos() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

// On a single processor spinning keeps the peer from answering.
bool HasSeveralProcessors() {
  static const bool several = [] {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) > 1;
  }();
  return several;
}

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

HubSocket* SocketOf(uv_poll_t* handle) {
  return static_cast<HubSocket*>(uv_handle_get_data(reinterpret_cast<uv_handle_t*>(handle)));
}

// Datagrams of a descriptor; an empty one is one, too.
uint32_t CountOf(const Descriptor& descriptor) {
  if (descriptor.segment == 0) return 1;
  return (descriptor.length + descriptor.segment - 1) / descriptor.segment;
}

template <typename Handle>
Hub* HubOf(Handle* handle) {
  return static_cast<Hub*>(uv_handle_get_data(reinterpret_cast<uv_handle_t*>(handle)));
}

}  // namespace

// ── Life ─────────────────────────────────────────────────────────────────────────────────────────

const char* Hub::Open(napi_value memory, const Layout& layout, napi_value words,
                      napi_value callback) {
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(env_, memory, &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_uint8_array || !arena_.Init(static_cast<uint8_t*>(data), length, layout)) {
    return "the layout does not fit the memory";
  }
  memory_size_ = length;
  if (napi_get_typedarray_info(env_, words, &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_int32_array || length < kSharedWords) {
    return "too few shared words";
  }
  words_ = static_cast<int32_t*>(data);
  napi_value name;
  const bool is_ready =
      napi_create_reference(env_, memory, 0, &memory_) == napi_ok &&
      napi_create_reference(env_, words, 0, &words_ref_) == napi_ok &&
      napi_create_reference(env_, callback, 0, &callback_) == napi_ok &&
      napi_create_string_utf8(env_, "punchline", NAPI_AUTO_LENGTH, &name) == napi_ok &&
      napi_async_init(env_, nullptr, name, &context_) == napi_ok;
  return is_ready ? nullptr : "out of references";
}

void Hub::Close() {
  if (is_closed_) return;
  is_closed_ = true;
  std::vector<HubSocket*> mine;
  instance_->sockets().ForEach([&](HubSocket* socket) {
    if (socket->hub == this) mine.push_back(socket);
  });
  for (HubSocket* const socket : mine) Remove(socket);
  // Handles first: libuv must not look at descriptors that are closed, or somebody else's by now.
  ring_poll_.Close();
  timer_poll_.Close();
  idle_.Close();
  ring_.Close();
  if (timer_fd_ >= 0) close(timer_fd_);
  timer_fd_ = -1;
  for (napi_ref* const reference : {&memory_, &words_ref_, &callback_}) {
    if (*reference != nullptr) napi_delete_reference(env_, *reference);
    *reference = nullptr;
  }
  if (context_ != nullptr) napi_async_destroy(env_, context_);
  context_ = nullptr;
  instance_->hubs().Remove(id_);
  if (open_handles_ == 0) instance_->HubGone(this);
}

void Hub::HandleClosed() {
  open_handles_ -= 1;
  // The loop closes handles when no function of ours is on the stack.
  graveyard_.clear();
  if (is_closed_ && open_handles_ == 0) instance_->HubGone(this);
}

HubSocket* Hub::Find(int id) const {
  HubSocket* const socket = instance_->sockets().Find(id);
  return socket != nullptr && socket->hub == this ? socket : nullptr;
}

int Hub::Add(std::unique_ptr<HubSocket> owned, bool wants_ring) {
  HubSocket* const socket = owned.get();
  socket->hub = this;
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env_, &loop) != napi_ok) return EINVAL;
  const int fd = socket->socket.fd();
  const int error = socket->poll.Open(
      this, socket, [&](uv_poll_t* handle) { return uv_poll_init(loop, handle, fd); });
  if (error != 0) return -error;
  open_handles_ += 1;
  socket->id = instance_->sockets().Add(socket);
  if (socket->id == 0) {
    socket->poll.Close();
    graveyard_.push_back(std::move(owned));
    return EMFILE;
  }
  owned.release();
  // From here on the kernel may write into the memory, and the callback may be called.
  if (socket_count_ == 0 && !Hold()) {
    instance_->sockets().Remove(socket->id);
    socket->id = 0;
    socket->poll.Close();
    graveyard_.emplace_back(socket);
    return EINVAL;
  }
  socket_count_ += 1;
  socket->is_on_ring = wants_ring && ring_.is_open() && ring_sockets_.size() < kRingSocketsMax;
  if (socket->is_on_ring) {
    uv_unref(socket->poll.base());
    socket->receive_header.msg_namelen = kNameRoom;
    socket->receive_header.msg_controllen = kReceiveControlSize;
    ring_sockets_.push_back(socket);
    UpdateRingRef();
    Arm(socket);
    // What completes at once is told by the eventfd.
    if (ring_.Enter(0) == 0) Reap();
    if (reaped_first_ < reaped_.size()) ring_.Wake();
  } else {
    Watch(socket);
  }
  return 0;
}

void Hub::Remove(HubSocket* socket) {
  if (socket->id == 0) return;
  if (socket->is_on_ring) {
    const bool is_disarmed = Disarm(socket);
    ring_sockets_.erase(std::find(ring_sockets_.begin(), ring_sockets_.end(), socket));
    socket->is_on_ring = false;
    if (!is_disarmed) {
      // The kernel still holds on to our buffers for it: the ring goes, the others move on.
      ring_poll_.Close();
      ring_.Close();
      reaped_.clear();
      reaped_first_ = 0;
      buffers_held_ = 0;
      for (HubSocket* const other : ring_sockets_) {
        other->is_on_ring = other->is_armed = false;
        if (other->is_ref) uv_ref(other->poll.base());
        Watch(other);
      }
      ring_sockets_.clear();
    } else {
      UpdateRingRef();
    }
  }
  instance_->sockets().Remove(socket->id);
  socket->id = 0;
  aside_bytes_ -= socket->aside.bytes.size();
  socket->poll.Close();
  socket->socket.Close();
  graveyard_.emplace_back(socket);
  socket_count_ -= 1;
  if (socket_count_ > 0) return;
  StopLooking();
  for (napi_ref const reference : {memory_, words_ref_, callback_}) {
    uint32_t count;
    napi_reference_unref(env_, reference, &count);
  }
}

// Keeps alive what JavaScript has given us. False when it is gone already.
bool Hub::Hold() {
  napi_handle_scope scope;
  if (napi_open_handle_scope(env_, &scope) != napi_ok) return false;
  bool is_there = true;
  for (napi_ref const reference : {memory_, words_ref_, callback_}) {
    napi_value value = nullptr;
    is_there = is_there && napi_get_reference_value(env_, reference, &value) == napi_ok &&
               value != nullptr;
  }
  for (napi_ref const reference : {memory_, words_ref_, callback_}) {
    uint32_t count;
    if (is_there) napi_reference_ref(env_, reference, &count);
  }
  napi_close_handle_scope(env_, scope);
  return is_there;
}

void Hub::SetRef(HubSocket* socket, bool is_ref) {
  if (socket->is_ref == is_ref) return;
  socket->is_ref = is_ref;
  if (socket->is_on_ring) {
    UpdateRingRef();
  } else if (is_ref) {
    uv_ref(socket->poll.base());
  } else {
    uv_unref(socket->poll.base());
  }
}

// ── JavaScript ───────────────────────────────────────────────────────────────────────────────────

// Tells an event, and lets JavaScript finish what it led to. False when the hub was closed by that.
bool Hub::Call(Event event, int socket, int number) {
  napi_handle_scope scope;
  if (napi_open_handle_scope(env_, &scope) != napi_ok) return false;
  napi_value callback = nullptr;
  // While there are no sockets nothing keeps it. It keeps the shared words.
  if (napi_get_reference_value(env_, callback_, &callback) == napi_ok && callback != nullptr) {
    words_[kWordInside] = 1;
    CallOnce(callback, event, socket, number);
    if (!is_closed_) words_[kWordInside] = 0;
    if (!is_closed_ && words_[kWordSettle] != 0) {
      words_[kWordSettle] = 0;
      CallOnce(callback, Event::kSettle, 0, 0);
    }
  }
  napi_close_handle_scope(env_, scope);
  return !is_closed_;
}

// Returns when everything that the callback put off to this turn has run, too.
void Hub::CallOnce(napi_value callback, Event event, int socket, int number) {
  callbacks_ += 1;
  napi_value receiver, values[3];
  const bool is_ready =
      napi_get_global(env_, &receiver) == napi_ok &&
      napi_create_int32(env_, static_cast<int>(event), &values[0]) == napi_ok &&
      napi_create_int32(env_, socket, &values[1]) == napi_ok &&
      napi_create_int32(env_, number, &values[2]) == napi_ok;
  if (!is_ready) return;
  const napi_status status =
      napi_make_callback(env_, context_, receiver, callback, 3, values, nullptr);
  napi_value exception;
  // What the program throws is the program's: it becomes an uncaught exception.
  if (status == napi_pending_exception &&
      napi_get_and_clear_last_exception(env_, &exception) == napi_ok) {
    napi_fatal_exception(env_, exception);
  }
}

uint32_t Hub::RunJobs(uint32_t jobs, uint32_t count, uint32_t verdicts) {
  return jobs_.Run(arena_, memory_size_, jobs, count, verdicts);
}

// Lets JavaScript take what lies in the tables, before they are filled again.
bool Hub::Prepare() {
  // Without sockets nothing keeps the words, and nothing will be filled.
  if (socket_count_ == 0 || words_[kWordBusy] == 0) return true;
  return Call(Event::kPrepare, 0, 0) && words_[kWordBusy] == 0;
}

int Hub::TakeRefusals(HubSocket* socket) {
  std::vector<Refusal>& refusals = socket->socket.refusals();
  const auto count = static_cast<int>(std::min<size_t>(refusals.size(), kRefusalCount));
  for (int i = 0; i < count; i++) {
    int32_t* const record = words_ + kWordRefusals + static_cast<size_t>(i) * kRefusalWords;
    record[0] = refusals[i].error;
    record[1] = static_cast<int32_t>(refusals[i].info);
    std::memcpy(record + 2, &refusals[i].address, sizeof(Address));
  }
  refusals.clear();
  return count;
}

bool Hub::TellRefusals(HubSocket* socket) {
  if (socket->socket.refusals().empty()) return true;
  const int id = socket->id;
  return Call(Event::kRefused, id, TakeRefusals(socket)) && Find(id) != nullptr;
}

// ── Sending ──────────────────────────────────────────────────────────────────────────────────────

int Hub::Flush(HubSocket* socket, uint32_t count) {
  Descriptor* const descriptors = arena_.tx();
  count = std::min(count, arena_.descriptor_count());
  // Descriptors that point nowhere are skipped; the rest moves up.
  uint32_t kept = 0;
  for (uint32_t i = 0; i < count; i++) {
    if (!arena_.IsSendable(descriptors[i])) {
      socket->socket.counters().descriptors_refused += 1;
      continue;
    }
    if (kept != i) descriptors[kept] = descriptors[i];
    kept += 1;
  }
  return SendAll(socket, arena_.base(), descriptors, kept);
}

int Hub::SendOne(HubSocket* socket, const uint8_t* bytes, uint32_t size, const Address& to) {
  Descriptor descriptor{};
  descriptor.length = size;
  descriptor.address = to;
  return SendAll(socket, const_cast<uint8_t*>(bytes), &descriptor, 1);
}

int Hub::SendAll(HubSocket* socket, uint8_t* memory, Descriptor* descriptors, uint32_t count) {
  uint32_t taken = 0;
  for (uint32_t i = 0; i < count; i++) moved_bytes_ += descriptors[i].length;
  // Nothing overtakes what waits.
  if (!socket->is_blocked) {
    taken = socket->socket.Send(memory, descriptors, count, instance_->scratch());
  }
  if (taken < count) SetAside(socket, memory, descriptors + taken, count - taken);
  return (socket->is_blocked ? 1 : 0) | (socket->socket.refusals().empty() ? 0 : 2);
}

void Hub::SetAside(HubSocket* socket, const uint8_t* memory, const Descriptor* descriptors,
                   uint32_t count) {
  HubSocket::Aside& aside = socket->aside;
  const size_t before = aside.bytes.size();
  for (uint32_t i = 0; i < count; i++) {
    const Descriptor& from = descriptors[i];
    if (aside.bytes.size() + from.length > arena_.tx_arena_size() ||
        aside_bytes_ + (aside.bytes.size() - before) + from.length > kAsideBytesMax) {
      // As if the network had dropped it: a bound must hold somewhere.
      socket->socket.counters().sends_failed += 1;
      continue;
    }
    Descriptor copy = from;
    copy.pointer = static_cast<uint32_t>(aside.bytes.size());
    aside.bytes.insert(aside.bytes.end(), memory + from.pointer,
                       memory + from.pointer + from.length);
    aside.descriptors.push_back(copy);
  }
  aside_bytes_ += aside.bytes.size() - before;
  if (socket->is_blocked || aside.descriptors.empty()) return;
  socket->is_blocked = true;
  Watch(socket);
}

// The system takes datagrams again.
void Hub::Resume(HubSocket* socket) {
  if (!socket->is_blocked) return;
  HubSocket::Aside& aside = socket->aside;
  const auto count = static_cast<uint32_t>(aside.descriptors.size());
  aside.first += socket->socket.Send(aside.bytes.data(), aside.descriptors.data() + aside.first,
                                     count - aside.first, instance_->scratch());
  if (aside.first < count) return;
  aside_bytes_ -= aside.bytes.size();
  aside = {};
  socket->is_blocked = false;
  Watch(socket);
  Call(Event::kWritable, socket->id, 0);
}

// Asks the loop for what the socket waits for now.
int Hub::Watch(HubSocket* socket) {
  // POLLPRI comes with errors; without it libuv would end the watch at the first one.
  int events = kUvPrioritized;
  if (!socket->is_on_ring) events |= kUvReadable;
  if (socket->is_blocked) events |= kUvWritable;
  if (events == kUvPrioritized) return uv_poll_stop(socket->poll.get());
  return uv_poll_start(socket->poll.get(), events, [](uv_poll_t* handle, int status, int told) {
    HubSocket* const owner = SocketOf(handle);
    if (owner != nullptr) owner->hub->OnPoll(owner, status, told);
  });
}

void Hub::OnPoll(HubSocket* socket, int status, int events) {
  const int id = socket->id;
  if (status < 0 || (events & kUvPrioritized) != 0) {
    socket->socket.DrainErrors();
    if (status < 0) Watch(socket);
    if (!TellRefusals(socket)) return;
  }
  if ((events & kUvWritable) != 0) Resume(socket);
  if (is_closed_ || Find(id) == nullptr || socket->is_on_ring) return;
  if ((events & kUvReadable) == 0 && status >= 0) return;
  const uint32_t received = ReceiveRounds(socket, kRoundsPerWake);
  if (received > 0 && !is_closed_) Look(id, received);
}

// ── Receiving from the poll set ──────────────────────────────────────────────────────────────────

// Gives how many descriptors were told.
uint32_t Hub::ReceiveRounds(HubSocket* socket, int rounds) {
  const int id = socket->id;
  moved_bytes_ = 0;
  uint32_t total = 0;
  for (int round = 0; round < rounds; round++) {
    // Slots are shared with the ring: what it has filled goes first.
    if (reaped_first_ < reaped_.size()) {
      RingRounds(1);
      if (is_closed_ || Find(id) == nullptr) return total;
    }
    if (!Prepare()) return total;
    bool is_exhausted = false;
    const uint32_t count = Drain(socket, &is_exhausted);
    if (count > 0) {
      total += count;
      if (!Call(Event::kReceived, id, static_cast<int>(count)) || Find(id) == nullptr) return total;
    }
    if (!TellRefusals(socket)) return total;
    if (is_exhausted) return total;
  }
  return total;
}

// Moves a small datagram to the packed area, so that its slot is free again at once.
bool Hub::Pack(const HubSocket* socket, Descriptor* descriptor) {
  const uint32_t size = descriptor->length;
  if (size > kSmallMax) return false;
  const uint32_t verdicts = socket->socket.verifies_crc32c() ? CountOf(*descriptor) : 0;
  const uint32_t room = (size + verdicts + 15) & ~15u;
  if (packed_used_ + room > arena_.packed_size()) return false;
  const uint32_t pointer = arena_.packed() + packed_used_;
  std::memcpy(arena_.At(pointer), arena_.At(descriptor->pointer), size);
  descriptor->pointer = pointer;
  packed_used_ += room;
  return true;
}

void Hub::Verify(HubSocket* socket, Descriptor* descriptor) {
  if (!socket->socket.verifies_crc32c()) return;
  const uint32_t step = descriptor->segment > 0 ? descriptor->segment : descriptor->length;
  const uint32_t count = CountOf(*descriptor);
  if (count > kVerdictsMax) return;
  const uint32_t slots = arena_.Slot(0);
  const bool is_packed = descriptor->pointer < slots;
  const uint32_t verdicts =
      is_packed ? descriptor->pointer + descriptor->length
                : slots + (descriptor->pointer - slots) / kSlotSize * kSlotSize + kVerdictsAt;
  uint8_t* const out = arena_.At(verdicts);
  for (uint32_t i = 0; i < count; i++) {
    const uint32_t at = i * step;
    const uint32_t size = std::min(step, descriptor->length - at);
    const uint8_t* const datagram = arena_.At(descriptor->pointer + at);
    uint32_t stored = 0;
    if (size >= 4) std::memcpy(&stored, datagram + size - 4, 4);
    const bool is_intact = size >= 4 && Crc32c(0, datagram, size - 4) == stored;
    out[i] = is_intact ? kVerdictIntact : kVerdictBroken;
  }
  descriptor->verdicts = verdicts;
}

// Fills receive descriptors from the socket; gives how many.
uint32_t Hub::Drain(HubSocket* socket, bool* is_exhausted) {
  UdpSocket& udp = socket->socket;
  Scratch* const scratch = instance_->scratch();
  Descriptor* const descriptors = arena_.rx();
  const uint32_t limit = std::min(kDescriptorsPerDrain, arena_.descriptor_count());
  // A ring that is not deferred may be written to at any time: its half of the slots is not ours.
  const bool is_shared = ring_.is_open() && !ring_.is_deferred();
  uint32_t free_slots[kSlots];
  uint32_t free_count = 0;
  for (uint32_t i = kSlots; i > (is_shared ? kSlots / 2 : 0); i--) free_slots[free_count++] = i - 1;
  packed_used_ = 0;
  uint32_t count = 0;
  int failures = 0;
  while (free_count > 0 && count < limit) {
    const uint32_t want = std::min(free_count, limit - count);
    uint32_t slots[kSlots];
    for (uint32_t i = 0; i < want; i++) {
      slots[i] = free_slots[free_count - 1 - i];
      scratch->vectors[i] = {arena_.At(arena_.Slot(slots[i])), kPayloadMax};
      msghdr& header = scratch->headers[i].msg_hdr;
      header.msg_name = &scratch->names[i];
      header.msg_namelen = sizeof scratch->names[i];
      header.msg_iov = &scratch->vectors[i];
      header.msg_iovlen = 1;
      header.msg_control = scratch->control[i];
      header.msg_controllen = kReceiveControlSize;
      header.msg_flags = 0;
    }
    udp.counters().receive_calls += 1;
    const int got = recvmmsg(udp.fd(), scratch->headers, want, MSG_DONTWAIT, nullptr);
    if (got < 0) {
      if (errno == EINTR) continue;
      *is_exhausted = true;
      if (errno == EAGAIN) break;
      // An error of a datagram that was sent: not ours to fail for.
      if (errno == EBADF || errno == ENOTSOCK || ++failures > 16) {
        Call(Event::kFailed, socket->id, errno);
        return 0;
      }
      udp.DrainErrors();
      continue;
    }
    free_count -= got;
    uint32_t again[kSlots];
    uint32_t again_count = 0;
    for (int i = 0; i < got; i++) {
      const msghdr& header = scratch->headers[i].msg_hdr;
      const uint32_t length = scratch->headers[i].msg_len;
      const Received received{&scratch->names[i], scratch->control[i], header.msg_controllen,
                              length, header.msg_flags};
      Descriptor* const descriptor = &descriptors[count];
      const bool is_described = udp.Describe(received, arena_.Slot(slots[i]), descriptor);
      if (!is_described || Pack(socket, descriptor)) again[again_count++] = slots[i];
      if (!is_described) continue;
      Verify(socket, descriptor);
      moved_bytes_ += length;
      count += 1;
    }
    // In the old order: the slots that are warm come first again.
    while (again_count > 0) free_slots[free_count++] = again[--again_count];
    if (static_cast<uint32_t>(got) < want) {
      *is_exhausted = true;
      break;
    }
  }
  return count;
}

// ── Receiving through the ring ───────────────────────────────────────────────────────────────────

RingFailure Hub::OpenRing() {
  if (ring_.is_open()) return {};
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env_, &loop) != napi_ok) return {EINVAL, "event loop"};
  const RingFailure failure = ring_.Open(kRingSubmissions, kRingCompletions, kRingBuffers);
  if (failure.error != 0) return failure;
  const int fd = ring_.event_fd();
  int error = ring_poll_.Open(
      this, this, [&](uv_poll_t* handle) { return uv_poll_init(loop, handle, fd); });
  if (error == 0) {
    open_handles_ += 1;
    uv_unref(ring_poll_.base());
    error = uv_poll_start(ring_poll_.get(), kUvReadable, [](uv_poll_t* handle, int, int) {
      Hub* const hub = HubOf(handle);
      if (hub != nullptr) hub->OnRing();
    });
  }
  if (error != 0) {
    ring_poll_.Close();
    ring_.Close();
    return {-error, "uv_poll"};
  }
  const uint32_t slots = ring_.is_deferred() ? kSlots : kSlots / 2;
  for (uint32_t i = 0; i < slots; i++) {
    ring_.Provide(arena_.At(arena_.Slot(i)), kSlotSize, static_cast<uint16_t>(i));
  }
  ring_.Publish();
  return {};
}

void Hub::UpdateRingRef() {
  const bool is_ref = std::any_of(ring_sockets_.begin(), ring_sockets_.end(),
                                  [](const HubSocket* socket) { return socket->is_ref; });
  if (!ring_poll_.is_open()) return;
  if (is_ref) uv_ref(ring_poll_.base());
  else uv_unref(ring_poll_.base());
}

void Hub::Arm(HubSocket* socket) {
  if (socket->is_armed) return;
  socket->is_armed = ring_.ReceiveMany(socket->socket.fd(), &socket->receive_header,
                                       static_cast<uint64_t>(socket->id));
}

// Ends the socket's receive: afterwards the kernel writes nothing for it.
bool Hub::Disarm(HubSocket* socket) {
  for (int tries = 0; socket->is_armed && tries < kCancelTries; tries++) {
    // The request may be just in the middle of something: then it is asked again.
    if (tries % 8 == 0 && !ring_.Cancel(static_cast<uint64_t>(socket->id), 0)) return false;
    const int error = ring_.Enter(0);
    if (error != 0 && error != EINTR && error != EBUSY) return false;
    Reap();
  }
  return !socket->is_armed;
}

// Takes completions out of the ring, so that the kernel has room.
void Hub::Reap() {
  Completion completion;
  while (ring_.Take(&completion)) {
    // What is no receive is a cancel, whose result says nothing: the receive's own end counts.
    if (completion.user_data == 0) continue;
    if (!completion.has_more()) {
      HubSocket* const socket = Find(static_cast<int>(completion.user_data));
      if (socket != nullptr) socket->is_armed = false;
    }
    if (completion.has_buffer()) buffers_held_ += 1;
    reaped_.push_back(completion);
  }
}

// Turns a completion into a descriptor that waits for delivery. True when it became one.
bool Hub::Stage(const Completion& completion) {
  HubSocket* const socket = Find(static_cast<int>(completion.user_data));
  const uint16_t buffer = completion.buffer();
  const auto give_back = [&] {
    if (!completion.has_buffer()) return;
    ring_.Provide(arena_.At(arena_.Slot(buffer)), kSlotSize, buffer);
    buffers_held_ -= 1;
  };
  if (socket == nullptr || !socket->is_on_ring) {
    give_back();
    return false;
  }
  if (completion.result < 0) {
    // Out of buffers is nothing to speak of; the rest are errors of datagrams that were sent.
    if (completion.result != -ENOBUFS) socket->socket.DrainErrors();
    give_back();
    return false;
  }
  if (!completion.has_buffer() || completion.result < static_cast<int>(kHeaderRoom) ||
      buffer >= kSlots) {
    give_back();
    return false;
  }
  uint8_t* const slot = arena_.At(arena_.Slot(buffer));
  ReceiveHeader header;
  std::memcpy(&header, slot, sizeof header);
  const uint32_t length =
      std::min(header.payload_size, static_cast<uint32_t>(completion.result) - kHeaderRoom);
  // The name moves out of the way of alignment rules.
  SocketAddress name{};
  std::memcpy(&name, slot + sizeof header, std::min<size_t>(sizeof name, header.name_size));
  const Received received{&name, slot + sizeof header + kNameRoom,
                          std::min<size_t>(header.control_size, kReceiveControlSize), length,
                          static_cast<int>(header.flags)};
  Staged staged{socket, {}, buffer};
  const bool is_described =
      socket->socket.Describe(received, arena_.Slot(buffer) + kHeaderRoom, &staged.descriptor);
  if (!is_described || Pack(socket, &staged.descriptor)) {
    give_back();
    staged.buffer = -1;
  }
  if (!is_described) return false;
  Verify(socket, &staged.descriptor);
  moved_bytes_ += length;
  staged_.push_back(staged);
  return true;
}

// Stages what there is, as far as buffers and table go. Gives how many descriptors wait.
uint32_t Hub::Collect() {
  const uint32_t slots = ring_.is_deferred() ? kSlots : kSlots / 2;
  const uint32_t limit = std::min(kDescriptorsPerDrain, arena_.descriptor_count());
  packed_used_ = 0;
  for (bool is_first = true;; is_first = false) {
    while (reaped_first_ < reaped_.size() && staged_.size() < limit) Stage(reaped_[reaped_first_++]);
    if (reaped_first_ == reaped_.size()) {
      reaped_.clear();
      reaped_first_ = 0;
    }
    ring_.Publish();
    if (staged_.size() >= limit || buffers_held_ >= slots) break;
    bool is_rearmed = false;
    for (HubSocket* const socket : ring_sockets_) {
      if (socket->is_armed) continue;
      Arm(socket);
      is_rearmed = true;
    }
    if (!is_first && !is_rearmed && !ring_.HasWork()) break;
    const int error = ring_.Enter(0);
    if (error != 0 && error != EINTR && error != EBUSY) break;
    Reap();
    if (reaped_.empty() && !is_first) break;
  }
  return static_cast<uint32_t>(staged_.size());
}

// Tells each socket its descriptors and gives the buffers back. False when the hub was closed.
bool Hub::Deliver() {
  Descriptor* const descriptors = arena_.rx();
  for (size_t first = 0; first < staged_.size(); first++) {
    HubSocket* const socket = staged_[first].socket;
    if (socket == nullptr) continue;
    uint32_t count = 0;
    for (size_t i = first; i < staged_.size(); i++) {
      if (staged_[i].socket != socket) continue;
      descriptors[count++] = staged_[i].descriptor;
      staged_[i].socket = nullptr;
    }
    // Closed by the callback of another one.
    if (socket->id == 0) continue;
    if (!Call(Event::kReceived, socket->id, static_cast<int>(count))) return false;
  }
  for (const Staged& staged : staged_) {
    if (staged.buffer < 0 || !ring_.is_open()) continue;
    const auto buffer = static_cast<uint16_t>(staged.buffer);
    ring_.Provide(arena_.At(arena_.Slot(buffer)), kSlotSize, buffer);
    buffers_held_ -= 1;
  }
  staged_.clear();
  if (ring_.is_open()) ring_.Publish();
  return true;
}

// Gives how many descriptors were told. Every receive is armed and submitted afterwards: nothing
// else would wake us.
uint32_t Hub::RingRounds(int rounds) {
  uint32_t total = 0;
  moved_bytes_ = 0;
  for (int round = 0; round < rounds && ring_.is_open(); round++) {
    // Asking the kernel costs a call: the first time it said that there is something.
    if (round > 0 && reaped_first_ == reaped_.size() && !ring_.HasWork()) break;
    if (!Prepare()) return total;
    const uint32_t count = Collect();
    total += count;
    if (count > 0 && !Deliver()) return total;
    for (size_t i = 0; i < ring_sockets_.size(); i++) {
      if (!TellRefusals(ring_sockets_[i]) && is_closed_) return total;
    }
    if (count == 0) break;
  }
  if (!ring_.is_open()) return total;
  bool is_rearmed = false;
  for (HubSocket* const socket : ring_sockets_) {
    if (socket->is_armed) continue;
    Arm(socket);
    is_rearmed = true;
  }
  if (is_rearmed && ring_.Enter(0) == 0) Reap();
  return total;
}

void Hub::OnRing() {
  const uint32_t received = RingRounds(kRoundsPerWake);
  if (is_closed_ || !ring_.is_open()) return;
  // Read last, so that what we have dealt with ourselves does not wake us again.
  ring_.Acknowledge();
  if (received > 0) Look(0, received);
  if (is_closed_ || !ring_.is_open()) return;
  if (reaped_first_ < reaped_.size() || ring_.HasWork()) ring_.Wake();
}

// ── Deadline ─────────────────────────────────────────────────────────────────────────────────────

void Hub::SetDeadline(double micros) {
  if (timer_fd_ < 0) {
    if (micros < 0) return;
    uv_loop_t* loop = nullptr;
    if (napi_get_uv_event_loop(env_, &loop) != napi_ok) return;
    timer_fd_ = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (timer_fd_ < 0) return;
    const int error = timer_poll_.Open(
        this, this, [&](uv_poll_t* handle) { return uv_poll_init(loop, handle, timer_fd_); });
    if (error != 0) {
      close(timer_fd_);
      timer_fd_ = -1;
      return;
    }
    open_handles_ += 1;
    uv_unref(timer_poll_.base());
    uv_poll_start(timer_poll_.get(), kUvReadable, [](uv_poll_t* handle, int, int) {
      Hub* const hub = HubOf(handle);
      if (hub != nullptr) hub->OnDeadline();
    });
  }
  itimerspec when{};
  if (micros >= 0) {
    const double nanos = std::min(std::max(micros * 1000.0, 1.0), 9e15);
    when.it_value.tv_sec = static_cast<time_t>(nanos / 1e9);
    when.it_value.tv_nsec = static_cast<long>(std::fmod(nanos, 1e9));
  }
  timerfd_settime(timer_fd_, 0, &when, nullptr);
}

void Hub::OnDeadline() {
  uint64_t count;
  // Set anew between the wake-up and now: not yet.
  if (read(timer_fd_, &count, sizeof count) != sizeof count) return;
  Call(Event::kDeadline, 0, 0);
}

// ── Looking ──────────────────────────────────────────────────────────────────────────────────────

// Something came: if it was small, the next one may be worth waiting for without sleeping. A wake-up
// costs more than an answer from this machine takes.
void Hub::Look(int socket_id, uint32_t received) {
  if (look_micros_ == 0 || !IsSmall(received) || socket_count_ == 0 || !HasSeveralProcessors()) {
    return;
  }
  if (is_looking_ || (look_score_ < 0 && ++skipped_looks_ < kSkippedMax)) return;
  skipped_looks_ = 0;
  look_socket_ = socket_id;
  look_until_ = NowNanos() + uint64_t{look_micros_} * 1000;
  if (!idle_.is_open()) {
    uv_loop_t* loop = nullptr;
    if (napi_get_uv_event_loop(env_, &loop) != napi_ok) return;
    const int error = idle_.Open(
        this, this, [&](uv_idle_t* handle) { return uv_idle_init(loop, handle); });
    if (error != 0) return;
    open_handles_ += 1;
    uv_unref(idle_.base());
  }
  is_looking_ = true;
  uv_idle_start(idle_.get(), [](uv_idle_t* handle) {
    Hub* const hub = HubOf(handle);
    if (hub != nullptr) hub->OnIdle();
  });
}

bool Hub::IsSmall(uint32_t received) const {
  return received <= kLookBatchMax && moved_bytes_ <= kLookBytesMax;
}

// One look in each turn of the event loop, so that what the program has put off comes before the
// next datagram, as it does without looking.
void Hub::OnIdle() {
  uint64_t now = NowNanos();
  const uint64_t end = std::min(look_until_, now + kLookNanos);
  // The program may have taken longer than that.
  const bool looks = now < end;
  uint32_t received = 0;
  while (received == 0 && now < end) {
    HubSocket* const socket = look_socket_ == 0 ? nullptr : Find(look_socket_);
    if (look_socket_ == 0 ? !ring_.is_open() : socket == nullptr) {
      StopLooking();
      return;
    }
    if (socket != nullptr) received = ReceiveRounds(socket, kRoundsPerWake);
    else if (ring_.HasWork()) received = RingRounds(kRoundsPerWake);
    if (is_closed_) return;
    if (received == 0) Pause();
    now = NowNanos();
  }
  if (received > 0) {
    look_score_ = std::min(look_score_ + 1, kScoreMax);
    look_until_ = now + uint64_t{look_micros_} * 1000;
    if (!IsSmall(received)) StopLooking();
  } else if (now >= look_until_) {
    if (looks) look_score_ = std::max(look_score_ - kMissCost, -kScoreMax);
    StopLooking();
  }
}

void Hub::StopLooking() {
  is_looking_ = false;
  if (idle_.is_open()) uv_idle_stop(idle_.get());
}

}  // namespace punchline
