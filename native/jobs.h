// Work on datagrams that the core lists and the addon does: one call for a whole batch.
#pragma once

#include <cstddef>
#include <cstdint>

#include <memory>

#include "aes.h"
#include "arena.h"

namespace punchline {

// What is to be done; other numbers are the core's own business.
enum class Operation : uint32_t {
  // Writes the CRC32C of header and payload behind the payload.
  kSealCrc32c = 1,
  // Compares it with the four bytes behind the payload.
  kCheckCrc32c = 2,
  // AES-128-GCM with the header as associated data.
  kSealAes = 3,
  kOpenAes = 4,
};

struct Job {
  uint32_t operation;
  // Address of a key slot, 0: none.
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

// A key and its initialisation vector, as the core keeps them. SLOT_… in assembly/layout.ts.
struct KeySlot {
  // Differs for every content that a slot ever had; 0: empty.
  uint32_t generation;
  uint32_t cipher;
  uint8_t key[32];
  uint32_t vector[3];
  uint32_t reserved[3];
};
static_assert(sizeof(KeySlot) == 64, "SLOT_SIZE");
constexpr uint32_t kCipherAes = 2;

// Does the jobs of one core. It remembers expanded keys by the slots they came from, and looks at
// slots now and then: keys that the core has wiped are wiped here, too.
class JobRunner {
 public:
  // Runs `count` jobs that lie at `jobs` and writes a verdict byte for each at `verdicts`. Tables
  // and keys may lie anywhere in the memory of `memory_size` bytes, data in the arenas only. Gives
  // how many were run: jobs that name an unknown operation, or bytes out of bounds, get
  // kVerdictNotDone.
  uint32_t Run(const Arena& arena, size_t memory_size, uint32_t jobs, uint32_t count,
               uint32_t verdicts);
  // For tests: how many keys are held.
  uint32_t held_keys() const { return held_; }

 private:
  struct Held {
    uint32_t slot = 0;
    uint32_t generation = 0;
    bool is_sealing = false;
    AesKey key;
  };
  // Direct-mapped: a slot has one place.
  static constexpr uint32_t kHeldMax = 4096;

  uint8_t RunOne(const Arena& arena, size_t memory_size, const Job& job);
  uint8_t RunAes(const Arena& arena, size_t memory_size, const Job& job, bool is_sealing);
  AesKey* KeyOf(uint32_t address, const KeySlot& slot, bool is_sealing);
  void ForgetWiped(const Arena& arena);

  std::unique_ptr<std::unique_ptr<Held>[]> keys_;
  uint32_t held_ = 0;
  uint32_t looked_at_ = 0;
};

}  // namespace punchline
