#include "engine/runtime/conv_plan.h"

#include <algorithm>
#include <vector>

#include "engine/runtime/ops.h"

namespace lightcap::internal {
namespace {

// The tile of outputs that Winograd's filtering should compute at a time over pictures of this
// size; 0 for a direct convolution. Larger tiles save more arithmetic, but their transformed
// weights are 4 times as large as the 3x3 weights, those of the smaller tile 16/9 times. Where
// tiles are few, the time goes into reading weights, so below 16 pixels the smaller tile wins. At
// 7x7 even that one takes more memory (14 MiB in a ResNet-50) than it is worth (3 % of its time).
size_t winograd_tile(size_t height, size_t width) {
  const size_t side = std::min(height, width);
  if (side < 14) return 0;
  return side < 16 ? 2 : 4;
}

// The same for int8 weights, of which there are the smaller tiles only. With fewer than 32 channels
// the transforms take as long as is saved, and 7x7 is too few tiles for the memory here, too.
size_t integer_winograd_tile(size_t height, size_t width, const PackedMatrix& weights) {
  constexpr size_t kFewestChannels = 32;
  const size_t channels = weights.depth / 9;
  const bool pays = std::min(height, width) >= 14 &&
                    std::min(channels, weights.outputs) >= kFewestChannels &&
                    channels <= kMaxIntegerWinogradChannels;
  return pays ? 2 : 0;
}

}  // namespace

void ConvPlan::see(const Conv& conv, size_t height, size_t width) {
  if (conv.kernel != 3 || conv.stride != 1 || conv.padding != 1) return;
  Seen& seen = seen_[conv.weights.data];
  seen.weights = conv.weights;
  seen.height = std::max(seen.height, height);
  seen.width = std::max(seen.width, width);
}

void ConvPlan::choose(WinogradCache& cache, size_t budget) {
  struct Candidate {
    std::shared_ptr<WinogradWeights> weights;
    PackedMatrix matrix;
    size_t extra_bytes;
    double saved_per_byte;  // multiply-adds
  };
  std::vector<Candidate> candidates;
  for (const auto& [key, seen] : seen_) {
    const size_t tile = seen.weights.type == DataType::kI8
                            ? integer_winograd_tile(seen.height, seen.width, seen.weights)
                            : winograd_tile(seen.height, seen.width);
    if (tile == 0) continue;
    auto weights = cache.get(seen.weights, tile);
    const size_t extra = weights->extra_bytes();
    // Winograd leaves components / tile^2 of the 9 multiplications for an output.
    const double left =
        static_cast<double>(winograd_components(tile)) / static_cast<double>(9 * tile * tile);
    const double macs = static_cast<double>(seen.height * seen.width * seen.weights.outputs) *
                        static_cast<double>(seen.weights.depth);
    const double saved = macs * (1 - left) / static_cast<double>(std::max<size_t>(extra, 1));
    candidates.push_back({std::move(weights), seen.weights, extra, saved});
  }
  // Equal layers are ordered by their place in the file, so that every run chooses the same.
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    if (a.saved_per_byte != b.saved_per_byte) return a.saved_per_byte > b.saved_per_byte;
    return a.matrix.data < b.matrix.data;
  });
  bool fits = true;
  for (Candidate& candidate : candidates) {
    const size_t tile = candidate.weights->tile();
    if (fits && candidate.extra_bytes <= budget) {
      budget -= candidate.extra_bytes;
    } else if (WinogradWeights::may_transform_anew(candidate.matrix, tile)) {
      candidate.weights = cache.get(candidate.matrix, tile, false);
    } else {
      fits = false;
      continue;
    }
    winograd_[candidate.matrix.data] = std::move(candidate.weights);
  }
  seen_.clear();
  is_chosen_ = true;
}

void ConvPlan::prepare(ThreadPool& pool) const {
  for (const auto& [key, weights] : winograd_) weights->prepare(pool);
}

void ConvPlan::set(const PackedMatrix& weights, std::shared_ptr<WinogradWeights> winograd) {
  winograd_[weights.data] = std::move(winograd);
  is_chosen_ = true;
}

const WinogradWeights* ConvPlan::winograd(const Conv& conv) const {
  const auto found = winograd_.find(conv.weights.data);
  return found == winograd_.end() ? nullptr : found->second.get();
}

size_t ConvPlan::extra_bytes() const {
  size_t total = 0;
  for (const auto& [key, weights] : winograd_) total += weights->extra_bytes();
  return total;
}

}  // namespace lightcap::internal
