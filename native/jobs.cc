#include "jobs.h"

#include <cstring>

#include "crc32c.h"

namespace punchline {
namespace {

constexpr uint32_t kCrcSize = 4;

uint32_t CrcOf(const Arena& arena, const Job& job) {
  const uint32_t header = Crc32c(0, arena.At(job.header), job.header_size);
  return Crc32c(header, arena.At(job.payload), job.payload_size);
}

uint8_t Run(const Arena& arena, const Job& job) {
  // Sizes first: their sums must not wrap.
  if (job.header_size > kSlotSize || job.payload_size > kSlotSize ||
      !arena.IsInArenas(job.header, job.header_size) ||
      !arena.IsInArenas(job.payload, job.payload_size + kCrcSize)) {
    return kVerdictNotDone;
  }
  uint8_t* const trailer = arena.At(job.payload + job.payload_size);
  uint32_t stored;
  switch (static_cast<Operation>(job.operation)) {
    case Operation::kSealCrc32c:
      stored = CrcOf(arena, job);
      std::memcpy(trailer, &stored, sizeof stored);
      return kVerdictIntact;
    case Operation::kCheckCrc32c:
      std::memcpy(&stored, trailer, sizeof stored);
      return CrcOf(arena, job) == stored ? kVerdictIntact : kVerdictBroken;
  }
  return kVerdictNotDone;
}

}  // namespace

uint32_t RunJobs(const Arena& arena, size_t memory_size, uint32_t jobs, uint32_t count,
                 uint32_t verdicts) {
  if ((jobs & 3) != 0 || jobs + uint64_t{count} * sizeof(Job) > memory_size ||
      uint64_t{verdicts} + count > memory_size) {
    return 0;
  }
  uint32_t done = 0;
  for (uint32_t i = 0; i < count; i++) {
    // A copy: the verdicts may lie over the jobs.
    Job job;
    std::memcpy(&job, arena.At(jobs + i * static_cast<uint32_t>(sizeof job)), sizeof job);
    const uint8_t verdict = Run(arena, job);
    *arena.At(verdicts + i) = verdict;
    if (verdict != kVerdictNotDone) done += 1;
  }
  return done;
}

}  // namespace punchline
