#include "engine/runtime/arena.h"

#include <algorithm>
#include <new>
#include <string>
#include <utility>

#include "engine/runtime/error.h"

namespace lightcap::internal {
namespace {

constexpr size_t kAlignment = 64;

// Inaccessible addresses: of the first range, and beyond the end of a planned buffer, so that what
// runs past that end faults as well.
constexpr size_t kFirstRange = size_t{16} << 20;
constexpr size_t kRangeSlack = size_t{1} << 20;

constexpr size_t align_up(size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

void Arena::allocate() {
  ranges_.clear();
  // One line more, so that an empty plan is memory too.
  memory_ = allocate_block(peak_ + kAlignment);
  used_ = 0;
}

void Arena::restart() {
  ranges_.clear();
  used_ = peak_ = 0;
}

void* Arena::planned_bytes(size_t count) {
  // Without sums that could overflow: the limit may come from a file's sizes, and `count` does.
  if (count > limit_ || used_ > limit_ - count) {
    peak_ = std::max(peak_, used_ + std::min(count, SIZE_MAX - used_));
    throw ArenaLimitExceeded();
  }
  used_ += align_up(count);
  peak_ = std::max(peak_, used_);
  const size_t wanted = count + kRangeSlack;
  if (ranges_.empty() || ranges_.back().size() < wanted) {
    // Doubled, so that there are few of them. Smaller ones stay: their addresses are in use.
    const size_t doubled = ranges_.empty() ? kFirstRange : 2 * ranges_.back().size();
    platform::AddressRange range(std::max(wanted, doubled));
    if (!range) throw std::bad_alloc();
    ranges_.push_back(std::move(range));
  }
  return ranges_.back().begin();
}

void* Arena::bytes(size_t count) {
  if (planning()) return planned_bytes(count);
  const size_t offset = used_;
  used_ = offset + align_up(count);
  if (used_ > peak_) {
    used_ = offset;
    throw Error(ErrorCode::kInternal,
                "the arena of " + std::to_string(peak_) +
                    " bytes was planned too small: " + std::to_string(offset) + " are in use and " +
                    std::to_string(count) + " more were asked for");
  }
  return static_cast<char*>(memory_.get()) + offset;
}

}  // namespace lightcap::internal
