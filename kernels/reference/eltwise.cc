#include "kernels/reference/epilogue.h"
#include "kernels/reference/reference.h"

namespace lightcap::internal::reference {

void activate(const ActivateArgs& args) {
  for (size_t i = 0; i < args.count; ++i) {
    args.y[i] = static_cast<float>(activated(static_cast<double>(args.x[i]), args.activation));
  }
}

void scale_columns(const ScaleColumnsArgs& args) {
  for (size_t i = 0; i < args.rows; ++i) {
    for (size_t j = 0; j < args.columns; ++j) {
      args.y[i * args.y_stride + j] = args.x[i * args.x_stride + j] * args.scale[j];
    }
  }
}

}  // namespace lightcap::internal::reference
