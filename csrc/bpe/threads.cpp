#include "bpe/threads.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace groundup::bpe {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kPatience = std::chrono::milliseconds(50);

bool run_here(std::size_t n_items, const Interrupted& interrupted,
              const std::function<void(std::size_t, std::size_t)>& work) {
  auto asked = Clock::now();
  for (std::size_t item = 0; item < n_items; ++item) {
    work(item, 0);
    if (Clock::now() - asked < kPatience) continue;
    if (interrupted()) return false;
    asked = Clock::now();
  }
  return true;
}

}  // namespace

bool run_threads(std::size_t n_items, std::size_t n_threads, const Interrupted& interrupted,
                 const std::function<void(std::size_t, std::size_t)>& work) {
  n_threads = std::min(n_threads, n_items);
  if (n_threads <= 1) return run_here(n_items, interrupted, work);

  std::atomic<std::size_t> next{0};
  std::atomic<bool> stop{false};
  std::mutex mutex;
  std::condition_variable ended;
  std::size_t n_running = 0;  // these two under the mutex
  std::exception_ptr failure;

  const auto run = [&](std::size_t thread) {
    std::exception_ptr mine;
    try {
      while (!stop.load(std::memory_order_relaxed)) {
        const std::size_t item = next.fetch_add(1, std::memory_order_relaxed);
        if (item >= n_items) break;
        work(item, thread);
      }
    } catch (...) {
      mine = std::current_exception();
      stop = true;
    }
    // Notified under the lock: the waiter may destroy `ended` as soon as it can take the lock.
    const std::lock_guard<std::mutex> lock(mutex);
    if (mine && !failure) failure = mine;
    --n_running;
    ended.notify_one();
  };

  std::vector<std::thread> threads;
  threads.reserve(n_threads);
  for (std::size_t thread = 0; thread < n_threads; ++thread) {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      ++n_running;
    }
    try {
      threads.emplace_back(run, thread);
    } catch (const std::system_error&) {  // the machine gives no more threads: go on with fewer
      const std::lock_guard<std::mutex> lock(mutex);
      --n_running;
      break;
    }
  }
  if (threads.empty()) return run_here(n_items, interrupted, work);

  bool finished = true;
  for (;;) {
    std::unique_lock<std::mutex> lock(mutex);
    if (ended.wait_for(lock, kPatience, [&] { return n_running == 0; })) break;
    lock.unlock();
    if (finished && interrupted()) {
      finished = false;
      stop = true;
    }
  }
  for (std::thread& thread : threads) thread.join();
  if (failure) std::rethrow_exception(failure);
  return finished;
}

bool run_in_order(std::size_t n_items, std::size_t n_threads, const Interrupted& interrupted,
                  const std::function<void(std::size_t, std::size_t)>& work,
                  const std::function<void(std::size_t)>& finish) {
  std::atomic<std::size_t> next{0};
  std::atomic<bool> stop{false};
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<char> worked(n_items);  // these two under the mutex
  std::exception_ptr failure;

  const auto work_on_next = [&](std::size_t thread) {
    const std::size_t item = next.fetch_add(1, std::memory_order_relaxed);
    if (item >= n_items) return false;
    work(item, thread);
    const std::lock_guard<std::mutex> lock(mutex);
    worked[item] = 1;
    changed.notify_one();
    return true;
  };
  const auto failed = [&] {
    const std::lock_guard<std::mutex> lock(mutex);
    if (!failure) failure = std::current_exception();
    stop = true;
    changed.notify_one();
  };

  std::vector<std::thread> threads;
  for (std::size_t thread = 1; thread < std::min(n_threads, n_items); ++thread) {
    try {
      threads.emplace_back([&, thread] {
        try {
          while (!stop.load(std::memory_order_relaxed) && work_on_next(thread)) continue;
        } catch (...) {
          failed();
        }
      });
    } catch (const std::system_error&) {  // the machine gives no more threads: go on with fewer
      break;
    }
  }

  bool finished = true;
  try {
    auto asked = Clock::now();
    for (std::size_t item = 0; item < n_items && !stop;) {
      if (Clock::now() - asked >= kPatience) {
        if (interrupted()) {
          finished = false;
          break;
        }
        asked = Clock::now();
      }
      std::unique_lock<std::mutex> lock(mutex);
      const bool ready = worked[item];
      lock.unlock();
      if (ready) {
        finish(item++);
      } else if (!work_on_next(0)) {
        lock.lock();
        changed.wait_for(lock, kPatience, [&] { return worked[item] || failure; });
      }
    }
  } catch (...) {
    failed();
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  if (failure) std::rethrow_exception(failure);
  return finished;
}

}  // namespace groundup::bpe
