// Concepts of boxes on a grid of 2 x 2 cells, with weights that say what comes out.
#include "models/concept_extractor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/dispatch.h"
#include "kernels/packed_matrix.h"
#include "tests/lcw_file.h"

namespace lightcap::internal::testing {
namespace {

constexpr size_t kGrid = 2, kConcepts = 2, kBoxes = 3;
constexpr float kCellPixels = 32;

// Sets a matrix, which lies in panels, to the identity of its first two rows and columns.
void make_identity(LcwFile& file, const std::string& name) {
  LcwTensor& tensor = file.tensor(name);
  std::fill_n(tensor.floats(), tensor.size(), 0.0f);
  for (size_t i = 0; i < 2; ++i) tensor.floats()[i * kPanelWidth + i] = 1;
}

// Concept i's similarity is channel i's part of the region's first two channels.
std::vector<uint8_t> model_bytes() {
  LcwFile file = LcwFile::of(smallest_config());
  for (const char* name : {"concept_extractor.proj.0", "concept_extractor.proj.1"}) {
    make_identity(file, std::string(name) + ".weight");
    LcwTensor& bias = file.tensor(std::string(name) + ".bias");
    std::fill_n(bias.floats(), bias.size(), 0.0f);
  }
  make_identity(file, "concept_extractor.vocabulary");
  return file.bytes();
}

class Extractor : public ::testing::Test {
 protected:
  Extractor()
      : weights_(WeightsFile::from_buffer({bytes_.data(), bytes_.size()}, "forged.lcw")),
        extractor_(weights_) {
    allocate();
    run({{0, 0, 1, 1, 0}, {0, 0, 1, 1, 0}, {0, 0, 1, 1, 0}});  // plans for so many boxes
    arena_.allocate();
    allocate();
    for (size_t cell = 0; cell < kGrid * kGrid; ++cell)
      std::fill_n(features_.pixels().row(cell), features_.channels, 0.0f);
  }
  void allocate() {
    const size_t channels = weights_.config().image_encoder.channels();
    features_ = arena_.tensor(kGrid, kGrid, channels);
    roi_ = arena_.matrix(kBoxes, channels);
    similarity_ = arena_.matrix(kBoxes, kConcepts);
  }
  float& cell(size_t y, size_t x, size_t channel) {
    return features_.data[y * features_.row_stride + x * features_.pixel_stride + channel];
  }
  void run(const std::vector<Box>& boxes) {
    extractor_.forward(runtime_, features_, boxes.data(), boxes.size(), roi_, similarity_);
  }
  void expect_similarity(size_t box, float first, float second) {
    EXPECT_NEAR(similarity_.row(box)[0], first, 1e-6) << box;
    EXPECT_NEAR(similarity_.row(box)[1], second, 1e-6) << box;
  }

  const std::vector<uint8_t> bytes_ = model_bytes();
  const Weights weights_;
  const ConceptExtractor extractor_;
  ThreadPool pool_{1};
  Arena arena_;
  const Runtime runtime_ = {.kernels = best_kernels(), .pool = pool_, .arena = arena_};
  Tensor features_;
  Matrix roi_, similarity_;
};

// Channel 0 is the left column, channel 1 the right one. Two of four samples across the left half
// lie left of the first cell's middle, the others 1/8 and 3/8 of a cell right of it.
TEST_F(Extractor, ABoxSeesTheCellsUnderIt) {
  for (size_t y = 0; y < kGrid; ++y) cell(y, 0, 0) = cell(y, 1, 1) = 1;
  const float side = kGrid * kCellPixels, middle = kCellPixels;
  run({{0, 0, middle, side, 1}, {middle, 0, side, side, 1}, {0, 0, side, side, 1}});
  EXPECT_NEAR(roi_.row(0)[0], 0.875, 1e-6);
  EXPECT_NEAR(roi_.row(0)[1], 0.125, 1e-6);
  const float length = std::sqrt(0.875f * 0.875f + 0.125f * 0.125f);
  expect_similarity(0, 0.875f / length, 0.125f / length);
  expect_similarity(1, 0.125f / length, 0.875f / length);
  expect_similarity(2, std::sqrt(0.5f), std::sqrt(0.5f));
}

TEST_F(Extractor, SimilaritiesDoNotDependOnTheFeaturesSize) {
  for (size_t at = 0; at < kGrid * kGrid; ++at) {
    features_.pixels().row(at)[0] = 3e-3f;
    features_.pixels().row(at)[1] = 4e-3f;
  }
  run({{0, 0, 64, 64, 1}});
  expect_similarity(0, 0.6f, 0.8f);
  for (size_t at = 0; at < kGrid * kGrid; ++at) {
    features_.pixels().row(at)[0] = 3e6f;
    features_.pixels().row(at)[1] = 4e6f;
  }
  run({{0, 0, 64, 64, 1}});
  expect_similarity(0, 0.6f, 0.8f);
}

TEST_F(Extractor, ARegionWithoutAnythingIsSimilarToNothing) {
  run({{0, 0, 64, 64, 1}, {32, 32, 64, 64, 1}});
  expect_similarity(0, 0, 0);
  expect_similarity(1, 0, 0);
}

TEST_F(Extractor, NegativeSumsEndAtTheFirstLinearBlock) {
  for (size_t at = 0; at < kGrid * kGrid; ++at) {
    features_.pixels().row(at)[0] = -5;
    features_.pixels().row(at)[1] = 2;
  }
  run({{0, 0, 64, 64, 1}});
  expect_similarity(0, 0, 1);
}

}  // namespace
}  // namespace lightcap::internal::testing
