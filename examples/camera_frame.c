/* Captions a camera's frame as it comes, word by word: camera_frame MODEL.lcw
 *
 * The frame is NV21, as phones have it, and its sensor is mounted sideways: orientation 6 says so.
 * No RGB picture is made. Words are printed as they are found; a caption that takes longer than
 * `deadline_ms` is given up, as an interactive program would. The picture, a red balloon over a
 * meadow, is drawn by the program itself. */
#include <lightcap.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 320, HEIGHT = 240 }; /* of the upright picture: the sensor's are exchanged */

/* The picture's color at a pixel. */
static void draw(int x, int y, int rgb[3]) {
  static const int white[3] = {250, 250, 250}, red[3] = {208, 40, 40}, string[3] = {60, 60, 60};
  static const int sky[3] = {150, 200, 240}, grass[3] = {110, 180, 80};
  const int dx = x - 160, dy = y - 70;
  const int* color = y < 150 ? sky : grass;
  if (abs(dx) < 2 && dy > 0 && dy < 86) color = string;
  if (dx * dx * 25 + dy * dy * 16 < 38 * 38 * 16) color = red;
  if ((dx + 10) * (dx + 10) + (dy + 16) * (dy + 16) < 6 * 6) color = white; /* a reflection */
  memcpy(rgb, color, 3 * sizeof *rgb);
}

/* BT.601, Y from 16 to 235. The sensor's pixel (column, row) is the picture's (WIDTH - 1 - row,
 * column). */
static void expose(uint8_t* luma, uint8_t* chroma) {
  for (int row = 0; row < WIDTH; ++row) {
    for (int column = 0; column < HEIGHT; ++column) {
      int rgb[3];
      draw(WIDTH - 1 - row, column, rgb);
      luma[row * HEIGHT + column] =
          (uint8_t)(16 + (66 * rgb[0] + 129 * rgb[1] + 25 * rgb[2] + 128) / 256);
      if (row % 2 == 0 && column % 2 == 0) {
        uint8_t* vu = chroma + row / 2 * HEIGHT + column;
        vu[0] = (uint8_t)(128 + (112 * rgb[0] - 94 * rgb[1] - 18 * rgb[2]) / 256);
        vu[1] = (uint8_t)(128 + (112 * rgb[2] - 74 * rgb[1] - 38 * rgb[0]) / 256);
      }
    }
  }
}

/* Prints what is new in the text. Greedy search only adds to it. */
static int print_token(void* context, uint32_t token, const char* text) {
  size_t* printed = context;
  (void)token;
  fputs(text + *printed, stdout);
  fflush(stdout);
  *printed = strlen(text);
  return LIGHTCAP_GO_ON;
}

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: %s MODEL.lcw\n", argv[0]);
    return LIGHTCAP_ERROR_USAGE;
  }
  static uint8_t luma[WIDTH * HEIGHT], chroma[WIDTH * HEIGHT / 2];
  expose(luma, chroma);
  lightcap_frame frame = LIGHTCAP_FRAME_INIT;
  frame.format = LIGHTCAP_PIXELS_NV21;
  frame.orientation = 6;
  frame.width = HEIGHT;
  frame.height = WIDTH;
  frame.plane[0] = luma;
  frame.plane[1] = chroma;

  size_t printed = 0;
  lightcap_caption_options options = LIGHTCAP_CAPTION_OPTIONS_INIT;
  options.on_token = print_token;
  options.on_token_context = &printed;
  options.deadline_ms = 60000;

  lightcap_model* model = NULL;
  lightcap_session* session = NULL;
  lightcap_result result = LIGHTCAP_RESULT_INIT;
  lightcap_status status = lightcap_model_open(argv[1], NULL, &model);
  if (status == LIGHTCAP_OK) status = lightcap_session_open(model, NULL, &session);
  lightcap_model_close(model);
  if (status == LIGHTCAP_OK) status = lightcap_caption_frame(session, &frame, &options, &result);
  if (status == LIGHTCAP_OK) {
    printf("\n");
  } else {
    fprintf(stderr, "%s\n", lightcap_last_error());
  }
  lightcap_session_close(session);
  return status;
}
