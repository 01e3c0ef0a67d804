// Hubs and sockets as JavaScript calls them.
#pragma once

#include <napi.h>

namespace punchline {

// Adds the functions to the addon's exports; without them when libuv is not the one we know.
void BindHubs(Napi::Env env, Napi::Object exports);

}  // namespace punchline
