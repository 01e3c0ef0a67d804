// libuv handles whose memory and closing take care of themselves.
#pragma once

#include <cstdlib>
#include <cstring>

#include "uv.h"

namespace punchline {

// Whether the running libuv numbers its handles as declared here.
inline bool IsKnownUv() {
  const char* const poll = uv_handle_type_name(kUvPoll);
  const char* const idle = uv_handle_type_name(kUvIdle);
  return poll != nullptr && idle != nullptr && std::strcmp(poll, "poll") == 0 &&
         std::strcmp(idle, "idle") == 0;
}

// What owns handles: it must live until the last of them has told that it is closed.
class HandleOwner {
 public:
  virtual void HandleClosed() = 0;

 protected:
  ~HandleOwner() = default;
};

// A handle on the heap of libuv's own size. Closing takes a turn of the loop; the memory goes after
// that, whoever has forgotten about it.
template <typename Handle, int kType>
class UvHandle {
 public:
  UvHandle() = default;
  UvHandle(const UvHandle&) = delete;
  UvHandle& operator=(const UvHandle&) = delete;

  Handle* get() const { return handle_; }
  uv_handle_t* base() const { return reinterpret_cast<uv_handle_t*>(handle_); }
  bool is_open() const { return handle_ != nullptr; }

  // `init` gives libuv's error, 0 for success.
  template <typename Init>
  int Open(HandleOwner* owner, void* data, Init init) {
    // The owner is found again when `data` may be gone.
    auto* const block = static_cast<Block*>(std::calloc(1, sizeof(Block) + uv_handle_size(kType)));
    if (block == nullptr) return -12;
    block->owner = owner;
    auto* const handle = reinterpret_cast<Handle*>(block + 1);
    const int error = init(handle);
    if (error != 0) {
      std::free(block);
      return error;
    }
    uv_handle_set_data(reinterpret_cast<uv_handle_t*>(handle), data);
    handle_ = handle;
    return 0;
  }

  // True when a close is under way, of which the owner will hear.
  bool Close() {
    if (handle_ == nullptr) return false;
    uv_handle_set_data(base(), nullptr);
    uv_close(base(), [](uv_handle_t* handle) {
      Block* const block = reinterpret_cast<Block*>(handle) - 1;
      HandleOwner* const owner = block->owner;
      std::free(block);
      owner->HandleClosed();
    });
    handle_ = nullptr;
    return true;
  }

 private:
  struct alignas(16) Block {
    HandleOwner* owner;
  };
  Handle* handle_ = nullptr;
};

using PollHandle = UvHandle<uv_poll_t, kUvPoll>;
using IdleHandle = UvHandle<uv_idle_t, kUvIdle>;

}  // namespace punchline
