// SPDX-License-Identifier: Apache-2.0
// Work on the threads that XLA has, and memory for it; what the custom calls share.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string_view>

#include "path.h"
#include "xla/ffi/api/ffi.h"

namespace codegemma {

// The path of a name; null where this processor cannot take it.
const Path* FindPath(std::string_view name);

// Parts of one piece of work, taken by whichever thread is free. The caller takes part and waits
// for parts begun elsewhere, never for a thread that has not come yet.
class Work {
 public:
  Work(int64_t count, std::function<void(int64_t)> part) : count_(count), part_(std::move(part)) {}

  void Run() {
    for (int64_t index; (index = next_.fetch_add(1)) < count_;) {
      part_(index);
      done_.fetch_add(1, std::memory_order_release);
    }
  }

  bool IsDone() const { return done_.load(std::memory_order_acquire) >= count_; }

 private:
  const int64_t count_;
  const std::function<void(int64_t)> part_;
  std::atomic<int64_t> next_{0}, done_{0};
};

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

inline void RunParallel(xla::ffi::ThreadPool& pool, int64_t count, std::function<void(int64_t)> part) {
  const int64_t helpers = std::min<int64_t>(pool.num_threads(), count) - 1;
  auto work = std::make_shared<Work>(count, std::move(part));
  for (int64_t helper = 0; helper < helpers; ++helper) {
    pool.Schedule([work] { work->Run(); });
  }
  work->Run();
  while (!work->IsDone()) Pause();
}

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<void, Free>;

// At least `bytes` of memory on a border of 64; null when there are none.
inline Memory Allocate(int64_t bytes) {
  return Memory(std::aligned_alloc(64, (bytes + 64) / 64 * 64));
}

template <typename T>
T* Take(char*& memory, int64_t count) {
  T* taken = reinterpret_cast<T*>(memory);
  memory += (count * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
  return taken;
}

}  // namespace codegemma

#define CODEGEMMA_EXPORT extern "C" __attribute__((visibility("default")))
