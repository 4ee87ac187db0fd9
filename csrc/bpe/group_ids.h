// The ids of a group of pieces, which one thread writes and another reads.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "bpe/id_buffer.h"

namespace groundup::bpe {

// All end to end; ends[i] is where those of the group's piece i end.
struct GroupIds {
  IdBuffer ids;
  std::vector<std::size_t> ends;
};

// Those that were read lend their memory to the next: a thread that is ahead of the reader would
// touch fresh pages for each. From any thread.
class SpareIds {
 public:
  std::unique_ptr<GroupIds> take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (spare_.empty()) return std::make_unique<GroupIds>();
    std::unique_ptr<GroupIds> group = std::move(spare_.back());
    spare_.pop_back();
    return group;
  }
  void give(std::unique_ptr<GroupIds> group) {
    group->ids.clear();
    group->ends.clear();
    const std::lock_guard<std::mutex> lock(mutex_);
    spare_.push_back(std::move(group));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<GroupIds>> spare_;
};

}  // namespace groundup::bpe
