// SPDX-License-Identifier: Apache-2.0
// Work on the threads that XLA has, and memory for it; what the custom calls share.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
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

// So few rows of activations are over soon, and the next product or attention follows at once.
constexpr int64_t kFewRows = 8;

// Threads that have just helped and look out for more, since one that sleeps takes a tenth of a
// millisecond to come, as long as a small product of a lone token.
class Lookout {
 public:
  // Hand work to threads that look out, `wanted` at most; give how many will take it.
  int64_t Offer(const std::shared_ptr<Work>& work, int64_t wanted) {
    if (num_idle_.load(std::memory_order_relaxed) == 0) return 0;
    const std::lock_guard<std::mutex> lock(mutex_);
    const int64_t count = std::min<int64_t>(wanted, num_idle_);
    offered_.insert(offered_.end(), count, work);
    num_idle_ -= count;
    num_offered_ += count;
    return count;
  }

  // Look out for a while; null when nothing was offered.
  std::shared_ptr<Work> Await() {
    num_idle_ += 1;
    const auto end = std::chrono::steady_clock::now() + kPatience;
    do {
      for (int turn = 0; turn < 32 && num_offered_.load(std::memory_order_relaxed) == 0; ++turn) {
        Pause();
      }
      if (num_offered_.load(std::memory_order_relaxed) > 0) {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (std::shared_ptr<Work> work = Take()) return work;
      }
    } while (std::chrono::steady_clock::now() < end);
    const std::lock_guard<std::mutex> lock(mutex_);
    if (std::shared_ptr<Work> work = Take()) return work;
    num_idle_ -= 1;
    return nullptr;
  }

 private:
  static constexpr std::chrono::microseconds kPatience{200};

  std::shared_ptr<Work> Take() {
    if (offered_.empty()) return nullptr;
    std::shared_ptr<Work> work = std::move(offered_.back());
    offered_.pop_back();
    num_offered_ -= 1;
    return work;
  }

  std::mutex mutex_;
  std::vector<std::shared_ptr<Work>> offered_;  // each to one of the threads, whichever sees it
  std::atomic<int64_t> num_offered_{0}, num_idle_{0};  // idle: nothing offered waits for them
};

inline Lookout& TheLookout() {
  static Lookout& lookout = *new Lookout;  // threads outlive whatever ends with the process
  return lookout;
}

// Do `count` parts on the pool's threads. Where `more_follows` soon, they look out for it.
inline void RunParallel(xla::ffi::ThreadPool& pool, int64_t count, bool more_follows,
                        std::function<void(int64_t)> part) {
  const int64_t threads = std::max<int64_t>(1, std::min<int64_t>(pool.num_threads(), count));
  auto work = std::make_shared<Work>(count, threads, std::move(part));
  for (int64_t helper = 1 + TheLookout().Offer(work, threads - 1); helper < threads; ++helper) {
    pool.Schedule([work, more_follows]() mutable {
      do {
        work->Run();
        work = more_follows ? TheLookout().Await() : nullptr;
      } while (work != nullptr);
    });
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
