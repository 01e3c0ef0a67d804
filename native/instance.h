// What the addon keeps for one environment (the main thread, a worker): hubs and sockets by id.
#pragma once

#include <node_api.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "hub.h"

namespace punchline {

// Things by number. A number that was given back is not given again soon: late calls find nothing.
template <typename Thing>
class Table {
 public:
  // 0: the table is full.
  int Add(Thing thing) {
    uint32_t index;
    if (free_.empty()) {
      if (entries_.size() >= kEntriesMax) return 0;
      index = static_cast<uint32_t>(entries_.size());
      entries_.push_back({});
    } else {
      index = free_.back();
      free_.pop_back();
    }
    entries_[index].thing = thing;
    count_ += 1;
    return IdOf(index);
  }

  Thing Find(int id) const {
    const uint32_t index = static_cast<uint32_t>(id) & (kEntriesMax - 1);
    if (index >= entries_.size() || IdOf(index) != id) return {};
    return entries_[index].thing;
  }

  void Remove(int id) {
    if (!Find(id)) return;
    const uint32_t index = static_cast<uint32_t>(id) & (kEntriesMax - 1);
    Entry& entry = entries_[index];
    entry.thing = {};
    entry.generation = entry.generation == kGenerationMax ? 1 : entry.generation + 1;
    free_.push_back(index);
    count_ -= 1;
  }

  uint32_t count() const { return count_; }

  template <typename Do>
  void ForEach(Do action) {
    for (size_t i = 0; i < entries_.size(); i++) {
      if (entries_[i].thing) action(entries_[i].thing);
    }
  }

 private:
  static constexpr uint32_t kEntriesMax = 1u << 16;
  static constexpr uint32_t kGenerationMax = (1u << 15) - 1;
  struct Entry {
    Thing thing{};
    uint32_t generation = 1;
  };

  int IdOf(uint32_t index) const {
    return static_cast<int>(entries_[index].generation << 16 | index);
  }

  std::vector<Entry> entries_;
  std::vector<uint32_t> free_;
  uint32_t count_ = 0;
};

class Instance {
 public:
  explicit Instance(napi_env env) : env_(env) {}
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  static Instance* Of(napi_env env);
  // Makes the instance of this environment and sees to it that everything closes with it.
  static Instance* Create(napi_env env);

  napi_env env() const { return env_; }
  Table<Hub*>& hubs() { return hubs_; }
  Table<HubSocket*>& sockets() { return sockets_; }
  Scratch* scratch() { return &scratch_; }

  uint32_t hubs_alive() const { return hubs_alive_; }
  // Null: too many.
  Hub* MakeHub();
  // Called by the last deed of a hub.
  void HubGone(Hub* hub);

 private:
  void TearDown(napi_async_cleanup_hook_handle hook);

  const napi_env env_;
  Table<Hub*> hubs_;
  Table<HubSocket*> sockets_;
  // Hubs that were closed and wait for their handles.
  uint32_t hubs_alive_ = 0;
  napi_async_cleanup_hook_handle tear_down_hook_ = nullptr;
  bool is_tearing_down_ = false;
  Scratch scratch_;

};

}  // namespace punchline
