#include "instance.h"

namespace punchline {

Instance* Instance::Of(napi_env env) {
  void* data = nullptr;
  if (napi_get_instance_data(env, &data) != napi_ok) return nullptr;
  return data == nullptr ? nullptr : static_cast<std::shared_ptr<Instance>*>(data)->get();
}

Instance* Instance::Create(napi_env env) {
  auto owned = std::make_unique<std::shared_ptr<Instance>>(std::make_shared<Instance>(env));
  Instance* const instance = owned->get();
  const auto finalize = [](napi_env, void* data, void*) {
    delete static_cast<std::shared_ptr<Instance>*>(data);
  };
  if (napi_set_instance_data(env, owned.get(), finalize, nullptr) != napi_ok) return nullptr;
  owned.release();
  const auto tear_down = [](napi_async_cleanup_hook_handle hook, void* data) {
    static_cast<Instance*>(data)->TearDown(hook);
  };
  if (napi_add_async_cleanup_hook(env, tear_down, instance, &instance->tear_down_hook_) !=
      napi_ok) {
    return nullptr;
  }
  return instance;
}

// The environment ends: libuv's handles must be closed before its loop is.
void Instance::TearDown(napi_async_cleanup_hook_handle hook) {
  std::vector<Hub*> open;
  hubs_.ForEach([&](Hub* hub) { open.push_back(hub); });
  for (Hub* const hub : open) hub->Close();
  // Those with open handles tell later, when the loop has closed them.
  tear_down_hook_ = hook;
  is_tearing_down_ = true;
  if (hubs_alive_ == 0) napi_remove_async_cleanup_hook(hook);
}

Hub* Instance::MakeHub() {
  if (is_tearing_down_) return nullptr;
  auto hub = std::make_unique<Hub>(this, env_);
  const int id = hubs_.Add(hub.get());
  if (id == 0) return nullptr;
  hub->set_id(id);
  hubs_alive_ += 1;
  return hub.release();
}

void Instance::HubGone(Hub* hub) {
  delete hub;
  hubs_alive_ -= 1;
  if (is_tearing_down_ && hubs_alive_ == 0) napi_remove_async_cleanup_hook(tear_down_hook_);
}

}  // namespace punchline
