#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/reference/epilogue.h"
#include "kernels/reference/reference.h"

namespace lightcap::internal::reference {

void top_k(const TopKArgs& args) {
  std::vector<uint32_t> order(args.count);
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return args.x[a] > args.x[b]; });
  for (size_t i = 0; i < args.k; ++i) {
    args.indices[i] = order[i];
    args.values[i] = args.x[order[i]];
  }
}

}  // namespace lightcap::internal::reference
