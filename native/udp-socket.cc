#include "udp-socket.h"

#include <errno.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "crc32c.h"
#include "kernel.h"

namespace punchline {
namespace {

// Datagrams of one train: older kernels' UDP_MAX_SEGMENTS.
constexpr uint32_t kSegmentsMax = 64;
// Payload of one send call: what the IPv4 length field leaves.
constexpr uint32_t kTrainBytesMax = 65'507;
// Refusals that wait for the host; more in one go say nothing new.
constexpr size_t kRefusalsMax = 64;
// Entries of the error queue that are read in one go.
constexpr int kErrorsPerDrain = 256;

void SetInt(int fd, int level, int option, int value) {
  // Options that an old kernel lacks cost a feature, not the socket.
  setsockopt(fd, level, option, &value, sizeof value);
}

template <typename Value>
void AddControl(msghdr* header, uint8_t* control, int level, int type, const Value& value) {
  auto* const message = reinterpret_cast<cmsghdr*>(control + header->msg_controllen);
  message->cmsg_level = level;
  message->cmsg_type = type;
  message->cmsg_len = CMSG_LEN(sizeof value);
  std::memcpy(CMSG_DATA(message), &value, sizeof value);
  header->msg_control = control;
  header->msg_controllen += CMSG_SPACE(sizeof value);
}

template <typename Value>
Value ReadControl(const cmsghdr* message) {
  Value value{};
  const size_t size = message->cmsg_len - CMSG_LEN(0);
  std::memcpy(&value, CMSG_DATA(message), std::min(size, sizeof value));
  return value;
}

void SealCrc32c(uint8_t* memory, const Descriptor& descriptor) {
  const uint32_t step = descriptor.segment > 0 ? descriptor.segment : descriptor.length;
  for (uint32_t at = 0; at < descriptor.length; at += step) {
    const uint32_t size = std::min(step, descriptor.length - at);
    if (size < 4) return;
    uint8_t* const datagram = memory + descriptor.pointer + at;
    const uint32_t crc = Crc32c(0, datagram, size - 4);
    std::memcpy(datagram + size - 4, &crc, 4);
  }
}

}  // namespace

// ── Opening ──────────────────────────────────────────────────────────────────────────────────────

int UdpSocket::Open(const SocketOptions& options, const char** step) {
  *step = "socket";
  fd_ = socket(options.family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd_ < 0) return errno;
  family_ = options.family;
  index_ = options.index;
  *step = "setsockopt";
  if (const int error = SetOptions(options)) return error;
  *step = "bind";
  SocketAddress name;
  socklen_t size = ToKernel(options.address, family_, &name);
  if (size == 0) return EINVAL;
  if (bind(fd_, &name.any, size) != 0) return errno;
  *step = "getsockname";
  size = sizeof name;
  if (getsockname(fd_, &name.any, &size) != 0) return errno;
  FromKernel(name, &bound_);
  return 0;
}

int UdpSocket::SetOptions(const SocketOptions& options) {
  const bool is_v6 = family_ == AF_INET6;
  const bool is_dual = is_v6 && !options.ipv6_only;
  if (is_v6) {
    const int only = options.ipv6_only ? 1 : 0;
    if (setsockopt(fd_, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only) != 0) return errno;
  }
  if (options.reuse_port) {
    const int on = 1;
    if (setsockopt(fd_, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) return errno;
  }
  SetBuffer(SO_RCVBUF, SO_RCVBUFFORCE, options.receive_buffer_bytes, &receive_buffer_bytes_);
  SetBuffer(SO_SNDBUF, SO_SNDBUFFORCE, options.send_buffer_bytes, &send_buffer_bytes_);
  // Refusals of unconnected sockets only reach the error queue, and only wake the poll set without
  // ending it when POLLPRI comes with them.
  SetInt(fd_, SOL_SOCKET, kSoSelectErrQueue, 1);
  const int discover = options.dont_fragment ? kPmtuProbe : kPmtuWant;
  const Address& address = options.address;
  const bool is_any = IsZero(address.bytes) ||
                      (IsMappedIPv4(address.bytes) && std::memcmp(address.bytes + 12, "\0\0\0", 4) == 0);
  wants_local_address_ = is_any;
  ecn_ = options.ecn;
  if (is_v6) {
    SetInt(fd_, IPPROTO_IPV6, IPV6_RECVERR, 1);
    SetInt(fd_, IPPROTO_IPV6, IPV6_MTU_DISCOVER, discover);
    if (is_any) SetInt(fd_, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    if (ecn_) SetInt(fd_, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
  }
  if (!is_v6 || is_dual) {
    SetInt(fd_, IPPROTO_IP, IP_RECVERR, 1);
    SetInt(fd_, IPPROTO_IP, IP_MTU_DISCOVER, discover);
    if (is_any && !is_v6) SetInt(fd_, IPPROTO_IP, IP_PKTINFO, 1);
    if (ecn_) SetInt(fd_, IPPROTO_IP, IP_RECVTOS, 1);
  }
  // Asked only: a segment size set as a socket option would cut every datagram from now on.
  if (options.segmentation) {
    int value = 0;
    socklen_t size = sizeof value;
    segmentation_ = getsockopt(fd_, IPPROTO_UDP, kUdpSegment, &value, &size) == 0;
    if (!segmentation_) segmentation_error_ = errno;
  }
  if (options.receive_offload) {
    const int on = 1;
    receive_offload_ = setsockopt(fd_, IPPROTO_UDP, kUdpGro, &on, sizeof on) == 0;
  }
  verify_crc32c_ = options.verify_crc32c;
  return 0;
}

void UdpSocket::SetBuffer(int option, int force_option, int bytes, int* granted) {
  // Beyond the system's limit only for those who may; everybody else gets the limit.
  if (bytes > 0 && setsockopt(fd_, SOL_SOCKET, force_option, &bytes, sizeof bytes) != 0) {
    SetInt(fd_, SOL_SOCKET, option, bytes);
  }
  socklen_t size = sizeof *granted;
  if (getsockopt(fd_, SOL_SOCKET, option, granted, &size) != 0) *granted = 0;
}

void UdpSocket::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

uint32_t UdpSocket::Drops() const {
  uint32_t info[kMemInfoCount] = {};
  socklen_t size = sizeof info;
  if (fd_ < 0 || getsockopt(fd_, SOL_SOCKET, kSoMemInfo, info, &size) != 0) return 0;
  return info[kMemInfoDrops];
}

bool UdpSocket::NeverFragments() const {
  const bool is_v6 = family_ == AF_INET6;
  int value = 0;
  socklen_t size = sizeof value;
  const int error = getsockopt(fd_, is_v6 ? IPPROTO_IPV6 : IPPROTO_IP,
                               is_v6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER, &value, &size);
  return error == 0 && value == kPmtuProbe;
}

// ── Sending ──────────────────────────────────────────────────────────────────────────────────────

void UdpSocket::BuildControl(const Descriptor& descriptor, bool is_train, msghdr* header,
                             uint8_t* control) {
  const bool is_v4 = family_ == AF_INET || IsMappedIPv4(descriptor.address.bytes);
  if (is_train) {
    AddControl(header, control, IPPROTO_UDP, kUdpSegment, static_cast<uint16_t>(descriptor.segment));
  }
  const int ecn = (descriptor.address.port >> kEcnShift) & 3;
  if (ecn != 0) {
    if (is_v4) AddControl(header, control, IPPROTO_IP, IP_TOS, ecn);
    else AddControl(header, control, IPPROTO_IPV6, IPV6_TCLASS, ecn);
  }
  if (IsZero(descriptor.local_address)) return;
  if (is_v4) {
    in_pktinfo info{};
    std::memcpy(&info.ipi_spec_dst, descriptor.local_address + 12, 4);
    AddControl(header, control, IPPROTO_IP, IP_PKTINFO, info);
  } else {
    in6_pktinfo info{};
    std::memcpy(&info.ipi6_addr, descriptor.local_address, 16);
    info.ipi6_ifindex = descriptor.address.scope;
    AddControl(header, control, IPPROTO_IPV6, IPV6_PKTINFO, info);
  }
}

// Fills the scratch space with messages from descriptor `first` on; gives how many.
uint32_t UdpSocket::Build(uint8_t* memory, const Descriptor* descriptors, uint32_t first,
                          uint32_t count, Scratch* scratch) {
  uint32_t built = 0;
  for (uint32_t index = first; index < count && built < kSendBatch; index++) {
    const Descriptor& descriptor = descriptors[index];
    SocketAddress name;
    const socklen_t name_size = ToKernel(descriptor.address, family_, &name);
    const bool is_cut = descriptor.segment > 0 && descriptor.segment < descriptor.length;
    const uint32_t segment = is_cut ? descriptor.segment : descriptor.length;
    const uint32_t per_message =
        !is_cut ? segment
        : segmentation_
            ? segment * std::max(1u, std::min(kSegmentsMax, kTrainBytesMax / segment))
            : segment;
    uint32_t at = 0;
    do {
      const uint32_t bytes = std::min(per_message, descriptor.length - at);
      const bool is_train = bytes > segment;
      mmsghdr& message = scratch->send_headers[built];
      message = {};
      scratch->send_names[built] = name;
      scratch->send_vectors[built] = {memory + descriptor.pointer + at, bytes};
      message.msg_hdr.msg_name = &scratch->send_names[built];
      message.msg_hdr.msg_namelen = name_size;
      message.msg_hdr.msg_iov = &scratch->send_vectors[built];
      message.msg_hdr.msg_iovlen = 1;
      BuildControl(descriptor, is_train, &message.msg_hdr, scratch->send_control[built]);
      at += bytes;
      const uint32_t datagrams = segment == 0 ? 1 : (bytes + segment - 1) / segment;
      scratch->parts[built] = {index, bytes, datagrams, at == descriptor.length, is_train};
      built += 1;
    } while (at < descriptor.length && built < kSendBatch);
  }
  return built;
}

int UdpSocket::SendMessages(mmsghdr* headers, uint32_t count) {
  counters_.send_calls += 1;
  if (failing_times_ > 0) {
    failing_times_ -= 1;
    errno = failing_error_;
    return -1;
  }
  return sendmmsg(fd_, headers, count, MSG_NOSIGNAL);
}

uint32_t UdpSocket::Send(uint8_t* memory, Descriptor* descriptors, uint32_t count,
                         Scratch* scratch) {
  for (uint32_t i = 0; i < count; i++) {
    if ((descriptors[i].offload & kOffloadCrc32c) == 0) continue;
    SealCrc32c(memory, descriptors[i]);
    descriptors[i].offload &= ~kOffloadCrc32c;
  }
  uint32_t first = 0;
  const auto took = [&](const Scratch::Part& part) {
    Descriptor& descriptor = descriptors[part.descriptor];
    descriptor.pointer += part.bytes;
    descriptor.length -= part.bytes;
    if (part.is_last) first = part.descriptor + 1;
  };
  // Errors of earlier datagrams are told by any later call; each is asked for once.
  bool is_second_try = false;
  bool has_given_up_trains = false;
  while (first < count) {
    const uint32_t built = Build(memory, descriptors, first, count, scratch);
    const int sent = SendMessages(scratch->send_headers, built);
    if (sent > 0) {
      for (int i = 0; i < sent; i++) {
        counters_.datagrams_sent += scratch->parts[i].datagrams;
        took(scratch->parts[i]);
      }
      is_second_try = false;
      // Whatever stopped it may have been an earlier datagram's error, told to nobody else now.
      if (static_cast<uint32_t>(sent) < built) DrainErrors();
      continue;
    }
    const int error = errno;
    const Scratch::Part& part = scratch->parts[0];
    const Descriptor& descriptor = descriptors[part.descriptor];
    if (error == EINTR) continue;
    if (error == EAGAIN) {
      counters_.blocked += 1;
      return first;
    }
    // Hardware or route can't cut this train: the same bytes leave at once as single datagrams.
    if (part.is_train && (error == EIO || error == EINVAL)) {
      segmentation_ = false;
      segmentation_error_ = error;
      counters_.segmentation_failures += 1;
      has_given_up_trains = true;
      continue;
    }
    if (error == EMSGSIZE) {
      // The datagrams are too large for the way, not the train for the offload.
      if (has_given_up_trains) {
        segmentation_ = true;
        segmentation_error_ = 0;
        has_given_up_trains = false;
      }
      DrainErrors();
      Refuse(EMSGSIZE, 0, descriptor.address);
    } else if (error != ENOBUFS && error != ENOMEM && error != EPERM) {
      if (!is_second_try) {
        is_second_try = true;
        DrainErrors();
        continue;
      }
      Refuse(error, 0, descriptor.address);
    }
    // It is lost, as if the network had dropped it.
    counters_.sends_failed += part.datagrams;
    took(part);
    is_second_try = false;
  }
  return count;
}

// ── Receiving ────────────────────────────────────────────────────────────────────────────────────

bool UdpSocket::Describe(const Received& received, uint32_t pointer, Descriptor* out) {
  if ((received.flags & MSG_TRUNC) != 0 || received.length > kPayloadMax) {
    counters_.receives_truncated += 1;
    return false;
  }
  *out = {};
  out->pointer = pointer;
  out->length = received.length;
  out->socket = index_;
  FromKernel(*received.from, &out->address);
  if (!wants_local_address_) std::memcpy(out->local_address, bound_.bytes, 16);
  uint32_t ecn = 0;
  msghdr header{};
  header.msg_control = received.control;
  header.msg_controllen = received.control_size;
  for (cmsghdr* message = CMSG_FIRSTHDR(&header); message != nullptr;
       message = CMSG_NXTHDR(&header, message)) {
    const int level = message->cmsg_level;
    const int type = message->cmsg_type;
    if (level == IPPROTO_UDP && type == kUdpGro) {
      const int segment = ReadControl<int>(message);
      if (segment > 0 && static_cast<uint32_t>(segment) < out->length) out->segment = segment;
    } else if (level == IPPROTO_IP && type == IP_PKTINFO) {
      MapIPv4(ReadControl<in_pktinfo>(message).ipi_addr, out->local_address);
    } else if (level == IPPROTO_IPV6 && type == IPV6_PKTINFO) {
      const auto info = ReadControl<in6_pktinfo>(message);
      std::memcpy(out->local_address, &info.ipi6_addr, 16);
    } else if (level == IPPROTO_IP && type == IP_TOS) {
      ecn = ReadControl<uint8_t>(message) & 3;
    } else if (level == IPPROTO_IPV6 && type == IPV6_TCLASS) {
      ecn = ReadControl<int>(message) & 3;
    }
  }
  if (ecn_) out->address.port |= ecn << kEcnShift;
  counters_.datagrams_received +=
      out->segment == 0 ? 1 : (out->length + out->segment - 1) / out->segment;
  return true;
}

// ── Errors ───────────────────────────────────────────────────────────────────────────────────────

void UdpSocket::Refuse(int error, uint32_t info, const Address& address) {
  Address to = address;
  to.port &= kPortMask;
  // A peer that is gone answers every datagram: once is enough.
  for (Refusal& known : refusals_) {
    if (known.error != error || std::memcmp(&known.address, &to, sizeof to) != 0) continue;
    if (info != 0) known.info = info;
    return;
  }
  if (refusals_.size() < kRefusalsMax) refusals_.push_back({error, info, to});
}

void UdpSocket::DrainErrors() {
  for (int i = 0; i < kErrorsPerDrain; i++) {
    SocketAddress name{};
    alignas(8) uint8_t control[512];
    // What was sent comes back; only to whom is of interest.
    uint8_t payload[1];
    iovec vector{payload, sizeof payload};
    msghdr header{};
    header.msg_name = &name;
    header.msg_namelen = sizeof name;
    header.msg_iov = &vector;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    if (recvmsg(fd_, &header, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) {
      if (errno == EINTR) continue;
      return;
    }
    if (header.msg_namelen == 0) continue;
    for (cmsghdr* message = CMSG_FIRSTHDR(&header); message != nullptr;
         message = CMSG_NXTHDR(&header, message)) {
      const bool is_error =
          (message->cmsg_level == IPPROTO_IP && message->cmsg_type == IP_RECVERR) ||
          (message->cmsg_level == IPPROTO_IPV6 && message->cmsg_type == IPV6_RECVERR);
      if (!is_error) continue;
      const auto error = ReadControl<SocketExtendedError>(message);
      Address address;
      FromKernel(name, &address);
      Refuse(static_cast<int>(error.error), error.info, address);
    }
  }
}

int LocalAddressTo(const Address& to, int family, Address* local) {
  const int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  SocketAddress name;
  socklen_t size = ToKernel(to, family, &name);
  int error = size == 0 ? EINVAL : 0;
  // Connecting a datagram socket sends nothing: it only asks the routing table.
  if (error == 0 && connect(fd, &name.any, size) != 0) error = errno;
  size = sizeof name;
  if (error == 0 && getsockname(fd, &name.any, &size) != 0) error = errno;
  if (error == 0) FromKernel(name, local);
  close(fd);
  return error;
}

}  // namespace punchline
