// The C face of captions: options, results, and what watches them.
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <span>

#include "api/caption_watch.h"
#include "api/frame_layout.h"
#include "api/handles.h"
#include "api/versioned_struct.h"
#include "engine/image/image.h"
#include "engine/runtime/process.h"

namespace lightcap::internal {
namespace {

constexpr lightcap_caption_options kCaptionDefaults = LIGHTCAP_CAPTION_OPTIONS_INIT;
constexpr lightcap_frame kFrameDefaults = LIGHTCAP_FRAME_INIT;

// A session's caption, of which there can be one at a time.
class OneCaption {
 public:
  explicit OneCaption(lightcap_session& session) : captioning_(session.captioning) {
    const uint64_t us = this_process();
    uint64_t other = 0;
    if (captioning_.compare_exchange_strong(other, us)) return;
    usage(other == us ? "the session is captioning already: use it from one thread at a time"
                      : "the session was captioning when this process was forked: close it, and "
                        "open another");
  }
  ~OneCaption() { captioning_.store(0); }
  OneCaption(const OneCaption&) = delete;
  OneCaption& operator=(const OneCaption&) = delete;

 private:
  std::atomic<uint64_t>& captioning_;
};

// Null where the caption need not contain anything.
const Constraints* constraints_of(const lightcap_caption_options& given, const Session& session) {
  if (given.constraints == nullptr) return nullptr;
  const RequiredWords& words = given.constraints->words;
  const Constraints& constraints = words.constraints();
  if (constraints.count() == 0) return nullptr;
  if (&words.model() != &session.model()) {
    usage("the constraints are not of this session's model");
  }
  if (constraints.states() > session.max_states()) {
    usage("the constraints have " + std::to_string(constraints.states()) +
          " states, this session was opened for " + std::to_string(session.max_states()) +
          ": see lightcap_session_options.max_states");
  }
  return &constraints;
}

DecodeOptions decode_options(const lightcap_caption_options& given, const Session& session) {
  if (given.beams < 1 || static_cast<size_t>(given.beams) > session.max_beams()) {
    usage("beams is " + std::to_string(given.beams) + ", this session was opened for 1 to " +
          std::to_string(session.max_beams()));
  }
  if (!(given.length_penalty >= -10 && given.length_penalty <= 10)) {
    usage("length_penalty is " + std::to_string(given.length_penalty) + ", expected -10 to 10");
  }
  return {.beams = static_cast<size_t>(given.beams),
          .length_penalty = given.length_penalty,
          .constraints = constraints_of(given, session)};
}

std::span<const Stage> stages_of(int work) {
  switch (work) {
    case LIGHTCAP_WORK_CAPTION:
      return kCaptionStages;
    case LIGHTCAP_WORK_CONCEPTS:
      return kConceptStages;
    case LIGHTCAP_WORK_FEATURES:
      return kFeatureStages;
    default:
      usage("work is " + std::to_string(work) + ", expected 0 to " +
            std::to_string(LIGHTCAP_WORK_FEATURES));
  }
}

using Clock = Interruption::Clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// One call of a caption function: from its arguments to its result.
class CaptionCall {
 public:
  // Checks all arguments but the picture.
  CaptionCall(lightcap_session& handle, const lightcap_caption_options* options)
      : handle_(handle),
        one_(handle),
        options_(options_or(options, kCaptionDefaults)),
        decode_(decode_options(options_, handle.session)),
        stages_(stages_of(options_.work)),
        tokens_(handle, options_),
        stage_calls_(handle.stage) {
    if (options_.on_token != nullptr) decode_.listener = &tokens_;
    Interruption::Request request;
    if (options_.cancel != nullptr) request.flag = &options_.cancel->raised;
    if (options_.deadline_ms != 0)
      request.moment = start_ + std::chrono::milliseconds(options_.deadline_ms);
    handle_.session.expect_interruption(request);
    handle_.has_features = false;
  }

  const lightcap_caption_options& options() const { return options_; }

  // Makes an Image by read(limits, apply_exif, use). Boxes will be in pixels of the whole picture
  // also where that is a smaller copy.
  template <class Read>
  Image read(Read&& read) {
    ImageLimits limits;
    limits.max_pixels = options_.max_pixels;
    ImageUse use = handle_.session.picture_use();
    if (handle_.trace) use = {.interruption = use.interruption};  // in pixels of what is decoded
    check_interruption(use.interruption);
    stage_calls_.begin("read_image");
    Image image = read(limits, options_.ignore_exif == 0, use);
    read_ms_ = milliseconds_since(start_);
    stage_calls_.end();
    full_size_ = {static_cast<float>(image.full_width), static_cast<float>(image.full_height)};
    if (image.full_width != 0) {
      scale_ = {full_size_[0] / static_cast<float>(image.width),
                full_size_[1] / static_cast<float>(image.height)};
    }
    return image;
  }

  void run(const Frame& frame, lightcap_result& result) {
    StageTimer timer;
    if (handle_.trace) {
      Trace trace(handle_.trace);
      const std::array<StageObserver*, 3> observers = {&stage_calls_, &trace, &timer};
      handle_.session.caption(frame, decode_, observers, stages_);
    } else {
      const std::array<StageObserver*, 2> observers = {&stage_calls_, &timer};
      handle_.session.caption(frame, decode_, observers, stages_);
    }
    handle_.has_features = true;
    give_result(filled(timer), result);
  }

 private:
  lightcap_result filled(const StageTimer& timer) {
    lightcap_result result = LIGHTCAP_RESULT_INIT;
    result.caption = "";
    result.concept_bytes = sizeof(lightcap_concept);
    result.hypothesis_bytes = sizeof(lightcap_hypothesis);
    if (options_.work != LIGHTCAP_WORK_FEATURES) fill_concepts(result);
    if (options_.work == LIGHTCAP_WORK_CAPTION) fill_hypotheses(result);
    const auto ms = [&](Stage stage) { return timer.milliseconds(stage); };
    result.timings_ms = {read_ms_,
                         ms(Stage::kPreprocess),
                         ms(Stage::kDetect),
                         ms(Stage::kEncodeImage),
                         ms(Stage::kFindConcepts),
                         ms(Stage::kEmbedPrefix) + ms(Stage::kRunPrefix),
                         ms(Stage::kDecode),
                         milliseconds_since(start_)};
    return result;
  }

  void fill_concepts(lightcap_result& result) {
    const Session& session = handle_.session;
    handle_.concepts.clear();
    for (const Concept& found : session.concepts()) {
      lightcap_concept out = {};
      out.label = session.model().label(found.label).data();
      out.similarity = found.similarity;
      out.score = found.score;
      for (size_t i = 0; i < found.box.size(); ++i) out.box[i] = in_full_size(found.box[i], i % 2);
      handle_.concepts.push_back(out);
    }
    result.concepts = handle_.concepts.data();
    result.concept_count = handle_.concepts.size();
  }

  float in_full_size(float position, size_t axis) const {
    return scale_[axis] == 1 ? position : std::min(position * scale_[axis], full_size_[axis]);
  }

  void fill_hypotheses(lightcap_result& result) {
    const Captioner& captioner = handle_.session.captioner();
    handle_.hypotheses.clear();
    for (size_t i = 0; i < captioner.hypotheses().size(); ++i) {
      const Hypothesis& found = captioner.hypotheses()[i];
      handle_.hypotheses.push_back({captioner.text(i).c_str(), found.score, found.tokens.data(),
                                    found.log_probabilities.data(), found.tokens.size()});
    }
    const lightcap_hypothesis& best = handle_.hypotheses.front();
    result.caption = best.caption;
    result.score = best.score;
    result.tokens = best.tokens;
    result.token_count = best.token_count;
    result.token_log_probabilities = best.token_log_probabilities;
    result.hypotheses = handle_.hypotheses.data();
    result.hypothesis_count = handle_.hypotheses.size();
  }

  const Clock::time_point start_ = Clock::now();
  lightcap_session& handle_;
  const OneCaption one_;
  const lightcap_caption_options options_;
  DecodeOptions decode_;
  const std::span<const Stage> stages_;
  TokenCalls tokens_;
  StageCalls stage_calls_;
  double read_ms_ = 0;
  // From pixels of the picture as it was decoded to those of the file's, across and down.
  std::array<float, 2> scale_ = {1, 1}, full_size_ = {};
};

// The mean of a grid's cells, scaled to length 1 unless it is zero.
void mean_of_cells(const Tensor& grid, std::span<float> mean) {
  double squares = 0;
  for (size_t c = 0; c < grid.channels; ++c) {
    double sum = 0;
    for (size_t i = 0; i < grid.height * grid.width; ++i)
      sum += static_cast<double>(grid.pixels().row(i)[c]);
    mean[c] = static_cast<float>(sum / static_cast<double>(grid.height * grid.width));
    squares += static_cast<double>(mean[c]) * static_cast<double>(mean[c]);
  }
  if (!(squares > 0)) return;
  const double length = std::sqrt(squares);
  for (float& x : mean) x = static_cast<float>(static_cast<double>(x) / length);
}

// Captions what `read` returns, an Image.
template <class Read>
lightcap_status caption_encoded(lightcap_session* session, const lightcap_caption_options* options,
                                lightcap_result* result, Read&& read) {
  return guarded([&] {
    required(session, "session");
    known_bytes(required(result, "result"));
    CaptionCall call(*session, options);
    const Image image = call.read(read);
    call.run(image.view(), *result);
  });
}

// Element `index` of an array whose elements are `distance` bytes apart: 0 in results of callers
// who don't know of distances, and whose elements are ours.
template <class T>
const T* element_at(const T* first, size_t index, size_t distance) {
  if (distance == 0) return first + index;
  return reinterpret_cast<const T*>(reinterpret_cast<const uint8_t*>(first) + index * distance);
}

}  // namespace
}  // namespace lightcap::internal

using namespace lightcap::internal;

lightcap_status lightcap_caption_frame(lightcap_session* session, const lightcap_frame* frame,
                                       const lightcap_caption_options* options,
                                       lightcap_result* result) {
  return guarded([&] {
    required(session, "session");
    known_bytes(required(result, "result"));
    required(frame, "frame");
    CaptionCall call(*session, options);
    call.run(Frame(frame_layout(options_or(frame, kFrameDefaults))), *result);
  });
}

lightcap_status lightcap_caption_pixels(lightcap_session* session, const uint8_t* rgb, size_t width,
                                        size_t height, size_t row_bytes,
                                        const lightcap_caption_options* options,
                                        lightcap_result* result) {
  return guarded([&] {
    required(session, "session");
    known_bytes(required(result, "result"));
    required(rgb, "rgb");
    CaptionCall call(*session, options);
    lightcap_frame frame = LIGHTCAP_FRAME_INIT;
    frame.width = width;
    frame.height = height;
    frame.plane[0] = rgb;
    frame.row_bytes[0] = row_bytes;
    call.run(Frame(frame_layout(frame)), *result);
  });
}

lightcap_status lightcap_caption_image(lightcap_session* session, const void* data, size_t size,
                                       const lightcap_caption_options* options,
                                       lightcap_result* result) {
  const auto read = [&](const ImageLimits& limits, bool apply_exif, const ImageUse& use) {
    const auto& bytes = required(static_cast<const uint8_t*>(data), "data");
    return decode_image(&bytes, size, limits, apply_exif, "the image", use);
  };
  return caption_encoded(session, options, result, read);
}

lightcap_status lightcap_caption_file(lightcap_session* session, const char* path,
                                      const lightcap_caption_options* options,
                                      lightcap_result* result) {
  const auto read = [&](const ImageLimits& limits, bool apply_exif, const ImageUse& use) {
    return read_image(&required(path, "path"), limits, apply_exif, use);
  };
  return caption_encoded(session, options, result, read);
}

const lightcap_concept* lightcap_concept_at(const lightcap_result* result, size_t index) {
  if (result == nullptr) return nullptr;
  const lightcap_result known = known_part(*result);
  if (index >= known.concept_count) return nullptr;
  return element_at(known.concepts, index, known.concept_bytes);
}

const lightcap_hypothesis* lightcap_hypothesis_at(const lightcap_result* result, size_t index) {
  if (result == nullptr) return nullptr;
  const lightcap_result known = known_part(*result);
  if (index >= known.hypothesis_count) return nullptr;
  return element_at(known.hypotheses, index, known.hypothesis_bytes);
}

lightcap_status lightcap_session_features(lightcap_session* session, lightcap_features* features) {
  return guarded([&] {
    required(session, "session");
    known_bytes(required(features, "features"));
    const OneCaption none_under_way(*session);
    if (!session->has_features) usage("the session has no features: its last caption failed");
    const Tensor& grid = session->session.pipeline().features();
    mean_of_cells(grid, session->embedding);
    lightcap_features given = LIGHTCAP_FEATURES_INIT;
    given.side = grid.height;
    given.channels = grid.channels;
    given.grid = grid.data;
    given.cell_floats = grid.pixel_stride;
    given.row_floats = grid.row_stride;
    given.embedding = session->embedding.data();
    give_result(given, *features);
  });
}
