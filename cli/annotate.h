// Pictures of what a caption saw.
#ifndef LIGHTCAP_CLI_ANNOTATE_H_
#define LIGHTCAP_CLI_ANNOTATE_H_

#include <string>

#include "engine/image/image.h"
#include "lightcap.h"

namespace lightcap::cli {

// Writes a PNG of `image` with the result's boxes, their labels and similarities, and the caption
// below. Small pictures are enlarged first, so that text is legible on any. Throws Error(kOutput).
void write_annotated(const std::string& path, const Image& image, const lightcap_result& result);

}  // namespace lightcap::cli

#endif  // LIGHTCAP_CLI_ANNOTATE_H_
