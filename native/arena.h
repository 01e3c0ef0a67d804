// The part of the core's memory that datagrams cross in: two tables of descriptors, two arenas.
// assembly/layout.ts is the original; the addresses come from there when a hub is opened.
#pragma once

#include <cstddef>
#include <cstdint>

namespace punchline {

// An address as the core keeps it: IPv6 bytes (IPv4 mapped, RFC 4291 §2.5.5.2), port, zone.
struct Address {
  uint8_t bytes[16];
  // Low 16 bits: port. Bits 16–17: ECN.
  uint32_t port;
  uint32_t scope;
};
static_assert(sizeof(Address) == 24, "ADDRESS_SIZE");

// One run of datagrams of one size to or from one peer.
struct Descriptor {
  uint32_t pointer;
  uint32_t length;
  // Size of each datagram but the last, 0: one datagram.
  uint32_t segment;
  uint32_t socket;
  Address address;
  uint8_t local_address[16];
  // Receiving: pointer to one verdict byte per datagram, 0: none.
  uint32_t verdicts;
  // Sending: OFFLOAD_… bits.
  uint32_t offload;
};
static_assert(sizeof(Descriptor) == 64, "DESC_SIZE");

constexpr uint32_t kPortMask = 0xffff;
constexpr int kEcnShift = 16;

// Bits of Descriptor::offload: the last four bytes of each datagram are to become its CRC32C.
constexpr uint32_t kOffloadCrc32c = 1;

constexpr uint8_t kVerdictIntact = 1;
constexpr uint8_t kVerdictBroken = 2;

struct Layout {
  uint32_t rx_descriptors;
  uint32_t tx_descriptors;
  uint32_t descriptor_count;
  uint32_t rx_arena;
  uint32_t rx_arena_size;
  uint32_t tx_arena;
  uint32_t tx_arena_size;
};

// What one receive call may need: the largest datagram or GRO run (65,535 B), in front of it the
// header, name and control data that io_uring writes, behind it verdicts.
constexpr uint32_t kSlotSize = 69'888;
constexpr uint32_t kSlots = 12;
constexpr uint32_t kPayloadMax = 65'535;
// Verdict bytes that fit behind the largest payload.
constexpr uint32_t kVerdictsMax = 4'096;
// Datagrams up to this size are moved together, so that a slot can be used again at once.
constexpr uint32_t kSmallMax = 2'048;

// The receive arena is a packed area, for small datagrams and for those that JavaScript copies in,
// and slots behind it.
class Arena {
 public:
  // False when the layout does not lie inside the memory.
  bool Init(uint8_t* base, size_t size, const Layout& layout) {
    const auto fits = [size](uint64_t start, uint64_t length) { return start + length <= size; };
    const uint64_t table = uint64_t{layout.descriptor_count} * sizeof(Descriptor);
    if (layout.descriptor_count == 0 || layout.rx_arena_size < (kSlots + 1) * kSlotSize ||
        !fits(layout.rx_descriptors, table) || !fits(layout.tx_descriptors, table) ||
        !fits(layout.rx_arena, layout.rx_arena_size) ||
        !fits(layout.tx_arena, layout.tx_arena_size) ||
        ((layout.rx_descriptors | layout.tx_descriptors) & 3) != 0 || (layout.rx_arena & 63) != 0) {
      return false;
    }
    base_ = base;
    layout_ = layout;
    packed_size_ = (layout.rx_arena_size - kSlots * kSlotSize) & ~63u;
    return true;
  }

  uint8_t* base() const { return base_; }
  uint8_t* At(uint32_t pointer) const { return base_ + pointer; }
  uint32_t descriptor_count() const { return layout_.descriptor_count; }
  uint32_t packed() const { return layout_.rx_arena; }
  uint32_t packed_size() const { return packed_size_; }
  uint32_t Slot(uint32_t index) const { return layout_.rx_arena + packed_size_ + index * kSlotSize; }
  uint32_t tx_arena_size() const { return layout_.tx_arena_size; }

  Descriptor* rx() const { return reinterpret_cast<Descriptor*>(base_ + layout_.rx_descriptors); }
  Descriptor* tx() const { return reinterpret_cast<Descriptor*>(base_ + layout_.tx_descriptors); }

  // The core is compiled code, but its memory is everybody's: a pointer out of bounds stops here.
  bool IsSendable(const Descriptor& descriptor) const {
    const uint32_t offset = descriptor.pointer - layout_.tx_arena;
    return descriptor.pointer >= layout_.tx_arena && offset <= layout_.tx_arena_size &&
           descriptor.length <= layout_.tx_arena_size - offset;
  }

  // Whether `length` bytes from `pointer` on lie inside one of the two arenas.
  bool IsInArenas(uint32_t pointer, uint32_t length) const {
    const auto inside = [&](uint32_t start, uint32_t size) {
      return pointer >= start && pointer - start <= size && length <= size - (pointer - start);
    };
    return inside(layout_.rx_arena, layout_.rx_arena_size) ||
           inside(layout_.tx_arena, layout_.tx_arena_size);
  }

 private:
  uint8_t* base_ = nullptr;
  Layout layout_{};
  uint32_t packed_size_ = 0;
};

}  // namespace punchline
