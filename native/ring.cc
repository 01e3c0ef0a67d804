#include "ring.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace punchline {
namespace {

// <linux/io_uring.h>; the calls have the same numbers on every architecture.
constexpr long kSysSetup = 425;
constexpr long kSysEnter = 426;
constexpr long kSysRegister = 427;

constexpr uint32_t kSetupCqSize = 1u << 3;
constexpr uint32_t kSetupCoopTaskrun = 1u << 8;
constexpr uint32_t kSetupTaskrunFlag = 1u << 9;
constexpr uint32_t kSetupSingleIssuer = 1u << 12;
constexpr uint32_t kSetupDeferTaskrun = 1u << 13;
constexpr uint32_t kFeatureSingleMap = 1u << 0;
constexpr uint32_t kEnterGetEvents = 1u << 0;
constexpr uint32_t kSqOverflow = 1u << 1;
constexpr uint32_t kSqTaskrun = 1u << 2;
constexpr uint32_t kRegisterEventFd = 4;
constexpr uint32_t kRegisterBufferRing = 22;
constexpr off_t kOffsetSq = 0;
constexpr off_t kOffsetCq = 0x8000000;
constexpr off_t kOffsetSubmissions = 0x10000000;

constexpr uint8_t kOperationReceiveMessage = 10;
constexpr uint8_t kOperationCancel = 14;
constexpr uint8_t kFlagBufferSelect = 1u << 5;
constexpr uint16_t kReceiveMultishot = 1u << 1;

struct SqOffsets {
  uint32_t head, tail, ring_mask, ring_entries, flags, dropped, array, reserved;
  uint64_t user_address;
};
struct CqOffsets {
  uint32_t head, tail, ring_mask, ring_entries, overflow, completions, flags, reserved;
  uint64_t user_address;
};
struct Params {
  uint32_t sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features, wq_fd;
  uint32_t reserved[3];
  SqOffsets sq;
  CqOffsets cq;
};
static_assert(sizeof(Params) == 120, "layout of the kernel's io_uring_params");

struct BufferRegistration {
  uint64_t address;
  uint32_t entries;
  uint16_t group;
  uint16_t flags;
  uint64_t reserved[3];
};

uint32_t LoadAcquire(const uint32_t* from) { return __atomic_load_n(from, __ATOMIC_ACQUIRE); }
void StoreRelease(uint32_t* to, uint32_t value) { __atomic_store_n(to, value, __ATOMIC_RELEASE); }

uint8_t* MapShared(size_t size, int fd, off_t offset) {
  void* const map = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
  return map == MAP_FAILED ? nullptr : static_cast<uint8_t*>(map);
}

}  // namespace

// struct io_uring_buf; the tail of the ring lies in the last field of the first entry.
struct Ring::BufferEntry {
  uint64_t address;
  uint32_t size;
  uint16_t id;
  uint16_t tail;
};

RingFailure Ring::Setup(uint32_t submissions, uint32_t completions) {
  // Best first; a kernel that does not know a flag answers EINVAL.
  const uint32_t ladder[] = {kSetupSingleIssuer | kSetupDeferTaskrun | kSetupTaskrunFlag,
                             kSetupCoopTaskrun | kSetupTaskrunFlag, 0};
  Params params{};
  int error = 0;
  for (const uint32_t flags : ladder) {
    params = {};
    params.flags = flags | kSetupCqSize;
    params.cq_entries = completions;
    fd_ = static_cast<int>(syscall(kSysSetup, submissions, &params));
    if (fd_ >= 0) break;
    error = errno;
    if (error != EINVAL) break;
  }
  if (fd_ < 0) return {error, "io_uring_setup"};
  setup_flags_ = params.flags;
  is_deferred_ = (params.flags & kSetupDeferTaskrun) != 0;

  const bool is_single = (params.features & kFeatureSingleMap) != 0;
  map_size_ = params.sq.array + params.sq_entries * sizeof(uint32_t);
  completion_map_size_ = params.cq.completions + params.cq_entries * sizeof(Completion);
  if (is_single) map_size_ = std::max(map_size_, completion_map_size_);
  map_ = MapShared(map_size_, fd_, kOffsetSq);
  if (map_ == nullptr) return {errno, "mmap"};
  uint8_t* completion_map = map_;
  if (!is_single) {
    completion_map_ = MapShared(completion_map_size_, fd_, kOffsetCq);
    if (completion_map_ == nullptr) return {errno, "mmap"};
    completion_map = completion_map_;
  }
  submissions_size_ = params.sq_entries * sizeof(Submission);
  submissions_ =
      reinterpret_cast<Submission*>(MapShared(submissions_size_, fd_, kOffsetSubmissions));
  if (submissions_ == nullptr) return {errno, "mmap"};

  const auto word = [](uint8_t* map, uint32_t offset) {
    return reinterpret_cast<uint32_t*>(map + offset);
  };
  sq_head_ = word(map_, params.sq.head);
  sq_tail_ = word(map_, params.sq.tail);
  sq_flags_ = word(map_, params.sq.flags);
  sq_array_ = word(map_, params.sq.array);
  sq_mask_ = *word(map_, params.sq.ring_mask);
  sq_entries_ = params.sq_entries;
  cq_head_ = word(completion_map, params.cq.head);
  cq_tail_ = word(completion_map, params.cq.tail);
  cq_mask_ = *word(completion_map, params.cq.ring_mask);
  completions_ = reinterpret_cast<Completion*>(completion_map + params.cq.completions);
  // Submissions are used in order, so the indirection is the identity for good.
  for (uint32_t i = 0; i < sq_entries_; i++) sq_array_[i] = i;
  return {};
}

int Ring::RegisterBuffers(uint32_t buffers) {
  buffers_size_ = std::max<size_t>(buffers * sizeof(BufferEntry), 4096);
  void* const map = mmap(nullptr, buffers_size_, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED) return errno;
  buffers_ = static_cast<BufferEntry*>(map);
  buffer_mask_ = buffers - 1;
  BufferRegistration registration{};
  registration.address = reinterpret_cast<uint64_t>(map);
  registration.entries = buffers;
  registration.group = kBufferGroup;
  return syscall(kSysRegister, fd_, kRegisterBufferRing, &registration, 1) < 0 ? errno : 0;
}

RingFailure Ring::Open(uint32_t submissions, uint32_t completions, uint32_t buffers) {
  RingFailure failure = Setup(submissions, completions);
  if (failure.error == 0) {
    event_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (event_fd_ < 0) failure = {errno, "eventfd"};
  }
  if (failure.error == 0 && syscall(kSysRegister, fd_, kRegisterEventFd, &event_fd_, 1) < 0) {
    failure = {errno, "register eventfd"};
  }
  if (failure.error == 0) {
    const int error = RegisterBuffers(buffers);
    if (error != 0) failure = {error, "register buffer ring"};
  }
  if (failure.error != 0) Close();
  return failure;
}

void Ring::Close() {
  // The ring goes before the memory that it knows.
  if (fd_ >= 0) close(fd_);
  if (event_fd_ >= 0) close(event_fd_);
  if (map_ != nullptr) munmap(map_, map_size_);
  if (completion_map_ != nullptr) munmap(completion_map_, completion_map_size_);
  if (submissions_ != nullptr) munmap(submissions_, submissions_size_);
  if (buffers_ != nullptr) munmap(buffers_, buffers_size_);
  fd_ = event_fd_ = -1;
  map_ = completion_map_ = nullptr;
  submissions_ = nullptr;
  buffers_ = nullptr;
  buffer_tail_ = 0;
  to_submit_ = 0;
}

bool Ring::HasWork() const {
  if (LoadAcquire(cq_tail_) != *cq_head_) return true;
  return (LoadAcquire(sq_flags_) & (kSqTaskrun | kSqOverflow)) != 0;
}

Submission* Ring::Next() {
  const uint32_t tail = *sq_tail_;
  if (tail - LoadAcquire(sq_head_) == sq_entries_) {
    if (Enter(0) != 0 || tail - LoadAcquire(sq_head_) == sq_entries_) return nullptr;
  }
  Submission* const submission = &submissions_[tail & sq_mask_];
  *submission = {};
  to_submit_ += 1;
  StoreRelease(sq_tail_, tail + 1);
  return submission;
}

bool Ring::ReceiveMany(int fd, const msghdr* header, uint64_t user_data) {
  Submission* const submission = Next();
  if (submission == nullptr) return false;
  submission->opcode = kOperationReceiveMessage;
  submission->flags = kFlagBufferSelect;
  submission->priority = kReceiveMultishot;
  submission->fd = fd;
  submission->address = reinterpret_cast<uint64_t>(header);
  submission->length = 1;
  submission->buffer_group = kBufferGroup;
  submission->user_data = user_data;
  return true;
}

bool Ring::Cancel(uint64_t target, uint64_t user_data) {
  Submission* const submission = Next();
  if (submission == nullptr) return false;
  submission->opcode = kOperationCancel;
  submission->fd = -1;
  submission->address = target;
  submission->user_data = user_data;
  return true;
}

int Ring::Enter(uint32_t least) {
  calls_ += 1;
  const long taken = syscall(kSysEnter, fd_, to_submit_, least, kEnterGetEvents, nullptr, 0);
  if (taken < 0) return errno;
  to_submit_ -= std::min<uint32_t>(to_submit_, static_cast<uint32_t>(taken));
  return 0;
}

bool Ring::Take(Completion* out) {
  const uint32_t head = *cq_head_;
  if (head == LoadAcquire(cq_tail_)) return false;
  *out = completions_[head & cq_mask_];
  StoreRelease(cq_head_, head + 1);
  return true;
}

void Ring::Provide(void* address, uint32_t size, uint16_t id) {
  BufferEntry& entry = buffers_[buffer_tail_ & buffer_mask_];
  entry.address = reinterpret_cast<uint64_t>(address);
  entry.size = size;
  entry.id = id;
  buffer_tail_ += 1;
}

void Ring::Publish() { __atomic_store_n(&buffers_[0].tail, buffer_tail_, __ATOMIC_RELEASE); }

void Ring::Acknowledge() {
  uint64_t count;
  calls_ += 1;
  const ssize_t size = read(event_fd_, &count, sizeof count);
  static_cast<void>(size);  // Nothing to read is as good as read.
}

void Ring::Wake() {
  const uint64_t one = 1;
  const ssize_t size = write(event_fd_, &one, sizeof one);
  static_cast<void>(size);  // Full means readable.
}

// ── Probe ────────────────────────────────────────────────────────────────────────────────────────

namespace {

// Sends a datagram to itself and looks for it in the ring.
RingFailure ProbeReceive(Ring* ring, int fd) {
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof name;
  if (bind(fd, reinterpret_cast<sockaddr*>(&name), size) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) != 0) {
    return {errno, "bind"};
  }
  // Not on the stack: after a failure half way the kernel may still know it.
  alignas(16) static thread_local uint8_t buffer[512];
  ring->Provide(buffer, sizeof buffer, 0);
  ring->Publish();
  msghdr header{};
  header.msg_namelen = 32;
  if (!ring->ReceiveMany(fd, &header, 1)) return {EAGAIN, "io_uring_enter"};
  if (const int error = ring->Enter(0)) return {error, "io_uring_enter"};
  if (sendto(fd, "?", 1, 0, reinterpret_cast<sockaddr*>(&name), size) != 1) {
    return {errno, "sendto"};
  }
  // Loopback delivers before the call returns; the eventfd must tell without our asking the ring.
  pollfd wait{ring->event_fd(), POLLIN, 0};
  if (poll(&wait, 1, 1000) != 1) return {ETIMEDOUT, "eventfd"};
  if (const int error = ring->Enter(0)) return {error, "io_uring_enter"};
  Completion completion;
  if (!ring->Take(&completion)) return {ETIMEDOUT, "multishot receive"};
  if (completion.result < 0) return {-completion.result, "multishot receive"};
  ReceiveHeader received;
  std::memcpy(&received, buffer, sizeof received);
  const bool is_right = completion.has_buffer() && completion.has_more() &&
                        received.payload_size == 1 && buffer[sizeof received + 32] == '?';
  if (!is_right) return {EPROTO, "multishot receive"};
  if (!ring->Cancel(1, 2)) return {EAGAIN, "io_uring_enter"};
  for (int tries = 0; tries < 8; tries++) {
    if (const int error = ring->Enter(1)) return {error, "io_uring_enter"};
    while (ring->Take(&completion)) {
      if (completion.user_data == 1 && !completion.has_more()) return {};
    }
  }
  return {ETIMEDOUT, "cancel"};
}

}  // namespace

RingFailure ProbeRing() {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return {errno, "socket"};
  Ring ring;
  RingFailure failure = ring.Open(4, 8, 2);
  if (failure.error == 0) failure = ProbeReceive(&ring, fd);
  ring.Close();
  close(fd);
  return failure;
}

}  // namespace punchline
