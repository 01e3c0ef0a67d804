// AES-128-GCM by the OpenSSL inside the running Node: its symbols are found at run time.
#pragma once

#include "aes.h"

namespace punchline {

// Gives null, or the symbol that is missing.
const char* FindOpenSslAes(AesWay* way);

}  // namespace punchline
