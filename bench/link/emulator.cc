// A link between two network namespaces, for comparisons with the kernel's TCP:
//
//   link-emulator KEY=VALUE …     prints one line of JSON: where the namespaces can be entered
//
// The namespaces have no names: they are gone when this process and those inside are. Whatever is
// sent from 192.0.2.1 to 192.0.2.2 or 192.0.2.3, or back, passes in this order a drop-tail queue,
// a bottleneck, loss, and delay. Lines on stdin are obeyed: "reset" begins to count anew, "stats"
// answers one line of JSON; the end of stdin ends the process.
//
//   rate     bits per second
//   queue    bytes that may wait for it
//   delay    µs, one way
//   jitter   µs, delay varies by as much either way; the order is kept
//   loss     chance of a packet
//   enter, leave, burst   Gilbert–Elliott: chance per packet that a burst begins, that it ends,
//                         and of loss in it
//   reorder  chance to be held back by `hold` µs, so that later packets overtake
//   seed     of all chance
//   congestion, rival     controllers of the kernel's TCP towards 192.0.2.2 and 192.0.2.3
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <queue>
#include <string>
#include <vector>

namespace {

using Nanos = int64_t;
constexpr Nanos kNever = INT64_MAX;
constexpr size_t kPacketBytes = 1500;
// What may be under way in one direction: 100 MB, touched only as far as needed.
constexpr size_t kPacketsMax = 65536;
// Packets of one direction that are taken in before the other one gets its turn.
constexpr int kBatch = 64;

[[noreturn]] void fail(const char* what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

Nanos now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

struct Settings {
  double rate = 0, queue = 1e9, delay = 0, jitter = 0, loss = 0, reorder = 0, hold = 0;
  double enter = 0, leave = 1, burst = 0, seed = 1;
  std::string congestion = "cubic", rival = "cubic";

  // False when it is not understood.
  bool set(const std::string& text) {
    const std::pair<const char*, double*> numbers[] = {
        {"rate", &rate}, {"queue", &queue},     {"delay", &delay}, {"jitter", &jitter},
        {"loss", &loss}, {"reorder", &reorder}, {"hold", &hold},   {"enter", &enter},
        {"leave", &leave}, {"burst", &burst},   {"seed", &seed},
    };
    const size_t at = text.find('=');
    if (at == std::string::npos) return false;
    const std::string name = text.substr(0, at), value = text.substr(at + 1);
    if (name == "congestion") congestion = value;
    if (name == "rival") rival = value;
    for (const auto& [known, number] : numbers) {
      if (name != known) continue;
      char* end = nullptr;
      *number = strtod(value.c_str(), &end);
      return !value.empty() && *end == 0;
    }
    return name == "congestion" || name == "rival";
  }
};

// SplitMix64: every direction has its own, so that the two do not disturb each other.
class Chance {
 public:
  explicit Chance(uint64_t seed) : state_(seed) {}
  // In [0, 1).
  double next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
  }

 private:
  uint64_t state_;
};

// Durations in µs, of which quantiles are asked for.
class Durations {
 public:
  void add(Nanos nanos) { values_.push_back(static_cast<float>(nanos / 1000.0)); }
  void clear() { values_.clear(); }
  double quantile(double share) {
    if (values_.empty()) return 0;
    const size_t index = std::min(values_.size() - 1, static_cast<size_t>(share * values_.size()));
    std::nth_element(values_.begin(), values_.begin() + index, values_.end());
    return values_[index];
  }

 private:
  std::vector<float> values_;
};

struct Packet {
  Nanos due;
  uint64_t number;
  uint32_t slot;
  uint32_t length;
  // The heap gives the largest first.
  bool operator<(const Packet& other) const {
    return due != other.due ? due > other.due : number > other.number;
  }
};

// One direction.
class Direction {
 public:
  Direction(const Settings& settings, int from, int to, uint64_t seed)
      : settings_(settings),
        from_(from),
        to_(to),
        chance_(seed),
        bytes_(new uint8_t[kPacketsMax * kPacketBytes]) {
    for (uint32_t slot = kPacketsMax; slot > 0; slot--) free_.push_back(slot - 1);
  }

  int from() const { return from_; }

  // When the next packet is due at the far end.
  Nanos due() const { return packets_.empty() ? kNever : packets_.top().due; }

  // Takes in what was sent. One slot is always kept free to read into.
  void take() {
    for (int count = 0; count < kBatch; count++) {
      const uint32_t slot = free_.back();
      const ssize_t length = read(from_, bytes_.get() + slot * kPacketBytes, kPacketBytes);
      if (length < 0) {
        if (errno == EAGAIN) return;
        fail("read");
      }
      // The system's own IPv6 chatter.
      if (bytes_[slot * kPacketBytes] >> 4 != 4) continue;
      const Nanos due = travel(static_cast<uint32_t>(length));
      if (due == kNever) continue;
      free_.pop_back();
      packets_.push({due, number_++, slot, static_cast<uint32_t>(length)});
    }
  }

  // Hands over what is due.
  void give() {
    while (!packets_.empty()) {
      const Packet packet = packets_.top();
      const Nanos late = now() - packet.due;
      if (late < 0) return;
      packets_.pop();
      if (::write(to_, bytes_.get() + packet.slot * kPacketBytes, packet.length) >= 0) {
        delivered_++;
        deliveredBytes_ += packet.length;
      }
      lateness_.add(late);
      free_.push_back(packet.slot);
    }
  }

  void reset() {
    sent_ = delivered_ = deliveredBytes_ = queueDrops_ = losses_ = heldBack_ = 0;
    waiting_.clear();
    lateness_.clear();
  }

  void print() {
    printf("{\"sent\":%llu,\"delivered\":%llu,\"deliveredBytes\":%llu,", sent_, delivered_,
           deliveredBytes_);
    printf("\"queueDrops\":%llu,\"losses\":%llu,\"heldBack\":%llu,", queueDrops_, losses_,
           heldBack_);
    printf("\"queueMicros\":{\"p50\":%.0f,\"p95\":%.0f,\"max\":%.0f},", waiting_.quantile(0.5),
           waiting_.quantile(0.95), waiting_.quantile(1));
    printf("\"latenessMicros\":{\"p50\":%.0f,\"p99\":%.0f}}", lateness_.quantile(0.5),
           lateness_.quantile(0.99));
  }

 private:
  // Decides a packet's fate: when it is due at the far end, never if it is lost.
  Nanos travel(uint32_t length) {
    sent_++;
    if (free_.size() < 2) return dropped();
    const Nanos at = now();
    Nanos leaves = at;
    if (settings_.rate > 0) {
      const double rate = settings_.rate / 8e9;  // bytes per ns
      const double wait = std::max(0.0, busyUntil_ - static_cast<double>(at));
      if (wait * rate + length > settings_.queue) return dropped();
      waiting_.add(static_cast<Nanos>(wait));
      busyUntil_ = static_cast<double>(at) + wait + length / rate;
      leaves = static_cast<Nanos>(busyUntil_);
    }
    if (isLost()) {
      losses_++;
      return kNever;
    }
    const double jitter = settings_.jitter * (chance_.next() * 2 - 1);
    const Nanos arrives = leaves + static_cast<Nanos>((settings_.delay + jitter) * 1e3);
    lastArrival_ = std::max(lastArrival_, arrives);
    if (chance_.next() >= settings_.reorder) return lastArrival_;
    heldBack_++;
    return lastArrival_ + static_cast<Nanos>(settings_.hold * 1e3);
  }

  Nanos dropped() {
    queueDrops_++;
    return kNever;
  }

  bool isLost() {
    isInBurst_ = chance_.next() < (isInBurst_ ? 1 - settings_.leave : settings_.enter);
    const bool isLostAlone = chance_.next() < settings_.loss;
    return (chance_.next() < settings_.burst && isInBurst_) || isLostAlone;
  }

  const Settings& settings_;
  const int from_;
  const int to_;
  Chance chance_;
  std::unique_ptr<uint8_t[]> bytes_;
  std::vector<uint32_t> free_;
  std::priority_queue<Packet> packets_;
  // With fractions of nanoseconds: rounding must not change the rate.
  double busyUntil_ = 0;
  Nanos lastArrival_ = 0;
  uint64_t number_ = 0;
  bool isInBurst_ = false;
  unsigned long long sent_ = 0, delivered_ = 0, deliveredBytes_ = 0;
  unsigned long long queueDrops_ = 0, losses_ = 0, heldBack_ = 0;
  Durations waiting_;
  Durations lateness_;
};

// ── Namespaces ──────────────────────────────────────────────────────────────────────────────────

void write(const char* path, const char* text) {
  FILE* file = fopen(path, "we");
  if (file == nullptr || fputs(text, file) < 0 || fclose(file) != 0) fail(path);
}

void run(const std::string& command) {
  if (system(command.c_str()) == 0) return;
  fprintf(stderr, "failed: %s\n", command.c_str());
  exit(1);
}

// Enters a new namespace and makes a device in it that this process reads and writes.
int openEnd(int* space) {
  if (unshare(CLONE_NEWNET) < 0) fail("unshare");
  *space = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  if (*space < 0) fail("/proc/self/ns/net");
  const int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (device < 0) fail("/dev/net/tun");
  ifreq interface = {};
  strcpy(interface.ifr_name, "tun");
  interface.ifr_flags = IFF_TUN | IFF_NO_PI;
  if (ioctl(device, TUNSETIFF, &interface) < 0) fail("TUNSETIFF");
  // Files below /proc/sys/net are those of the namespace that one is in.
  write("/proc/sys/net/ipv4/tcp_rmem", "4096 131072 67108864");
  write("/proc/sys/net/ipv4/tcp_wmem", "4096 65536 67108864");
  write("/proc/sys/net/ipv4/tcp_no_metrics_save", "1");
  run("ip link set lo up");
  run("ip link set tun up txqueuelen 20000");
  return device;
}

int openSender(const Settings& settings, int* space) {
  const int device = openEnd(space);
  run("ip address add 192.0.2.1/29 dev tun");
  // Not by the namespace's default: that takes no controller which the machine restricts.
  run("ip route add 192.0.2.2 dev tun congctl " + settings.congestion);
  run("ip route add 192.0.2.3 dev tun congctl " + settings.rival);
  return device;
}

int openReceiver(int* space) {
  const int device = openEnd(space);
  run("ip address add 192.0.2.2/29 dev tun");
  run("ip address add 192.0.2.3/29 dev tun");
  return device;
}

// Being late is what this program must not be: it asks for precedence, and goes on without.
void hurry() {
  prctl(PR_SET_TIMERSLACK, 1);
  sched_param parameters = {};
  parameters.sched_priority = 1;
  sched_setscheduler(0, SCHED_RR, &parameters);
}

// Obeys what came on stdin; false at its end.
bool obey(Direction& there, Direction& back) {
  static std::string pending;
  char text[256];
  const ssize_t length = read(0, text, sizeof text);
  if (length <= 0) return false;
  pending.append(text, length);
  for (size_t end; (end = pending.find('\n')) != std::string::npos; pending.erase(0, end + 1)) {
    const std::string line = pending.substr(0, end);
    if (line == "reset") {
      there.reset();
      back.reset();
    } else if (line == "stats") {
      printf("{\"there\":");
      there.print();
      printf(",\"back\":");
      back.print();
      printf("}\n");
      fflush(stdout);
    }
  }
  return true;
}

}  // namespace

int main(int count, char** words) {
  Settings settings;
  for (int i = 1; i < count; i++) {
    if (settings.set(words[i])) continue;
    fprintf(stderr, "not understood: %s\n", words[i]);
    return 2;
  }
  int spaces[2];
  const int a = openSender(settings, &spaces[0]);
  const int b = openReceiver(&spaces[1]);
  const uint64_t seed = static_cast<uint64_t>(settings.seed);
  Direction there(settings, a, b, seed * 2);
  Direction back(settings, b, a, seed * 2 + 1);
  hurry();
  printf("{\"sender\":\"/proc/%d/fd/%d\",", getpid(), spaces[0]);
  printf("\"receiver\":\"/proc/%d/fd/%d\"}\n", getpid(), spaces[1]);
  fflush(stdout);
  while (true) {
    const Nanos due = std::min(there.due(), back.due());
    const Nanos wait = due == kNever ? 1000000000 : std::clamp<Nanos>(due - now(), 0, 999999999);
    const timespec timeout = {wait / 1000000000, wait % 1000000000};
    pollfd files[] = {{there.from(), POLLIN, 0}, {back.from(), POLLIN, 0}, {0, POLLIN, 0}};
    if (ppoll(files, 3, &timeout, nullptr) < 0 && errno != EINTR) fail("ppoll");
    if (files[0].revents != 0) there.take();
    if (files[1].revents != 0) back.take();
    there.give();
    back.give();
    if (files[2].revents != 0 && !obey(there, back)) return 0;
  }
}
