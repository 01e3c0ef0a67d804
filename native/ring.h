// io_uring by system calls, as much of it as receiving needs: one ring, one ring of buffers.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>

namespace punchline {

// struct io_uring_sqe of <linux/io_uring.h>
struct Submission {
  uint8_t opcode;
  uint8_t flags;
  uint16_t priority;
  int32_t fd;
  uint64_t offset;
  uint64_t address;
  uint32_t length;
  uint32_t operation_flags;
  uint64_t user_data;
  uint16_t buffer_group;
  uint16_t personality;
  int32_t splice_fd;
  uint64_t reserved[2];
};
static_assert(sizeof(Submission) == 64, "layout of the kernel's io_uring_sqe");

// struct io_uring_cqe
struct Completion {
  uint64_t user_data;
  int32_t result;
  uint32_t flags;

  bool has_buffer() const { return (flags & 1) != 0; }
  bool has_more() const { return (flags & 2) != 0; }
  uint16_t buffer() const { return static_cast<uint16_t>(flags >> 16); }
};
static_assert(sizeof(Completion) == 16, "layout of the kernel's io_uring_cqe");

// struct io_uring_recvmsg_out: what stands in front of name, control data and payload.
struct ReceiveHeader {
  uint32_t name_size;
  uint32_t control_size;
  uint32_t payload_size;
  uint32_t flags;
};

// What failed on the way to a ring.
struct RingFailure {
  int error = 0;
  const char* step = "";
};

class Ring {
 public:
  Ring() = default;
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring() { Close(); }

  // Sets up a ring and a ring of up to `buffers` (a power of two) provided buffers, with an eventfd
  // that becomes readable when something is complete. On failure nothing stays open.
  RingFailure Open(uint32_t submissions, uint32_t completions, uint32_t buffers);
  void Close();
  bool is_open() const { return fd_ >= 0; }
  int event_fd() const { return event_fd_; }
  // The kernel works for this ring only while we are in `Enter`: until then it writes nowhere.
  bool is_deferred() const { return is_deferred_; }
  uint32_t setup_flags() const { return setup_flags_; }
  uint64_t calls() const { return calls_; }

  // Something is complete, or would be after `Enter`. Costs no system call; false negatives are
  // possible on kernels that do not tell.
  bool HasWork() const;

  // The next free submission, zeroed; submits what waits when the queue is full. Null: the kernel
  // takes nothing.
  Submission* Next();
  // Arms a receive that goes on until it fails or buffers run out. `header` says how much room name
  // and control data get, and must live as long as the receive.
  bool ReceiveMany(int fd, const msghdr* header, uint64_t user_data);
  bool Cancel(uint64_t target, uint64_t user_data);
  // Submits what waits, lets the kernel work, and waits for `least` completions. 0 or errno.
  int Enter(uint32_t least);
  // Takes the oldest completion; false when there is none.
  bool Take(Completion* out);

  // Gives a buffer to the kernel, which sees it after the next `Publish`.
  void Provide(void* address, uint32_t size, uint16_t id);
  void Publish();
  // Reads the eventfd, so that it tells the next time.
  void Acknowledge();
  // Makes the eventfd readable: the loop comes back.
  void Wake();

 private:
  RingFailure Setup(uint32_t submissions, uint32_t completions);
  int Map();
  int RegisterBuffers(uint32_t buffers);

  int fd_ = -1;
  int event_fd_ = -1;
  bool is_deferred_ = false;
  uint32_t setup_flags_ = 0;
  uint64_t calls_ = 0;
  uint32_t to_submit_ = 0;

  uint8_t* map_ = nullptr;
  size_t map_size_ = 0;
  uint8_t* completion_map_ = nullptr;
  size_t completion_map_size_ = 0;
  Submission* submissions_ = nullptr;
  size_t submissions_size_ = 0;
  uint32_t *sq_head_ = nullptr, *sq_tail_ = nullptr, *sq_flags_ = nullptr, *sq_array_ = nullptr;
  uint32_t sq_mask_ = 0, sq_entries_ = 0;
  uint32_t *cq_head_ = nullptr, *cq_tail_ = nullptr;
  uint32_t cq_mask_ = 0;
  Completion* completions_ = nullptr;

  struct BufferEntry;
  BufferEntry* buffers_ = nullptr;
  size_t buffers_size_ = 0;
  uint32_t buffer_mask_ = 0;
  uint16_t buffer_tail_ = 0;
};

// Does once what the tier does all the time: ring, eventfd, buffers, and one datagram from a
// loopback socket to itself through a multishot receive. A filter may allow the first and refuse the
// rest, and old kernels fail in the last step only.
RingFailure ProbeRing();

// Buffers of one ring are one group.
constexpr uint16_t kBufferGroup = 0;

}  // namespace punchline
