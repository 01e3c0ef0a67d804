#include "jobs.h"

#include <cstring>

#include "crc32c.h"

namespace punchline {
namespace {

constexpr uint32_t kCrcSize = 4;
// Places that are looked at for wiped keys, per list.
constexpr uint32_t kLooksPerRun = 64;

uint32_t CrcOf(const Arena& arena, const Job& job) {
  if (job.header + job.header_size == job.payload) {
    return Crc32c(0, arena.At(job.header), job.header_size + job.payload_size);
  }
  const uint32_t header = Crc32c(0, arena.At(job.header), job.header_size);
  return Crc32c(header, arena.At(job.payload), job.payload_size);
}

}  // namespace

uint32_t JobRunner::Run(const Arena& arena, size_t memory_size, uint32_t jobs, uint32_t count,
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
    const uint8_t verdict = RunOne(arena, memory_size, job);
    *arena.At(verdicts + i) = verdict;
    if (verdict != kVerdictNotDone) done += 1;
  }
  if (held_ > 0) ForgetWiped(arena);
  return done;
}

uint8_t JobRunner::RunOne(const Arena& arena, size_t memory_size, const Job& job) {
  const auto operation = static_cast<Operation>(job.operation);
  const bool is_aes = operation == Operation::kSealAes || operation == Operation::kOpenAes;
  const uint32_t trailer_size = is_aes ? static_cast<uint32_t>(kAesTagSize) : kCrcSize;
  // Sizes first: their sums must not wrap.
  if (job.header_size > kSlotSize || job.payload_size > kSlotSize ||
      !arena.IsInArenas(job.header, job.header_size) ||
      !arena.IsInArenas(job.payload, job.payload_size + trailer_size)) {
    return kVerdictNotDone;
  }
  uint8_t* const trailer = arena.At(job.payload + job.payload_size);
  uint32_t stored;
  switch (operation) {
    case Operation::kSealCrc32c:
      stored = CrcOf(arena, job);
      std::memcpy(trailer, &stored, sizeof stored);
      return kVerdictIntact;
    case Operation::kCheckCrc32c:
      std::memcpy(&stored, trailer, sizeof stored);
      return CrcOf(arena, job) == stored ? kVerdictIntact : kVerdictBroken;
    case Operation::kSealAes:
    case Operation::kOpenAes:
      return RunAes(arena, memory_size, job, operation == Operation::kSealAes);
  }
  return kVerdictNotDone;
}

uint8_t JobRunner::RunAes(const Arena& arena, size_t memory_size, const Job& job, bool is_sealing) {
  // The path number stands in the header's second byte.
  if (job.header_size < 2 || (job.key & 3) != 0 ||
      uint64_t{job.key} + sizeof(KeySlot) > memory_size) {
    return kVerdictNotDone;
  }
  KeySlot slot;
  std::memcpy(&slot, arena.At(job.key), sizeof slot);
  AesKey* const key = KeyOf(job.key, slot, is_sealing);
  std::memset(slot.key, 0, sizeof slot.key);
  if (key == nullptr) return kVerdictNotDone;
  const uint32_t nonce[3] = {slot.vector[0] ^ arena.At(job.header)[1],
                             slot.vector[1] ^ job.number_low, slot.vector[2] ^ job.number_high};
  static_assert(sizeof nonce == kAesNonceSize, "96 bits");
  uint8_t* const payload = arena.At(job.payload);
  const AesPacket packet{reinterpret_cast<const uint8_t*>(nonce), arena.At(job.header),
                         job.header_size, payload, job.payload_size};
  if (!is_sealing) return key->Open(packet) ? kVerdictIntact : kVerdictBroken;
  if (key->Seal(packet)) return kVerdictIntact;
  // Better no packet than a readable one.
  std::memset(payload, 0, job.payload_size + kAesTagSize);
  return kVerdictBroken;
}

AesKey* JobRunner::KeyOf(uint32_t address, const KeySlot& slot, bool is_sealing) {
  if (slot.generation == 0 || slot.cipher != kCipherAes) return nullptr;
  const AesWay& way = AesWays()[0];
  if (way.name == nullptr) return nullptr;
  if (keys_ == nullptr) keys_ = std::make_unique<std::unique_ptr<Held>[]>(kHeldMax);
  std::unique_ptr<Held>& place = keys_[address / sizeof(KeySlot) % kHeldMax];
  if (place == nullptr) {
    place = std::make_unique<Held>();
    held_ += 1;
  }
  Held& held = *place;
  const bool is_known = held.key.is_set() && held.slot == address &&
                        held.generation == slot.generation && held.is_sealing == is_sealing;
  if (is_known) return &held.key;
  held.slot = address;
  held.generation = slot.generation;
  held.is_sealing = is_sealing;
  return held.key.Set(way, slot.key, is_sealing) ? &held.key : nullptr;
}

void JobRunner::ForgetWiped(const Arena& arena) {
  for (uint32_t i = 0; i < kLooksPerRun; i++) {
    looked_at_ = (looked_at_ + 1) % kHeldMax;
    std::unique_ptr<Held>& place = keys_[looked_at_];
    if (place == nullptr) continue;
    uint32_t generation;
    std::memcpy(&generation, arena.At(place->slot), sizeof generation);
    if (generation == place->generation) continue;
    place.reset();
    held_ -= 1;
  }
}

}  // namespace punchline
