// A host of C++17 that uses both headers: app MODEL.lcw PICTURE prints what app.c does.
#include <cstdio>
#include <lightcap.hpp>

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  lightcap_model_options model_options = LIGHTCAP_MODEL_OPTIONS_INIT;
  lightcap_session_options session_options = LIGHTCAP_SESSION_OPTIONS_INIT;
  lightcap_caption_options caption_options = LIGHTCAP_CAPTION_OPTIONS_INIT;
#ifdef LIGHTCAP_RESULT_INIT
  lightcap_result result = LIGHTCAP_RESULT_INIT;
#else
  lightcap_result result = {};
#endif
  session_options.threads = 1;
  try {
    const lightcap::Model model(argv[1], &model_options);
    lightcap::Session session(model, &session_options);
    result = session.caption_file(argv[2], &caption_options);
    std::printf("%s %a\n", result.caption, result.score);
  } catch (const lightcap::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
