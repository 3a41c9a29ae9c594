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
#include <vector>

#include "path.h"
#include "xla/ffi/api/ffi.h"

namespace codegemma {

// The path of a name; null where this processor cannot take it.
const Path* FindPath(std::string_view name);

// Parts of one piece of work. Each thread has a run of neighbouring parts, so that it reads memory in
// one long stream, and takes from the others' runs when its own is done. The caller takes part and
// waits for parts begun elsewhere, never for a thread that has not come yet.
class Work {
 public:
  Work(int64_t count, int64_t threads, std::function<void(int64_t)> part)
      : count_(count), part_(std::move(part)), next_(threads) {
    for (int64_t run = 0; run < threads; ++run) next_[run] = First(run);
  }

  void Run() {
    const int64_t own = arrived_.fetch_add(1), threads = next_.size();
    for (int64_t step = 0; step < threads; ++step) {
      const int64_t run = (own + step) % threads, last = First(run + 1);
      for (int64_t index; (index = next_[run].fetch_add(1)) < last;) {
        part_(index);
        done_.fetch_add(1, std::memory_order_release);
      }
    }
  }

  bool IsDone() const { return done_.load(std::memory_order_acquire) >= count_; }

 private:
  int64_t First(int64_t run) const { return count_ * run / static_cast<int64_t>(next_.size()); }

  const int64_t count_;
  const std::function<void(int64_t)> part_;
  std::vector<std::atomic<int64_t>> next_;  // part of each run
  std::atomic<int64_t> arrived_{0}, done_{0};
};

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

inline void RunParallel(xla::ffi::ThreadPool& pool, int64_t count, std::function<void(int64_t)> part) {
  const int64_t threads = std::max<int64_t>(1, std::min<int64_t>(pool.num_threads(), count));
  auto work = std::make_shared<Work>(count, threads, std::move(part));
  for (int64_t helper = 1; helper < threads; ++helper) {
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
