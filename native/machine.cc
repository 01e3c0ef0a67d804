#include "machine.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace punchline {
namespace {

// Kernel interface, declared here so that old headers build a module for new kernels.
constexpr long kSysIoUringSetup = 425;  // The same number on every architecture.
constexpr uint32_t kSetupCoopTaskrun = 1u << 8;
constexpr uint32_t kSetupSingleIssuer = 1u << 12;
constexpr uint32_t kSetupDeferTaskrun = 1u << 13;
constexpr int kUdpSegment = 103;
constexpr int kUdpGro = 104;

// struct io_uring_params of <linux/io_uring.h>: 10 words and two offset tables of 40 bytes.
struct IoUringParams {
  uint32_t sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features, wq_fd;
  uint32_t reserved[3];
  uint8_t sq_offsets[40];
  uint8_t cq_offsets[40];
};
static_assert(sizeof(IoUringParams) == 120, "layout of the kernel's io_uring_params");

Attempt TryUdpOption(int option, int value) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return {errno};
  Attempt attempt;
  if (setsockopt(fd, IPPROTO_UDP, option, &value, sizeof value) != 0) attempt.error = errno;
  close(fd);
  return attempt;
}

#if defined(__x86_64__)
// The kernel must save the wide registers too, or using them traps: bits of XCR0.
constexpr uint32_t kAvxRegisters = 0x6;
constexpr uint32_t kAvx512Registers = 0xe6;

bool KernelSaves(uint32_t registers) {
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & registers) == registers;
}
#endif

}  // namespace

CpuFeatures DetectCpu() {
  CpuFeatures features;
#if defined(__x86_64__)
  unsigned a, b, c, d;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return features;
  features.sse42 = (c & bit_SSE4_2) != 0;
  features.pclmul = (c & bit_PCLMUL) != 0;
  features.aes = (c & bit_AES) != 0;
  const bool avx = (c & bit_OSXSAVE) != 0 && KernelSaves(kAvxRegisters);
  if (avx && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0) {
    features.avx2 = (b & (1u << 5)) != 0;
    features.avx512f = (b & (1u << 16)) != 0 && KernelSaves(kAvx512Registers);
    features.avx512bw = features.avx512f && (b & (1u << 30)) != 0;
    features.vaes = (c & (1u << 9)) != 0;
    features.vpclmulqdq = (c & (1u << 10)) != 0;
  }
#elif defined(__aarch64__)
  const unsigned long capabilities = getauxval(AT_HWCAP);
  features.arm_aes = (capabilities & (1u << 3)) != 0;
  features.arm_crc = (capabilities & (1u << 7)) != 0;
#endif
  return features;
}

IoUring TryIoUring() {
  // Best first; a kernel that does not know a flag answers EINVAL.
  const uint32_t ladder[] = {kSetupSingleIssuer | kSetupDeferTaskrun, kSetupCoopTaskrun, 0};
  IoUring result;
  for (const uint32_t flags : ladder) {
    IoUringParams params{};
    params.flags = flags;
    const long fd = syscall(kSysIoUringSetup, 4, &params);
    if (fd >= 0) {
      close(static_cast<int>(fd));
      result.error = 0;
      result.setup_flags = flags;
      result.features = params.features;
      return result;
    }
    result.error = errno;
    if (errno != EINVAL) return result;
  }
  return result;
}

Attempt TryUdpSegmentation() { return TryUdpOption(kUdpSegment, 1200); }

Attempt TryUdpReceiveOffload() { return TryUdpOption(kUdpGro, 1); }

}  // namespace punchline
