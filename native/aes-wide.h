// AES-128-GCM with four blocks in a register, for processors with AVX-512, VAES and VPCLMULQDQ.
#pragma once

#include "aes.h"

namespace punchline {

// False when this processor can't.
bool FindWideAes(AesWay* way);

}  // namespace punchline
