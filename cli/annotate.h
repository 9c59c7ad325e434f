// Pictures of what a caption saw.
#ifndef LIGHTCAP_CLI_ANNOTATE_H_
#define LIGHTCAP_CLI_ANNOTATE_H_

#include <cstddef>
#include <cstdint>

#include "cli/canvas.h"
#include "engine/image/image.h"
#include "lightcap.h"

namespace lightcap::internal::cli {

// How much is drawn, however much a model says or a picture holds. Texts that are longer end in
// "..."; the sums of these bound the canvas.
struct AnnotationLimits {
  static constexpr int64_t kLongestSide = 4096;  // larger pictures are drawn smaller
  static constexpr size_t kCaptionLines = 12;
  static constexpr size_t kBoxes = 256;  // the best ones; a model finds 20 by default
};

// `image` with the result's boxes, their labels and similarities, and the caption below. Small
// pictures are enlarged first, so that text is legible on any. Any result is fine: boxes that are
// no numbers or lie outside, and texts of any bytes and length.
Canvas annotated(const ImageView& image, const lightcap_result& result);

}  // namespace lightcap::internal::cli

#endif  // LIGHTCAP_CLI_ANNOTATE_H_
