// A C++17 host with more warnings than ours: both headers, every _INIT, README's example.
#include <lightcap.h>

#include <algorithm>
#include <cstdio>
#include <lightcap.hpp>
#include <type_traits>

static_assert(std::is_same_v<lightcap_api::Model, lightcap::Model>, "the former namespace stays");

namespace {

// lightcap.hpp beyond captions of files.
bool streams_and_cancels(const lightcap::Model& model, const char* picture) {
  lightcap::Session session(model);
  lightcap_caption_options options = LIGHTCAP_CAPTION_OPTIONS_INIT;
  std::string last;
  auto on_token = [&](uint32_t, const char* text) {
    last = text;
    return LIGHTCAP_GO_ON;
  };
  lightcap::set_on_token(options, on_token);
  int stages = 0, traces = 0;
  auto stage = [&](const char*, int begins) { stages += begins; };
  auto trace = [&](const char*, const float*, const size_t*, size_t) { ++traces; };
  session.set_stage(stage);
  session.set_trace(trace);
  const lightcap_result result = session.caption_file(picture, &options);
  if (last != result.caption || stages != 7 || traces != 9) return false;
  session.drop_stage();
  session.drop_trace();
  size_t found = 0;
  for (const lightcap_concept& one : lightcap::concepts(result)) found += one.label != nullptr;
  const lightcap::Concepts concepts = lightcap::concepts(result);
  found += static_cast<size_t>(std::count_if(
      concepts.begin(), concepts.end(), [](const lightcap_concept& one) { return !one.label; }));
  if (found != result.concept_count || lightcap::hypotheses(result).size() != 1) return false;
  if (lightcap::hypotheses(result)[0].caption != last) return false;
  if (session.features().embedding == nullptr || session.threads() < 1) return false;

  lightcap::Constraints words(model);
  words.add({"tafe", "poko"});
  lightcap_session_options room = LIGHTCAP_SESSION_OPTIONS_INIT;
  room.max_states = words.states();
  lightcap::Session constrained(model, &room);
  options.constraints = words.get();
  if (words.found(0, constrained.caption_file(picture, &options)) == nullptr) return false;
  options.constraints = nullptr;

  const uint8_t grey[6] = {1, 2, 3, 4, 5, 6};
  lightcap_frame frame = LIGHTCAP_FRAME_INIT;
  frame.format = LIGHTCAP_PIXELS_GREY;
  frame.width = 3;
  frame.height = 2;
  frame.plane[0] = grey;
  if (session.caption_frame(frame).caption == nullptr) return false;
  lightcap::Cancel cancel;
  cancel.raise();
  options.cancel = cancel.get();
  try {
    session.caption_frame(frame, &options);
  } catch (const lightcap::Error& error) {
    return error.status() == LIGHTCAP_ERROR_CANCELLED;
  }
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const lightcap_model_options model_options = LIGHTCAP_MODEL_OPTIONS_INIT;
  lightcap_session_options session_options = LIGHTCAP_SESSION_OPTIONS_INIT;
  const lightcap_caption_options caption_options = LIGHTCAP_CAPTION_OPTIONS_INIT;
  session_options.threads = lightcap_default_threads();

  lightcap_model* handle = nullptr;
  lightcap_session* session_handle = nullptr;
  lightcap_result result = LIGHTCAP_RESULT_INIT;
  if (lightcap_model_open(argv[1], &model_options, &handle) != LIGHTCAP_OK ||
      lightcap_session_open(handle, &session_options, &session_handle) != LIGHTCAP_OK ||
      lightcap_caption_file(session_handle, argv[2], &caption_options, &result) != LIGHTCAP_OK) {
    return std::puts(lightcap_last_error()), 1;
  }
  const std::string caption = result.caption;
  lightcap_session_close(session_handle);
  lightcap_model_close(handle);

  const lightcap::Model model(argv[1], &model_options);
  lightcap::Session session(model, &session_options);
  if (caption != session.caption_file(argv[2], &caption_options).caption) return 1;
  if (!streams_and_cancels(model, argv[2])) return 1;
  if (result.struct_size != sizeof result || caption.empty()) return 1;
  try {
    session.caption_file("no such file");
  } catch (const lightcap::Error& error) {
    return error.status() == LIGHTCAP_ERROR_INPUT ? 0 : 1;
  }
  return 1;
}
