/* Captions pixels that the program has in memory, as a camera would give them: caption_pixels
 * MODEL.lcw
 *
 * Pixels are 8-bit RGB. Rows may be further apart than their pixels are wide: here they are padded
 * to 64 bytes. The picture, a red balloon over a meadow, is drawn by the program itself. */
#include <lightcap.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { WIDTH = 320, HEIGHT = 240, ROW_BYTES = (3 * WIDTH + 63) / 64 * 64 };

static void set(uint8_t* pixel, uint8_t red, uint8_t green, uint8_t blue) {
  pixel[0] = red;
  pixel[1] = green;
  pixel[2] = blue;
}

static void draw(uint8_t* rgb) {
  for (int y = 0; y < HEIGHT; ++y) {
    for (int x = 0; x < WIDTH; ++x) {
      uint8_t* pixel = rgb + y * ROW_BYTES + 3 * x;
      const int dx = x - 160, dy = y - 70;
      if ((dx + 10) * (dx + 10) + (dy + 16) * (dy + 16) < 6 * 6) {
        set(pixel, 250, 250, 250); /* a reflection */
      } else if (dx * dx * 25 + dy * dy * 16 < 38 * 38 * 16) {
        set(pixel, 208, 40, 40);
      } else if (abs(dx) < 2 && dy > 0 && dy < 86) {
        set(pixel, 60, 60, 60); /* its string */
      } else if (y < 150) {
        set(pixel, 150, 200, 240);
      } else {
        set(pixel, 110, 180, 80);
      }
    }
  }
}

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: %s MODEL.lcw\n", argv[0]);
    return LIGHTCAP_ERROR_USAGE;
  }
  uint8_t* rgb = malloc((size_t)ROW_BYTES * HEIGHT);
  if (rgb == NULL) return LIGHTCAP_ERROR_MEMORY;
  draw(rgb);

  lightcap_model* model = NULL;
  lightcap_session* session = NULL;
  lightcap_result result = LIGHTCAP_RESULT_INIT;
  lightcap_status status = lightcap_model_open(argv[1], NULL, &model);
  if (status == LIGHTCAP_OK) status = lightcap_session_open(model, NULL, &session);
  /* A session keeps what it needs of the model. */
  lightcap_model_close(model);
  if (status == LIGHTCAP_OK) {
    status = lightcap_caption_pixels(session, rgb, WIDTH, HEIGHT, ROW_BYTES, NULL, &result);
  }
  if (status == LIGHTCAP_OK) {
    printf("%s (%.1f ms)\n", result.caption, result.timings_ms.total);
  } else {
    fprintf(stderr, "%s\n", lightcap_last_error());
  }
  lightcap_session_close(session);
  free(rgb);
  return status;
}
