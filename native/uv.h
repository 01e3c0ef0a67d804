// The part of libuv's stable v1 interface that the addon uses. Node exports the functions; its
// headers are not needed, because handles are opaque here and their size is asked at run time.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

struct uv_loop_s;
struct uv_handle_s;
struct uv_poll_s;
struct uv_idle_s;

typedef struct uv_loop_s uv_loop_t;
typedef struct uv_handle_s uv_handle_t;
typedef struct uv_poll_s uv_poll_t;
typedef struct uv_idle_s uv_idle_t;

typedef void (*uv_close_cb)(uv_handle_t* handle);
typedef void (*uv_poll_cb)(uv_poll_t* handle, int status, int events);
typedef void (*uv_idle_cb)(uv_idle_t* handle);

size_t uv_handle_size(int type);
const char* uv_handle_type_name(int type);
void* uv_handle_get_data(const uv_handle_t* handle);
void uv_handle_set_data(uv_handle_t* handle, void* data);
void uv_close(uv_handle_t* handle, uv_close_cb callback);
void uv_ref(uv_handle_t* handle);
void uv_unref(uv_handle_t* handle);
int uv_poll_init(uv_loop_t* loop, uv_poll_t* handle, int fd);
int uv_poll_start(uv_poll_t* handle, int events, uv_poll_cb callback);
int uv_poll_stop(uv_poll_t* handle);
int uv_idle_init(uv_loop_t* loop, uv_idle_t* handle);
int uv_idle_start(uv_idle_t* handle, uv_idle_cb callback);
int uv_idle_stop(uv_idle_t* handle);

}  // extern "C"

namespace punchline {

// Values of libuv's enumerations; IsKnownUv checks the first two against the running library.
constexpr int kUvIdle = 6;
constexpr int kUvPoll = 8;
constexpr int kUvReadable = 1;
constexpr int kUvWritable = 2;
constexpr int kUvPrioritized = 8;

}  // namespace punchline
