// What this machine offers: asked of the processor and the kernel, never guessed from versions.
#pragma once

#include <cstdint>

namespace punchline {

struct CpuFeatures {
  bool sse42 = false;
  bool pclmul = false;
  bool aes = false;
  bool avx2 = false;
  bool avx512f = false;
  bool avx512bw = false;
  bool vaes = false;
  bool vpclmulqdq = false;
  bool arm_crc = false;
  bool arm_aes = false;
};

CpuFeatures DetectCpu();

// Result of trying something: 0, or the errno of the refusal.
struct Attempt {
  int error = 0;
};

struct IoUring : Attempt {
  // IORING_SETUP_* flags that were granted, IORING_FEAT_* bits that the kernel reports.
  uint32_t setup_flags = 0;
  uint32_t features = 0;
};

// Sets up a small ring and closes it. Seccomp profiles refuse it in most containers.
IoUring TryIoUring();

// UDP segmentation offload on a throwaway socket (UDP_SEGMENT, Linux 4.18).
Attempt TryUdpSegmentation();

// UDP receive offload on a throwaway socket (UDP_GRO, Linux 5.0).
Attempt TryUdpReceiveOffload();

}  // namespace punchline
