// The graph's layers and their sizes, without running it.
#ifndef LIGHTCAP_BENCH_MEASURE_SHAPES_H_
#define LIGHTCAP_BENCH_MEASURE_SHAPES_H_

#include <map>
#include <memory>
#include <string>

#include "models/lightcap.h"

namespace lightcap::internal::bench {

// By block (encoder, detector, fusion, head): a line a distinct layer, in the graph's order,
//   name kernel height width channels kernel_size stride out
// for the largest inputs: a square picture, all proposals, all concept tokens, one beam. A product
// of matrices has its rows as height. Layers of one shape and kernel share the first one's line;
// those without weights are called after the layer before them, ">", and their kernel. Lines that
// begin with # are comments.
std::map<std::string, std::string> graph_shapes(std::shared_ptr<const Model> model,
                                                const KernelTable& kernels);

}  // namespace lightcap::internal::bench

#endif  // LIGHTCAP_BENCH_MEASURE_SHAPES_H_
