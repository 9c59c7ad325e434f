// bench/shapes, which benchmarks read, is what the graph at its full size does.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <new>

#include "bench/measure/shapes.h"
#include "engine/io/limits.h"
#include "kernels/dispatch.h"
#include "tests/tiny_checkpoint.h"
#include "weights_converter/assemble.h"
#include "weights_converter/weights_writer.h"

namespace lightcap::internal {
namespace {

// LightCap's sizes; all weights are 0, which no shape depends on.
std::shared_ptr<const Model> full_size_model(const std::string& path,
                                             const std::string& config = {}) {
  ConversionOptions options;
  options.random_seed = 0;
  options.config = config;
  const Conversion conversion(options);
  write_weights(
      conversion.plan(),
      [](size_t, std::span<float> out) { std::fill(out.begin(), out.end(), 0.0f); }, path);
  return std::make_shared<const Model>(WeightsFile::open(path));
}

TEST(Shapes, FilesAreTheGraphs) {
  const testing::TemporaryFolder folder;
  const auto blocks = bench::graph_shapes(full_size_model(folder / "full.lcw"), best_kernels());
  ASSERT_EQ(blocks.size(), 4u);
  for (const char* block : {"encoder", "detector", "fusion", "head"}) {
    ASSERT_EQ(blocks.count(block), 1u) << block;
    const std::string path = std::string(LIGHTCAP_SHAPES) + "/" + block + ".txt";
    EXPECT_EQ(testing::read_file(path), blocks.at(block))
        << path << " is out of date: lightcap bench --model FULL_SIZE.lcw --shapes bench/shapes";
  }
}

// The limits that bind small files do not bind the paper's model: at its own input sizes it stays
// below a hundredth of them, and the largest inputs that are allowed fit.
TEST(Limits, LeaveRoomForTheLargestInputs) {
  const testing::TemporaryFolder folder;
  const SessionOptions options = {
      .kernels = &best_kernels(), .threads = 1, .max_beams = 5, .low_memory = true};
  {
    const auto model = full_size_model(folder / "full.lcw");
    const Session session(model, options);
    const uint64_t weights = model->weights().values();
    EXPECT_LT(session.peak_bytes() - model->weights().bytes(),
              limits::session_bytes(weights) / 100);
    EXPECT_LT(session.planned_steps(), static_cast<double>(limits::caption_steps(weights)) / 100);
  }
  // Its place on the disk, 182 MB, is for the next.
  ASSERT_TRUE(std::filesystem::remove(folder / "full.lcw"));
  testing::write_text(folder / "config.json", R"({"image_encoder": {"image_size": 4064},
                                                  "detector": {"image_size": 4096}})");
  const auto model = full_size_model(folder / "full.lcw", folder / "config.json");
  try {
    const Session session(model, options);
    EXPECT_LT(session.planned_steps(),
              static_cast<double>(limits::caption_steps(model->weights().values())) * 0.7);
  } catch (const std::bad_alloc&) {  // within the limits, and more than this machine has
  }
}

}  // namespace
}  // namespace lightcap::internal
