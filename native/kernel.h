// Kernel interface, declared here so that old headers build a module for new kernels.
#pragma once

#include <cstdint>

namespace punchline {

// <linux/udp.h>
constexpr int kUdpSegment = 103;
constexpr int kUdpGro = 104;

// <asm/socket.h>, the same numbers on all architectures that Node supports on Linux.
constexpr int kSoSelectErrQueue = 45;
constexpr int kSoMemInfo = 55;
constexpr int kMemInfoCount = 9;
constexpr int kMemInfoDrops = 8;

// <linux/in.h>, <linux/in6.h>
constexpr int kPmtuWant = 1;
constexpr int kPmtuProbe = 3;

// struct sock_extended_err of <linux/errqueue.h>
struct SocketExtendedError {
  uint32_t error;
  uint8_t origin, type, code, pad;
  uint32_t info, data;
};
constexpr uint8_t kOriginLocal = 1;
constexpr uint8_t kOriginIcmp = 2;
constexpr uint8_t kOriginIcmp6 = 3;

}  // namespace punchline
