// The stages of a caption, each timed alone.
#ifndef LIGHTCAP_BENCH_MEASURE_STAGES_H_
#define LIGHTCAP_BENCH_MEASURE_STAGES_H_

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <vector>

#include "bench/measure/profile.h"
#include "models/lightcap.h"

namespace lightcap::internal::bench {

// A picture of smooth colours and edges, 640 x 480, as the bytes of a PPM file: there is always
// something to bench.
std::vector<uint8_t> made_up_picture();

// Times `repeat` runs of each stage, of the caption from the bytes of an encoded picture, and of a
// decoding step in its middle: {"steps", "stages_ms", "step_ms", "head_ms", "caption_ms"}, each
// time with its "median" and "min". Captions are greedy, and end where the slots are full.
nlohmann::ordered_json time_stages(Session& session, std::span<const uint8_t> picture, int repeat);

// Runs all stages but reading once; `profile` observes the session.
void profile_stages(Session& session, const ImageView& image, Profile& profile);

}  // namespace lightcap::internal::bench

#endif  // LIGHTCAP_BENCH_MEASURE_STAGES_H_
