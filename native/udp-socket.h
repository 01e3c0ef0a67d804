// A UDP socket of the kernel with the extras that datagram transports live on: segmentation offload
// in both directions, many messages per call, the error queue. Knows nothing of libuv and Node.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstdint>
#include <vector>

#include "address.h"
#include "arena.h"

namespace punchline {

struct SocketOptions {
  Address address{};
  int family = AF_INET;
  bool ipv6_only = false;
  bool reuse_port = false;
  // Never let the network fragment: needed for path MTU search.
  bool dont_fragment = false;
  // Report the ECN bits of received datagrams.
  bool ecn = false;
  bool segmentation = true;
  bool receive_offload = true;
  // Check the CRC32C at the end of every received datagram.
  bool verify_crc32c = false;
  int receive_buffer_bytes = 0;
  int send_buffer_bytes = 0;
  // Stands in every receive descriptor.
  uint32_t index = 0;
};

// What the network, or the route to it, said about datagrams to an address.
struct Refusal {
  int error;
  // For EMSGSIZE: what the way carries, bytes, headers included; 0 when unknown.
  uint32_t info;
  Address address;
};

struct SocketCounters {
  uint64_t send_calls = 0;
  uint64_t receive_calls = 0;
  uint64_t datagrams_sent = 0;
  uint64_t datagrams_received = 0;
  // Descriptors that pointed nowhere sensible.
  uint64_t descriptors_refused = 0;
  // Datagrams, or trains, that the system would not take.
  uint64_t sends_failed = 0;
  uint64_t receives_truncated = 0;
  // How often segmentation offload was given up.
  uint64_t segmentation_failures = 0;
  uint64_t blocked = 0;
};

constexpr uint32_t kSendBatch = 64;
constexpr size_t kSendControlSize = 96;
constexpr size_t kReceiveControlSize = 192;

// Scratch space for calls in both directions; one per thread is enough.
struct Scratch {
  struct Part {
    uint32_t descriptor;
    uint32_t bytes;
    uint32_t datagrams;
    bool is_last;
    bool is_train;
  };
  mmsghdr send_headers[kSendBatch];
  iovec send_vectors[kSendBatch];
  SocketAddress send_names[kSendBatch];
  Part parts[kSendBatch];
  alignas(8) uint8_t send_control[kSendBatch][kSendControlSize];

  mmsghdr headers[kSlots];
  iovec vectors[kSlots];
  SocketAddress names[kSlots];
  alignas(8) uint8_t control[kSlots][kReceiveControlSize];
};

// What came beside a datagram.
struct Received {
  const SocketAddress* from;
  uint8_t* control;
  size_t control_size;
  uint32_t length;
  int flags;
};

class UdpSocket {
 public:
  UdpSocket() = default;
  UdpSocket(const UdpSocket&) = delete;
  UdpSocket& operator=(const UdpSocket&) = delete;
  ~UdpSocket() { Close(); }

  // Opens and binds. Gives 0, or the errno and in `step` the call that failed.
  int Open(const SocketOptions& options, const char** step);
  void Close();

  int fd() const { return fd_; }
  const Address& bound() const { return bound_; }
  // As the kernel reports them: on Linux twice what was asked for, half of it for bookkeeping.
  int receive_buffer_bytes() const { return receive_buffer_bytes_; }
  int send_buffer_bytes() const { return send_buffer_bytes_; }
  bool has_segmentation() const { return segmentation_; }
  // errno that ended segmentation offload or kept it from starting; 0: none.
  int segmentation_error() const { return segmentation_error_; }
  bool has_receive_offload() const { return receive_offload_; }
  bool verifies_crc32c() const { return verify_crc32c_; }
  const SocketCounters& counters() const { return counters_; }
  SocketCounters& counters() { return counters_; }
  // Datagrams that the kernel dropped because the receive buffer was full.
  uint32_t Drops() const;
  // Whether the kernel sets DF on every datagram, as asked of it now.
  bool NeverFragments() const;

  // Sends what the descriptors say; `memory` is what their pointers count from. Gives how many were
  // taken: fewer than `count` when the system would block. A descriptor that was taken in part
  // says afterwards what is left of it.
  uint32_t Send(uint8_t* memory, Descriptor* descriptors, uint32_t count, Scratch* scratch);

  // Turns what the kernel told beside a datagram at `pointer` into a descriptor. False when the
  // datagram is to be dropped.
  bool Describe(const Received& received, uint32_t pointer, Descriptor* out);

  // For tests: the next `times` send calls fail with this errno without reaching the kernel.
  void FailSends(int error, uint32_t times) {
    failing_error_ = error;
    failing_times_ = times;
  }

  // Reads the error queue into `refusals`.
  void DrainErrors();
  std::vector<Refusal>& refusals() { return refusals_; }

 private:
  int SendMessages(mmsghdr* headers, uint32_t count);
  int SetOptions(const SocketOptions& options);
  void SetBuffer(int option, int force_option, int bytes, int* granted);
  uint32_t Build(uint8_t* memory, const Descriptor* descriptors, uint32_t first, uint32_t count,
                 Scratch* scratch);
  void BuildControl(const Descriptor& descriptor, bool is_train, msghdr* header, uint8_t* control);
  void Refuse(int error, uint32_t info, const Address& address);

  int fd_ = -1;
  int family_ = AF_INET;
  uint32_t index_ = 0;
  Address bound_{};
  int receive_buffer_bytes_ = 0;
  int send_buffer_bytes_ = 0;
  bool segmentation_ = false;
  bool receive_offload_ = false;
  bool verify_crc32c_ = false;
  bool wants_local_address_ = false;
  bool ecn_ = false;
  int segmentation_error_ = 0;
  int failing_error_ = 0;
  uint32_t failing_times_ = 0;
  SocketCounters counters_;
  std::vector<Refusal> refusals_;
};

// From which address the system would send to `to`. Gives 0 or the errno of the refusal.
int LocalAddressTo(const Address& to, int family, Address* local);

}  // namespace punchline
