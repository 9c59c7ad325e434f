#include "engine/runtime/block.h"

#include <algorithm>
#include <memory>
#include <new>

#include "engine/platform/platform.h"

namespace lightcap::internal {
namespace {

constexpr size_t kLine = 64;

}  // namespace

void BlockDeleter::operator()(void* memory) const {
  ::operator delete (memory, std::align_val_t{alignment});
}

Block allocate_block(size_t bytes) {
  const bool huge = bytes >= kHugePage;
  const size_t alignment = huge ? kHugePage : kLine;
  Block block(::operator new (std::max<size_t>(bytes, 1), std::align_val_t{alignment}),
              BlockDeleter{alignment});
  // Only whole ones: the rest of the last would be memory that nobody asked for.
  if (huge) platform::ask_for_huge_pages(block.get(), bytes / kHugePage * kHugePage);
  return block;
}

void prefer_huge_pages(void* memory, size_t bytes) {
  if (bytes < 2 * kHugePage) return;  // there may be no whole one in it
  void* begin = memory;
  if (std::align(kHugePage, kHugePage, begin, bytes) != nullptr)
    platform::ask_for_huge_pages(begin, bytes / kHugePage * kHugePage);
}

}  // namespace lightcap::internal
