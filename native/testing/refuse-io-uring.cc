// Runs a program without io_uring, as container profiles do: the calls fail with the given errno.
//
//   refuse-io-uring EPERM|ENOSYS all|setup|enter|register PROGRAM [ARGUMENT …]
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>

namespace {

// The same numbers on every architecture.
constexpr uint32_t kFirstCall = 425;
constexpr uint32_t kLastCall = 427;

bool Refuse(uint32_t first, uint32_t last, uint32_t error) {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, first, 0, 2),
      BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, last, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error & SECCOMP_RET_DATA)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter = {sizeof program / sizeof program[0], program};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

}  // namespace

int main(int count, char** values) {
  if (count < 4) {
    std::fprintf(stderr, "usage: %s EPERM|ENOSYS all|setup|enter|register PROGRAM …\n", values[0]);
    return 2;
  }
  const uint32_t error = std::strcmp(values[1], "ENOSYS") == 0 ? ENOSYS : EPERM;
  uint32_t first = kFirstCall;
  uint32_t last = kLastCall;
  const char* const calls[] = {"setup", "enter", "register"};
  for (uint32_t i = 0; i < 3; i++) {
    if (std::strcmp(values[2], calls[i]) == 0) first = last = kFirstCall + i;
  }
  if (!Refuse(first, last, error)) {
    std::perror("seccomp");
    return 1;
  }
  execvp(values[3], values + 3);
  std::perror(values[3]);
  return 1;
}
