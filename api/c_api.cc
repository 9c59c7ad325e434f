// The C face of models/lightcap.h: checks arguments, turns exceptions into statuses, and owns
// handles.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>

#include "api/log_target.h"
#include "api/versioned_struct.h"
#include "engine/image/image.h"
#include "engine/runtime/error.h"
#include "engine/runtime/float_environment.h"
#include "engine/runtime/host_executor.h"
#include "engine/runtime/process.h"
#include "kernels/dispatch.h"
#include "lightcap.h"
#include "models/lightcap.h"
#include "models/trace.h"

struct lightcap_model {
  std::shared_ptr<const lightcap::internal::Model> model;
};

struct lightcap_session {
  lightcap_session(std::shared_ptr<const lightcap::internal::Model> model,
                   const lightcap::internal::SessionOptions& options)
      : session(std::move(model), options) {}

  lightcap::internal::Session session;
  lightcap::internal::TraceFunction trace;  // may be empty
  std::vector<lightcap_concept> concepts;
  // this_process() of the caption under way, 0 while there is none.
  std::atomic<uint64_t> captioning{0};
};

namespace lightcap::internal {
namespace {

// A fixed buffer: reporting that memory ran out must not need any.
thread_local char last_error[4096] = "";

lightcap_status fail(ErrorCode code, const char* message) {
  std::snprintf(last_error, sizeof last_error, "%s", message);
  return static_cast<lightcap_status>(code);
}

// Runs the body of an API function. No exception leaves, and the caller's rounding mode stays
// outside.
template <class F>
lightcap_status guarded(F&& body) noexcept {
  const DefaultFloatEnvironment environment;
  try {
    body();
    return LIGHTCAP_OK;
  } catch (const Error& error) {
    return fail(error.code(), error.what());
  } catch (const std::bad_alloc&) {
    return fail(ErrorCode::kMemory, "out of memory");
  } catch (const std::length_error&) {  // more than any memory has room for
    return fail(ErrorCode::kMemory, "out of memory");
  } catch (const std::exception& error) {
    return fail(ErrorCode::kInternal, error.what());
  } catch (...) {
    return fail(ErrorCode::kInternal, "an unknown exception");
  }
}

[[noreturn]] void usage(const std::string& what) { throw Error(ErrorCode::kUsage, what); }

template <class T>
T& required(T* pointer, const char* name) {
  if (pointer == nullptr) usage(std::string(name) + " is NULL");
  return *pointer;
}

LogTarget log_target;

void log(int level, const std::string& message) {
  const LogTarget::Target to = log_target.get();
  if (to.function == nullptr) return;
  call_host("the log function", [&] { to.function(to.context, level, message.c_str()); });
}

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

SessionOptions session_options(const lightcap_session_options& given) {
  if (given.threads < 0 || given.threads > 1024) {
    usage("threads is " + std::to_string(given.threads) +
          ", expected 1 to 1024, or 0 for one a core");
  }
  if (given.max_beams < 1 || given.max_beams > static_cast<int>(kMaxBeams)) {
    usage("max_beams is " + std::to_string(given.max_beams) + ", expected 1 to " +
          std::to_string(kMaxBeams));
  }
  SessionOptions options;
  options.kernels = &choose_kernels(given.isa);
  options.threads = given.threads == 0 ? default_threads() : given.threads;
  options.max_beams = static_cast<size_t>(given.max_beams);
  options.low_memory = given.low_memory != 0;
  if (given.executor != nullptr) {
    if (given.executor->parallel_for == nullptr) usage("executor.parallel_for is NULL");
    options.executor = {given.executor->context, given.executor->parallel_for};
  }
  return options;
}

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

double milliseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

constexpr lightcap_model_options kModelDefaults = LIGHTCAP_MODEL_OPTIONS_INIT;
constexpr lightcap_session_options kSessionDefaults = LIGHTCAP_SESSION_OPTIONS_INIT;
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

const char* lightcap_version(void) { return LIGHTCAP_VERSION; }

const char* lightcap_last_error(void) { return last_error; }

const char* lightcap_isa_name(size_t index) {
  return index < isa_count() ? isa_at(index).name : nullptr;
}

int lightcap_isa_supported(const char* name) {
  return name != nullptr && find_kernels(name) != nullptr;
}

void lightcap_set_log(lightcap_log_function function, void* context) {
  log_target.set({function, context});
}

lightcap_status lightcap_model_open(const char* path, const lightcap_model_options* options,
                                    lightcap_model** model) {
  return guarded([&] {
    required(path, "path");
    required(model, "model") = nullptr;
    const lightcap_model_options given = options_or(options, kModelDefaults);
    WeightsFile file =
        WeightsFile::open(path, given.read_into_memory != 0 ? FileAccess::kRead : FileAccess::kMap);
    *model = new lightcap_model{std::make_shared<const Model>(std::move(file))};
  });
}

lightcap_status lightcap_model_open_buffer(const void* data, size_t size,
                                           const lightcap_model_options* options,
                                           lightcap_model** model) {
  return guarded([&] {
    required(model, "model") = nullptr;
    required(static_cast<const char*>(data), "data");
    options_or(options, kModelDefaults);
    WeightsFile file =
        WeightsFile::from_buffer({static_cast<const uint8_t*>(data), size}, "model buffer");
    *model = new lightcap_model{std::make_shared<const Model>(std::move(file))};
  });
}

void lightcap_model_close(lightcap_model* model) { delete model; }

lightcap_status lightcap_session_open(const lightcap_model* model,
                                      const lightcap_session_options* options,
                                      lightcap_session** session) {
  return guarded([&] {
    required(session, "session") = nullptr;
    const SessionOptions given = session_options(options_or(options, kSessionDefaults));
    auto opened = std::make_unique<lightcap_session>(required(model, "model").model, given);
    opened->concepts.reserve(opened->session.model().config().detector.max_proposals);
    const int threads = opened->session.threads();
    if (threads < given.threads) {
      log(1, "only " + std::to_string(threads) + " of " + std::to_string(given.threads) +
                 " threads could be started (" + std::strerror(opened->session.thread_error()) +
                 "): captions take longer; see the limits on processes (ulimit -u, pids.max)");
    }
    log(0, std::string("using the ") + given.kernels->isa + " kernels on " +
               std::to_string(threads) + " threads, " +
               std::to_string(opened->session.peak_bytes() >> 20) + " MiB at most");
    *session = opened.release();
  });
}

void lightcap_session_close(lightcap_session* session) { delete session; }

const char* lightcap_session_isa(const lightcap_session* session) {
  return session == nullptr ? "" : session->session.kernels().isa;
}

int lightcap_session_threads(const lightcap_session* session) {
  return session == nullptr ? 0 : session->session.threads();
}

size_t lightcap_session_peak_bytes(const lightcap_session* session) {
  return session == nullptr ? 0 : session->session.peak_bytes();
}

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

int lightcap_default_threads(void) {
  try {
    return default_threads();
  } catch (...) {  // no memory to read the quota
    return 1;
  }
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
