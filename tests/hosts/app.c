/* A host of C99: app MODEL.lcw PICTURE prints the caption and its score, to the last bit. */
#include <lightcap.h>
#include <stdio.h>

int main(int argc, char** argv) {
  lightcap_model_options model_options = LIGHTCAP_MODEL_OPTIONS_INIT;
  lightcap_session_options session_options = LIGHTCAP_SESSION_OPTIONS_INIT;
  lightcap_caption_options caption_options = LIGHTCAP_CAPTION_OPTIONS_INIT;
  lightcap_model* model = NULL;
  lightcap_session* session = NULL;
#ifdef LIGHTCAP_RESULT_INIT
  lightcap_result result = LIGHTCAP_RESULT_INIT;
#else
  lightcap_result result;
  result.struct_size = sizeof result;
#endif
  if (argc != 3) return 2;
  session_options.threads = 1;
  if (lightcap_model_open(argv[1], &model_options, &model) != LIGHTCAP_OK ||
      lightcap_session_open(model, &session_options, &session) != LIGHTCAP_OK ||
      lightcap_caption_file(session, argv[2], &caption_options, &result) != LIGHTCAP_OK) {
    fprintf(stderr, "%s\n", lightcap_last_error());
    return 1;
  }
  printf("%s %a\n", result.caption, result.score);
  lightcap_session_close(session);
  lightcap_model_close(model);
  return 0;
}
