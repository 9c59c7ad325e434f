// bench/shapes, which benchmarks read, is what the graph at its full size does.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "cli/shapes.h"
#include "kernels/dispatch.h"
#include "tests/tiny_checkpoint.h"
#include "weights_converter/assemble.h"
#include "weights_converter/weights_writer.h"

namespace lightcap {
namespace {

// LightCap's sizes; all weights are 0, which no shape depends on.
std::shared_ptr<const Model> full_size_model(const std::string& path) {
  ConversionOptions options;
  options.random_seed = 0;
  const Conversion conversion(options);
  write_weights(
      conversion.plan(),
      [](size_t, std::span<float> out) { std::fill(out.begin(), out.end(), 0.0f); }, path);
  return std::make_shared<const Model>(WeightsFile::open(path));
}

TEST(Shapes, FilesAreTheGraphs) {
  const testing::TemporaryFolder folder;
  const auto blocks = graph_shapes(full_size_model(folder / "full.lcw"), best_kernels());
  ASSERT_EQ(blocks.size(), 4u);
  for (const char* block : {"encoder", "detector", "fusion", "head"}) {
    ASSERT_EQ(blocks.count(block), 1u) << block;
    const std::string path = std::string(LIGHTCAP_SHAPES) + "/" + block + ".txt";
    EXPECT_EQ(testing::read_file(path), blocks.at(block))
        << path << " is out of date: lightcap bench --model FULL_SIZE.lcw --shapes bench/shapes";
  }
}

}  // namespace
}  // namespace lightcap
