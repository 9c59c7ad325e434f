// Non-maximum suppression: which of the boxes that overlap are kept.
#ifndef LIGHTCAP_MODELS_NMS_H_
#define LIGHTCAP_MODELS_NMS_H_

#include <cstddef>
#include <cstdint>

#include "models/coordinates.h"

namespace lightcap::internal {

struct BoxCandidate {
  Box box;
  uint32_t order;  // among equal scores the lower one comes first
};

// The area that both boxes cover over the area that either covers; 0 where they only touch.
float intersection_over_union(const Box& a, const Box& b);

// Greedy non-maximum suppression: takes candidates by falling score, and keeps each that overlaps
// none of those kept before by more than `iou_threshold`, until `most` are kept. Writes them to
// kept [most], best first, and returns how many. Sorts `candidates` [count]; scores must not be
// NaN. Allocates nothing.
size_t suppress_overlaps(BoxCandidate* candidates, size_t count, float iou_threshold, size_t most,
                         Box* kept);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_NMS_H_
