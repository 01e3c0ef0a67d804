#include "address.h"

#include <arpa/inet.h>

#include <cstring>

namespace punchline {
namespace {

constexpr uint8_t kMappedPrefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

}  // namespace

bool IsMappedIPv4(const uint8_t bytes[16]) {
  return std::memcmp(bytes, kMappedPrefix, sizeof kMappedPrefix) == 0;
}

bool IsZero(const uint8_t bytes[16]) {
  uint64_t halves[2];
  std::memcpy(halves, bytes, sizeof halves);
  return (halves[0] | halves[1]) == 0;
}

void MapIPv4(const in_addr& from, uint8_t out[16]) {
  std::memcpy(out, kMappedPrefix, sizeof kMappedPrefix);
  std::memcpy(out + 12, &from, 4);
}

socklen_t ToKernel(const Address& address, int family, SocketAddress* out) {
  const uint16_t port = htons(static_cast<uint16_t>(address.port & kPortMask));
  if (family == AF_INET) {
    if (!IsMappedIPv4(address.bytes)) return 0;
    out->v4 = {};
    out->v4.sin_family = AF_INET;
    out->v4.sin_port = port;
    std::memcpy(&out->v4.sin_addr, address.bytes + 12, 4);
    return sizeof out->v4;
  }
  out->v6 = {};
  out->v6.sin6_family = AF_INET6;
  out->v6.sin6_port = port;
  std::memcpy(&out->v6.sin6_addr, address.bytes, 16);
  out->v6.sin6_scope_id = address.scope;
  return sizeof out->v6;
}

void FromKernel(const SocketAddress& from, Address* out) {
  if (from.any.sa_family == AF_INET6) {
    std::memcpy(out->bytes, &from.v6.sin6_addr, 16);
    out->port = ntohs(from.v6.sin6_port);
    out->scope = from.v6.sin6_scope_id;
    return;
  }
  MapIPv4(from.v4.sin_addr, out->bytes);
  out->port = ntohs(from.v4.sin_port);
  out->scope = 0;
}

}  // namespace punchline
