// A C++17 host with more warnings than ours: both headers, every _INIT, README's example.
#include <lightcap.h>

#include <cstdio>
#include <lightcap.hpp>
#include <type_traits>

static_assert(std::is_same_v<lightcap_api::Model, lightcap::Model>, "the former namespace stays");

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
  if (result.struct_size != sizeof result || caption.empty()) return 1;
  try {
    session.caption_file("no such file");
  } catch (const lightcap::Error& error) {
    return error.status() == LIGHTCAP_ERROR_INPUT ? 0 : 1;
  }
  return 1;
}
