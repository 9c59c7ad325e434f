// Made-up pictures, for benchmarks of random weights.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_SYNTHETIC_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_SYNTHETIC_H_

#include "weights_converter/quantizer/calibration.h"

namespace lightcap::internal {

// `count` pictures of coloured rectangles over gradients, with some noise: always the same ones.
PictureSet synthetic_pictures(size_t count);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_QUANTIZER_SYNTHETIC_H_
