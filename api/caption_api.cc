// The C face of captions: options, results, and what watches them.
#include <algorithm>
#include <array>
#include <chrono>

#include "api/handles.h"
#include "api/versioned_struct.h"
#include "engine/image/image.h"
#include "engine/runtime/host_executor.h"
#include "engine/runtime/process.h"

namespace lightcap::internal {
namespace {

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

DecodeOptions decode_options(const lightcap_caption_options& given, const Session& session) {
  if (given.beams < 1 || static_cast<size_t>(given.beams) > session.max_beams()) {
    usage("beams is " + std::to_string(given.beams) + ", this session was opened for 1 to " +
          std::to_string(session.max_beams()));
  }
  if (!(given.length_penalty >= -10 && given.length_penalty <= 10)) {
    usage("length_penalty is " + std::to_string(given.length_penalty) + ", expected -10 to 10");
  }
  return {.beams = static_cast<size_t>(given.beams), .length_penalty = given.length_penalty};
}

// Captions with the handle's session, timed, and traced where the host wants that.
void run_caption(lightcap_session& handle, const ImageView& image, const DecodeOptions& options,
                 StageTimer& timer) {
  if (!handle.trace) {
    handle.session.caption(image, options, std::array<StageObserver*, 1>{&timer});
    return;
  }
  Trace trace(handle.trace);
  handle.session.caption(image, options, std::array<StageObserver*, 2>{&timer, &trace});
}

void fill_result(lightcap_session& handle, lightcap_result& given, const StageTimer& timer,
                 double read_ms, double total_ms) {
  const Session& session = handle.session;
  handle.concepts.clear();
  for (const Concept& found : session.concepts()) {
    lightcap_concept out = {};
    out.label = session.model().label(found.label).data();
    out.similarity = found.similarity;
    out.score = found.score;
    std::copy(found.box.begin(), found.box.end(), out.box);
    handle.concepts.push_back(out);
  }
  const auto ms = [&](Stage stage) { return timer.milliseconds(stage); };
  lightcap_result result = {};
  result.caption = session.text().c_str();
  result.score = session.hypothesis().score;
  result.tokens = session.hypothesis().tokens.data();
  result.token_count = session.hypothesis().tokens.size();
  result.concepts = handle.concepts.data();
  result.concept_count = handle.concepts.size();
  result.concept_bytes = sizeof(lightcap_concept);
  result.timings_ms = {read_ms,
                       ms(Stage::kPreprocess),
                       ms(Stage::kDetect),
                       ms(Stage::kEncodeImage),
                       ms(Stage::kFindConcepts),
                       ms(Stage::kEmbedPrefix) + ms(Stage::kRunPrefix),
                       ms(Stage::kDecode),
                       total_ms};
  give_result(result, given);
}

// Element `index` of an array whose elements are `distance` bytes apart: 0 in results of callers
// who don't know of distances, and whose elements are ours.
template <class T>
const T* element_at(const T* first, size_t index, size_t distance) {
  if (distance == 0) return first + index;
  return reinterpret_cast<const T*>(reinterpret_cast<const uint8_t*>(first) + index * distance);
}

double milliseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

constexpr lightcap_caption_options kCaptionDefaults = LIGHTCAP_CAPTION_OPTIONS_INIT;

// Captions what `read` returns, an Image.
template <class Read>
lightcap_status caption_encoded(lightcap_session* session, const lightcap_caption_options* options,
                                lightcap_result* result, Read&& read) {
  return guarded([&] {
    required(session, "session");
    known_bytes(required(result, "result"));
    const auto start = std::chrono::steady_clock::now();
    const lightcap_caption_options given = options_or(options, kCaptionDefaults);
    const OneCaption caption(*session);
    const DecodeOptions decode = decode_options(given, session->session);
    ImageLimits limits;
    limits.max_pixels = given.max_pixels;
    const Image image = read(limits, given.ignore_exif == 0);
    const double read_ms = milliseconds_since(start);
    StageTimer timer;
    run_caption(*session, image.view(), decode, timer);
    fill_result(*session, *result, timer, read_ms, milliseconds_since(start));
  });
}

}  // namespace
}  // namespace lightcap::internal

using namespace lightcap::internal;

lightcap_status lightcap_caption_pixels(lightcap_session* session, const uint8_t* rgb, size_t width,
                                        size_t height, size_t row_bytes,
                                        const lightcap_caption_options* options,
                                        lightcap_result* result) {
  return guarded([&] {
    required(session, "session");
    known_bytes(required(result, "result"));
    required(rgb, "rgb");
    const auto start = std::chrono::steady_clock::now();
    const lightcap_caption_options given = options_or(options, kCaptionDefaults);
    const OneCaption caption(*session);
    if (width == 0 || height == 0 || width > ImageLimits::kMaxSide ||
        height > ImageLimits::kMaxSide) {
      throw Error(ErrorCode::kInput,
                  "the image is " + std::to_string(width) + " x " + std::to_string(height) +
                      " pixels, expected sides of 1 to " + std::to_string(ImageLimits::kMaxSide));
    }
    if (row_bytes == 0) row_bytes = 3 * width;
    if (row_bytes < 3 * width) {
      usage("row_bytes is " + std::to_string(row_bytes) + ", a row of pixels takes " +
            std::to_string(3 * width));
    }
    StageTimer timer;
    run_caption(*session, {rgb, width, height, row_bytes}, decode_options(given, session->session),
                timer);
    fill_result(*session, *result, timer, 0, milliseconds_since(start));
  });
}

lightcap_status lightcap_caption_image(lightcap_session* session, const void* data, size_t size,
                                       const lightcap_caption_options* options,
                                       lightcap_result* result) {
  return caption_encoded(session, options, result, [&](const ImageLimits& limits, bool apply_exif) {
    required(static_cast<const char*>(data), "data");
    return decode_image(static_cast<const uint8_t*>(data), size, limits, apply_exif);
  });
}

lightcap_status lightcap_caption_file(lightcap_session* session, const char* path,
                                      const lightcap_caption_options* options,
                                      lightcap_result* result) {
  return caption_encoded(session, options, result, [&](const ImageLimits& limits, bool apply_exif) {
    return read_image(&required(path, "path"), limits, apply_exif);
  });
}

const lightcap_concept* lightcap_concept_at(const lightcap_result* result, size_t index) {
  if (result == nullptr) return nullptr;
  const lightcap_result known = known_part(*result);
  if (index >= known.concept_count) return nullptr;
  return element_at(known.concepts, index, known.concept_bytes);
}

void lightcap_session_set_trace(lightcap_session* session, lightcap_trace_function trace,
                                void* context) {
  if (session == nullptr) return;
  if (trace == nullptr) {
    session->trace = {};
    return;
  }
  session->trace = [=](const char* name, const float* data, std::initializer_list<size_t> dims) {
    call_host("the trace function", [&] { trace(context, name, data, dims.begin(), dims.size()); });
  };
}
