// Addresses of the core and of the kernel.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include "arena.h"

namespace punchline {

union SocketAddress {
  sockaddr any;
  sockaddr_in v4;
  sockaddr_in6 v6;
};

// Gives the size to tell the kernel; 0 when an IPv4 socket can't reach that address.
socklen_t ToKernel(const Address& address, int family, SocketAddress* out);

// Port and zone included; ECN bits are 0.
void FromKernel(const SocketAddress& from, Address* out);

void MapIPv4(const in_addr& from, uint8_t out[16]);
bool IsMappedIPv4(const uint8_t bytes[16]);
bool IsZero(const uint8_t bytes[16]);

}  // namespace punchline
