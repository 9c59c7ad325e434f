#include "models/nms.h"

#include <algorithm>

namespace lightcap::internal {
namespace {

float area(const Box& box) { return (box.x2 - box.x1) * (box.y2 - box.y1); }

}  // namespace

float intersection_over_union(const Box& a, const Box& b) {
  const float width = std::min(a.x2, b.x2) - std::max(a.x1, b.x1);
  const float height = std::min(a.y2, b.y2) - std::max(a.y1, b.y1);
  if (!(width > 0 && height > 0)) return 0;
  const float intersection = width * height;
  return intersection / (area(a) + area(b) - intersection);
}

size_t suppress_overlaps(BoxCandidate* candidates, size_t count, float iou_threshold, size_t most,
                         Box* kept) {
  // As a stable descending sort, which std::stable_sort would allocate for.
  std::sort(candidates, candidates + count, [](const BoxCandidate& a, const BoxCandidate& b) {
    return a.box.score != b.box.score ? a.box.score > b.box.score : a.order < b.order;
  });
  size_t kept_count = 0;
  for (size_t i = 0; i < count && kept_count < most; ++i) {
    const Box& box = candidates[i].box;
    const bool suppressed = std::any_of(kept, kept + kept_count, [&](const Box& better) {
      return intersection_over_union(better, box) > iou_threshold;
    });
    if (!suppressed) kept[kept_count++] = box;
  }
  return kept_count;
}

}  // namespace lightcap::internal
