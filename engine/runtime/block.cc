#include "engine/runtime/block.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

namespace lightcap {
namespace {

constexpr size_t kLine = 64;

}  // namespace

void ask_for_huge_pages([[maybe_unused]] void* memory, [[maybe_unused]] size_t bytes) {
#if defined(MADV_HUGEPAGE)
  madvise(memory, bytes, MADV_HUGEPAGE);
#endif
}

void BlockDeleter::operator()(void* memory) const {
  ::operator delete (memory, std::align_val_t{alignment});
}

Block allocate_block(size_t bytes) {
  const bool huge = bytes >= kHugePage;
  const size_t alignment = huge ? kHugePage : kLine;
  Block block(::operator new (std::max<size_t>(bytes, 1), std::align_val_t{alignment}),
              BlockDeleter{alignment});
  // Only whole ones: the rest of the last would be memory that nobody asked for.
  if (huge) ask_for_huge_pages(block.get(), bytes / kHugePage * kHugePage);
  return block;
}

}  // namespace lightcap
