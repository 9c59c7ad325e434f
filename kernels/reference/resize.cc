#include <algorithm>
#include <cmath>

#include "kernels/reference/reference.h"

namespace lightcap::internal::reference {

void resize_row(const ResizeRowArgs& args) {
  for (size_t x = 0; x < args.size; ++x) {
    for (size_t c = 0; c < 3; ++c) {
      double sum = 0.5;
      for (size_t k = 0; k < args.window && args.begins[x] + k < args.pixels; ++k) {
        const double weight = args.weights[(x * args.window + k) * 4];
        sum += std::ldexp(weight, -kResizeBits) * args.row[3 * (args.begins[x] + k) + c];
      }
      args.out[3 * x + c] = static_cast<uint8_t>(std::clamp(std::floor(sum), 0.0, 255.0));
    }
  }
}

}  // namespace lightcap::internal::reference
