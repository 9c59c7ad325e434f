#include "kernels/reference/epilogue.h"
#include "kernels/reference/reference.h"

namespace lightcap::internal::reference {

void gemm(const GemmArgs& args) {
  for (size_t i = 0; i < args.rows; ++i) {
    for (size_t j = 0; j < args.weights.outputs; ++j) {
      double sum = 0;
      for (size_t k = 0; k < args.weights.depth; ++k) {
        sum += static_cast<double>(args.a[i * args.a_stride + k]) * weight_at(args.weights, j, k);
      }
      args.c[i * args.c_stride + j] = finished(sum, args.epilogue, i, j);
    }
  }
}

}  // namespace lightcap::internal::reference
