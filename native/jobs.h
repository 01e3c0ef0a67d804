// Work on datagrams that the core lists and the addon does: one call for a whole batch.
#pragma once

#include <cstddef>
#include <cstdint>

#include "arena.h"

namespace punchline {

// What is to be done. The numbers 3 and 4 are kept for AES-128-GCM.
enum class Operation : uint32_t {
  // Writes the CRC32C of header and payload behind the payload.
  kSealCrc32c = 1,
  // Compares it with the four bytes behind the payload.
  kCheckCrc32c = 2,
};

struct Job {
  uint32_t operation;
  // Which key, 0: none.
  uint32_t key;
  // Packet number, for the nonce.
  uint32_t number_low, number_high;
  // Authenticated only.
  uint32_t header, header_size;
  // Authenticated and, with a cipher, enciphered in place; tag or checksum follow it.
  uint32_t payload, payload_size;
  // The core's own.
  uint32_t own[8];
};
static_assert(sizeof(Job) == 64, "JOB_SIZE");

// Nobody has looked: the core has to do the work itself.
constexpr uint8_t kVerdictNotDone = 0;

// Runs `count` jobs that lie at `jobs` and writes a verdict byte for each at `verdicts`. Tables may
// lie anywhere in the memory of `memory_size` bytes, data in the arenas only. Gives how many were
// run: jobs that name an unknown operation, or bytes out of bounds, get kVerdictNotDone.
uint32_t RunJobs(const Arena& arena, size_t memory_size, uint32_t jobs, uint32_t count,
                 uint32_t verdicts);

}  // namespace punchline
