// Runs work on several std::threads while the calling thread stays answerable to Ctrl-C.
#pragma once

#include <cstddef>
#include <functional>

namespace groundup::bpe {

// Returns true when the work should stop; called now and then from the calling thread only.
using Interrupted = std::function<bool()>;

// Calls work(item, thread) once for every item of [0, n_items), from up to n_threads threads
// (thread in [0, n_threads)), in no fixed order. The first exception of a worker is rethrown here
// after all have stopped. Returns false when `interrupted` cut the work short.
bool run_threads(std::size_t n_items, std::size_t n_threads, const Interrupted& interrupted,
                 const std::function<void(std::size_t item, std::size_t thread)>& work);

// The same, and finish(item) for every item in order, from the calling thread only, while the
// others go on: for what cannot be done on several threads. The calling thread is one of n_threads
// and works when nothing waits to be finished, so it answers Ctrl-C between items.
bool run_in_order(std::size_t n_items, std::size_t n_threads, const Interrupted& interrupted,
                  const std::function<void(std::size_t item, std::size_t thread)>& work,
                  const std::function<void(std::size_t item)>& finish);

}  // namespace groundup::bpe
