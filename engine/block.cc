#include "engine/block.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

namespace lightcap {
namespace {

constexpr size_t kLine = 64;
constexpr size_t kHugePage = size_t{2} << 20;  // where pages have 4 KiB, on x86-64 and arm64

}  // namespace

void BlockDeleter::operator()(void* memory) const {
  ::operator delete (memory, std::align_val_t{alignment});
}

Block allocate_block(size_t bytes) {
  const bool huge = bytes >= kHugePage;
  const size_t alignment = huge ? kHugePage : kLine;
  Block block(::operator new (std::max<size_t>(bytes, 1), std::align_val_t{alignment}),
              BlockDeleter{alignment});
#if defined(MADV_HUGEPAGE)
  // Only whole ones: the rest of the last would be memory that nobody asked for. Where there are
  // none this fails, which changes nothing.
  if (huge) madvise(block.get(), bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  return block;
}

}  // namespace lightcap
