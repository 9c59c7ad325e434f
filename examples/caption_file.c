/* Captions picture files: caption_file MODEL.lcw PICTURE...
 *
 * A session is opened once and captions any number of pictures; it owns the strings of its results
 * until the next caption. A picture that cannot be read is an error of its own, the others are
 * captioned. */
#include <lightcap.h>
#include <stdio.h>

int main(int argc, char** argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: %s MODEL.lcw PICTURE...\n", argv[0]);
    return LIGHTCAP_ERROR_USAGE;
  }
  lightcap_model* model = NULL;
  lightcap_status status = lightcap_model_open(argv[1], NULL, &model);
  lightcap_session* session = NULL;
  if (status == LIGHTCAP_OK) status = lightcap_session_open(model, NULL, &session);
  if (status != LIGHTCAP_OK) {
    fprintf(stderr, "%s\n", lightcap_last_error());
    lightcap_model_close(model);
    return status;
  }

  lightcap_caption_options options = LIGHTCAP_CAPTION_OPTIONS_INIT;
  options.beams = 3;
  lightcap_status worst = LIGHTCAP_OK;
  for (int i = 2; i < argc; ++i) {
    lightcap_result result = LIGHTCAP_RESULT_INIT;
    status = lightcap_caption_file(session, argv[i], &options, &result);
    if (status == LIGHTCAP_OK) {
      printf("%s: %s\n", argv[i], result.caption);
    } else {
      fprintf(stderr, "%s\n", lightcap_last_error());
      worst = status;
    }
  }

  lightcap_session_close(session);
  lightcap_model_close(model);
  return worst;
}
