/* Compiled as C99: the public header needs no C++. Run as: c_api_test MODEL.lcw IMAGE.ppm
 * Exercises the API as an embedding application would, good and bad arguments alike. */
#include <lightcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures = 0;

#define EXPECT(condition)                                                             \
  do {                                                                                \
    if (!(condition)) {                                                               \
      ++failures;                                                                     \
      fprintf(stderr, "line %d: expected %s; last error: %s\n", __LINE__, #condition, \
              lightcap_last_error());                                                 \
    }                                                                                 \
  } while (0)

static int log_lines = 0;
static void count_log(void* context, int level, const char* message) {
  (void)context;
  (void)level;
  if (strlen(message) > 0) ++log_lines;
}

static int traced_stages = 0;
static void count_trace(void* context, const char* name, const float* data, const size_t* dims,
                        size_t ndim) {
  (void)context;
  if (name != NULL && data != NULL && dims[0] > 0 && ndim >= 1 && ndim <= 3) ++traced_stages;
}

/* An executor that runs everything on the calling thread. */
static void run_here(void* context, size_t count, void (*task)(void*, size_t), void* argument) {
  size_t i;
  for (i = 0; i < count; ++i) task(argument, i);
  ++*(int*)context;
}

static void* read_whole(const char* path, size_t* size) {
  FILE* file = fopen(path, "rb");
  char* bytes;
  long length;
  if (file == NULL) return NULL;
  fseek(file, 0, SEEK_END);
  length = ftell(file);
  fseek(file, 0, SEEK_SET);
  bytes = malloc((size_t)length + 1);
  *size = fread(bytes, 1, (size_t)length, file);
  fclose(file);
  return bytes;
}

/* Every _INIT is of a constant expression. */
static const lightcap_model_options model_defaults = LIGHTCAP_MODEL_OPTIONS_INIT;

static void check_captions(lightcap_session* session, const char* picture) {
  lightcap_caption_options options = LIGHTCAP_CAPTION_OPTIONS_INIT;
  lightcap_result result = LIGHTCAP_RESULT_INIT;
  char caption[512];
  uint8_t* pixels;
  size_t i;

  EXPECT(lightcap_caption_file(session, picture, NULL, &result) == LIGHTCAP_OK);
  EXPECT(result.caption != NULL && result.token_count > 0 && result.concept_count > 0);
  EXPECT(result.timings_ms.total > 0 && result.timings_ms.image_encoder > 0);
  for (i = 0; i < result.concept_count; ++i) {
    EXPECT(strlen(result.concepts[i].label) > 0);
    EXPECT(result.concepts[i].box[2] >= result.concepts[i].box[0]);
  }
  snprintf(caption, sizeof caption, "%s", result.caption);
  EXPECT(lightcap_caption_file(session, picture, &options, &result) == LIGHTCAP_OK);
  EXPECT(strcmp(caption, result.caption) == 0); /* the same again */

  options.beams = 3;
  EXPECT(lightcap_caption_file(session, picture, &options, &result) == LIGHTCAP_OK);
  options.beams = 4; /* the session was opened for 3 */
  EXPECT(lightcap_caption_file(session, picture, &options, &result) == LIGHTCAP_ERROR_USAGE);
  EXPECT(strstr(lightcap_last_error(), "beams") != NULL);

  EXPECT(lightcap_caption_file(session, "no such file", NULL, &result) == LIGHTCAP_ERROR_INPUT);
  EXPECT(strstr(lightcap_last_error(), "no such file") != NULL);
  EXPECT(lightcap_caption_image(session, "not a picture", 13, NULL, &result) ==
         LIGHTCAP_ERROR_INPUT);
  EXPECT(lightcap_caption_file(session, picture, NULL, NULL) == LIGHTCAP_ERROR_USAGE);
  EXPECT(lightcap_caption_file(NULL, picture, NULL, &result) == LIGHTCAP_ERROR_USAGE);

  pixels = calloc(64 * 48, 3);
  EXPECT(lightcap_caption_pixels(session, pixels, 64, 48, 0, NULL, &result) == LIGHTCAP_OK);
  EXPECT(lightcap_caption_pixels(session, pixels, 1, 1, 0, NULL, &result) == LIGHTCAP_OK);
  EXPECT(lightcap_caption_pixels(session, pixels, 64, 48, 100, NULL, &result) ==
         LIGHTCAP_ERROR_USAGE);
  EXPECT(lightcap_caption_pixels(session, pixels, 0, 48, 0, NULL, &result) == LIGHTCAP_ERROR_INPUT);
  EXPECT(lightcap_caption_pixels(session, pixels, 1000000, 1, 0, NULL, &result) ==
         LIGHTCAP_ERROR_INPUT);
  free(pixels);

  lightcap_session_set_trace(session, count_trace, NULL);
  EXPECT(lightcap_caption_file(session, picture, NULL, &result) == LIGHTCAP_OK);
  EXPECT(traced_stages == 9);
  lightcap_session_set_trace(session, NULL, NULL);
}

static void check_buffers(const char* path, const char* picture) {
  lightcap_model* model = NULL;
  lightcap_session* session = NULL;
  lightcap_session_options options = LIGHTCAP_SESSION_OPTIONS_INIT;
  lightcap_executor executor;
  lightcap_result result = LIGHTCAP_RESULT_INIT;
  int loops = 0;
  size_t size = 0;
  char* bytes = read_whole(path, &size);
  EXPECT(bytes != NULL);
  EXPECT(lightcap_model_open_buffer(bytes, size, NULL, &model) == LIGHTCAP_OK);
  executor.context = &loops;
  executor.parallel_for = run_here;
  options.threads = 2;
  options.executor = &executor;
  EXPECT(lightcap_session_open(model, &options, &session) == LIGHTCAP_OK);
  lightcap_model_close(model); /* the session goes on */
  EXPECT(lightcap_caption_file(session, picture, NULL, &result) == LIGHTCAP_OK);
  EXPECT(loops > 0);
  lightcap_session_close(session);
  EXPECT(lightcap_model_open_buffer(bytes, size / 2, NULL, &model) == LIGHTCAP_ERROR_MODEL);
  EXPECT(model == NULL);
  free(bytes);
}

int main(int argc, char** argv) {
  lightcap_model* model = NULL;
  lightcap_session* session = NULL;
  lightcap_session_options options = LIGHTCAP_SESSION_OPTIONS_INIT;
  if (argc != 3) {
    fprintf(stderr, "usage: c_api_test MODEL.lcw IMAGE\n");
    return 2;
  }
  EXPECT(strlen(lightcap_version()) >= 5);
  EXPECT(lightcap_isa_name(0) != NULL && lightcap_isa_name(1000) == NULL);
  EXPECT(lightcap_isa_supported(lightcap_isa_name(0)) == 1);
  EXPECT(lightcap_isa_supported("abacus") == 0 && lightcap_isa_supported(NULL) == 0);

  EXPECT(lightcap_model_open("no such model", NULL, &model) == LIGHTCAP_ERROR_MODEL);
  EXPECT(lightcap_model_open(NULL, NULL, &model) == LIGHTCAP_ERROR_USAGE);
  EXPECT(lightcap_model_open(argv[2], NULL, &model) == LIGHTCAP_ERROR_MODEL); /* a picture */
  EXPECT(model == NULL);
  EXPECT(lightcap_model_open(argv[1], &model_defaults, &model) == LIGHTCAP_OK);

  lightcap_set_log(count_log, NULL);
  options.isa = "abacus";
  EXPECT(lightcap_session_open(model, &options, &session) == LIGHTCAP_ERROR_ISA);
  EXPECT(strstr(lightcap_last_error(), lightcap_isa_name(0)) != NULL); /* lists what there is */
  options.isa = lightcap_isa_name(0);
  options.max_beams = 33;
  EXPECT(lightcap_session_open(model, &options, &session) == LIGHTCAP_ERROR_USAGE);
  options.max_beams = 3;
  options.threads = -1;
  EXPECT(lightcap_session_open(model, &options, &session) == LIGHTCAP_ERROR_USAGE);
  options.threads = 2;
  EXPECT(lightcap_session_open(model, &options, &session) == LIGHTCAP_OK);
  EXPECT(log_lines == 1);
  EXPECT(strcmp(lightcap_session_isa(session), lightcap_isa_name(0)) == 0);
  EXPECT(lightcap_session_threads(session) == 2);
  EXPECT(lightcap_session_peak_bytes(session) > 0);
  if (session != NULL) check_captions(session, argv[2]);
  lightcap_session_close(session);
  lightcap_model_close(model);
  lightcap_session_close(NULL);
  lightcap_model_close(NULL);

  check_buffers(argv[1], argv[2]);
  if (failures == 0) puts("c_api_test: all expectations hold");
  return failures == 0 ? 0 : 1;
}
