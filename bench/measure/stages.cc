#include "bench/measure/stages.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "bench/measure/median.h"

namespace lightcap::internal {

// A session's stages one by one, and parts of a decoding step.
class StageBench {
 public:
  explicit StageBench(Session& session) : session_(session) {}

  // Calls f(name, run) for each stage in the order of a caption; run() runs it.
  template <class F>
  void for_each(const ImageView& image, F&& f) {
    f("preprocess", [&] { run(Stage::kPreprocess, image); });
    f("detector", [&] { run(Stage::kDetect); });
    f("image_encoder", [&] { run(Stage::kEncodeImage); });
    f("concepts", [&] { run(Stage::kFindConcepts); });
    f("fusion_prefix", [&] {
      run(Stage::kEmbedPrefix);
      run(Stage::kRunPrefix);
    });
    f("decoding", [&] { run(Stage::kDecode); });
  }
  // In the middle of a caption, where the number of keys is the average one; without its head.
  void step() {
    const size_t middle = session_.captioner_.steps() / 2;
    session_.captioner_.step(session_.runtime_, std::max<size_t>(middle, 1));
  }
  void head() { session_.captioner_.find_word(session_.runtime_); }

 private:
  void run(Stage stage, const ImageView& image = {}) {
    session_.run(stage, image, {.all_steps = true}, nullptr);
  }

  Session& session_;
};

}  // namespace lightcap::internal

namespace lightcap::internal::bench {
namespace {

using nlohmann::ordered_json;

// Milliseconds of `repeat` runs, after one to warm up: {"median", "min"}.
template <class F>
ordered_json measure(int repeat, F&& run) {
  run();
  std::vector<double> ms;
  for (int i = 0; i < repeat; ++i) {
    const auto start = Clock::now();
    run();
    ms.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
  }
  return {{"median", median(ms)}, {"min", *std::min_element(ms.begin(), ms.end())}};
}

}  // namespace

std::vector<uint8_t> made_up_picture() {
  constexpr int kWidth = 640, kHeight = 480;
  const std::string header = "P6\n640 480\n255\n";
  std::vector<uint8_t> bytes(header.begin(), header.end());
  for (int y = 0; y < kHeight; ++y) {
    for (int x = 0; x < kWidth; ++x) {
      const bool edge = ((x / 40) + (y / 40)) % 2 == 0;
      bytes.push_back(static_cast<uint8_t>(x * 255 / kWidth));
      bytes.push_back(static_cast<uint8_t>(y * 255 / kHeight));
      bytes.push_back(edge ? 200 : 55);
    }
  }
  return bytes;
}

ordered_json time_stages(Session& session, std::span<const uint8_t> picture, int repeat) {
  const auto decode_picture = [&] {
    return decode_image(picture.data(), picture.size(), {}, true, "the image",
                        session.picture_use());
  };
  const Image image = decode_picture();
  ordered_json stages;
  stages["read_image"] = measure(repeat, decode_picture);
  StageBench alone(session);
  alone.for_each(image.view(),
                 [&](const char* name, auto&& run) { stages[name] = measure(repeat, run); });
  const size_t steps = session.captioner().steps();
  const ordered_json step = measure(repeat, [&] { alone.step(); });
  const ordered_json head = measure(repeat, [&] { alone.head(); });
  const DecodeOptions all_steps = {.all_steps = true};
  const ordered_json caption =
      measure(repeat, [&] { session.caption(decode_picture().view(), all_steps); });
  stages["total"] = caption;
  return {{"steps", steps},
          {"stages_ms", std::move(stages)},
          {"step_ms", step},
          {"head_ms", head},
          {"caption_ms", caption}};
}

void profile_stages(Session& session, const ImageView& image, Profile& profile) {
  StageBench(session).for_each(image,
                               [&](const char* name, auto&& run) { profile.stage(name, run); });
}

}  // namespace lightcap::internal::bench
