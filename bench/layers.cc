#include "bench/layers.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "engine/platform/platform.h"
#include "engine/runtime/error.h"
#include "kernels/dispatch.h"
#include "kernels/pack.h"

namespace lightcap::internal::bench {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

size_t winograd_tile(const std::string& kernel) {
  if (kernel.starts_with("winograd2")) return 2;
  return kernel.starts_with("winograd4") ? 4 : 0;
}

LayerShape parse(const std::string& stage, const std::string& line) {
  std::istringstream words(line);
  LayerShape shape;
  shape.stage = stage;
  words >> shape.name >> shape.kernel >> shape.height >> shape.width >> shape.channels >>
      shape.kernel_size >> shape.stride >> shape.out;
  std::string more;
  if (!words || words >> more) {
    throw Error(ErrorCode::kInput,
                stage +
                    ".txt: expected \"name kernel height width channels kernel_size stride "
                    "out\", found \"" +
                    line + "\"");
  }
  return shape;
}

// Keeps the one layer that it sees.
struct Seen final : Observer {
  LayerWork work;
  void begin(const LayerWork& layer) override { work = layer; }
  void end() override {}
  void task_begin() override {}
  void task_end() override {}
};

// Numbers in [-0.5, 0.5) without a pattern that matters.
void fill(float* data, size_t count) {
  uint32_t state = 1;
  for (size_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    data[i] = static_cast<float>(state >> 8) * (1.0f / 16777216.0f) - 0.5f;
  }
}

}  // namespace

size_t cold_bytes() {
  return std::clamp(2 * platform::last_level_cache_bytes(), 64 * kMiB, 512 * kMiB);
}

std::vector<LayerShape> read_layer_shapes(const std::string& folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".txt") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<LayerShape> shapes;
  for (const std::filesystem::path& path : paths) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
      if (!line.starts_with('#')) shapes.push_back(parse(path.stem().string(), line));
    }
  }
  return shapes;
}

bool LayerProblem::handles(const std::string& kernel) {
  return kernel == "gemm" || kernel == "conv" || winograd_tile(kernel) != 0;
}

// Inputs are as large as the output times the stride: padding makes up for the kernel.
size_t LayerProblem::input_side(size_t side) const { return side * shape_.stride; }

LayerProblem::LayerProblem(const LayerShape& shape, const std::string& kernel)
    : shape_(shape), tile_(winograd_tile(kernel)), pooled_(kernel.ends_with("+pool")) {
  const size_t depth = shape_.kernel_size * shape_.kernel_size * shape_.channels;
  panel_floats_ = panel_elements(shape_.out, depth);
  const size_t floats =
      tile_ == 0 ? panel_floats_
                 : winograd_components(tile_) * panel_elements(shape_.out, shape_.channels);
  copies_ = cold_bytes() / (floats * sizeof(float)) + 1;
  allocate();
  Seen seen;
  if (tile_ != 0) add_plan();
  compute(runtime(best_kernels(), 0, &seen), 0);  // plans
  work_ = seen.work;
  plans_.clear();
  arena_.allocate();
  allocate();
  fill(input_.data, input_.height * input_.row_stride);
  fill(bias_, shape_.out);
  fill(panels_, panel_floats_);
  for (size_t i = 0; i < copies_; ++i) {
    if (tile_ == 0) {
      std::copy_n(panels_, panel_floats_, panels_ + i * panel_floats_);
    } else {
      add_plan();
      plans_.back().prepare(pool_);
    }
  }
}

void LayerProblem::allocate() {
  input_ = arena_.tensor(input_side(shape_.height), input_side(shape_.width), shape_.channels);
  output_ = arena_.tensor(shape_.height, shape_.width, shape_.out);
  if (pooled_) pooled_output_ = arena_.tensor(shape_.height / 2, shape_.width / 2, shape_.out);
  bias_ = arena_.floats(panel_elements(shape_.out, 1));
  panels_ = arena_.floats(panel_floats_ * (tile_ == 0 ? copies_ : 1));
}

PackedMatrix LayerProblem::weights(size_t copy) const {
  const size_t depth = shape_.kernel_size * shape_.kernel_size * shape_.channels;
  return {panels_ + copy * panel_floats_, shape_.out, depth, DataType::kF32};
}

void LayerProblem::compute(const Runtime& runtime, size_t copy) const {
  const PackedMatrix packed = weights(tile_ == 0 ? copy : 0);
  if (shape_.kernel_size == 1 && shape_.stride == 1) {
    linear(runtime, {packed, bias_}, input_.pixels(), output_.pixels());
    return;
  }
  const Conv conv = {.weights = packed,
                     .bias = bias_,
                     .in = shape_.channels,
                     .kernel = shape_.kernel_size,
                     .stride = shape_.stride,
                     .padding = (shape_.kernel_size - shape_.stride + 1) / 2};
  if (pooled_) {
    conv2d_pooled(runtime, conv, input_, output_, pooled_output_, Activation::kNone);
  } else {
    conv2d(runtime, conv, input_, output_);
  }
}

void LayerProblem::add_plan() {
  plans_.emplace_back().set(weights(0),
                            std::make_shared<WinogradWeights>(weights(0), tile_, nullptr));
}

Runtime LayerProblem::runtime(const KernelTable& kernels, size_t copy, Observer* observer) {
  return {kernels, pool_, arena_, tile_ == 0 ? nullptr : &plans_[copy], observer};
}

void LayerProblem::run(const KernelTable& kernels) {
  compute(runtime(kernels, next_), next_);
  next_ = (next_ + 1) % copies_;
}

double LayerProblem::winograd_error(const KernelTable& kernels) {
  if (tile_ == 0) return 0;
  const Matrix pixels = (pooled_ ? pooled_output_ : output_).pixels();
  compute({kernels, pool_, arena_}, 0);
  std::vector<float> direct;
  for (size_t i = 0; i < pixels.rows; ++i)
    direct.insert(direct.end(), pixels.row(i), pixels.row(i) + pixels.columns);
  compute(runtime(kernels, 0), 0);
  double largest = 0, squares = 0;
  for (size_t i = 0; i < direct.size(); ++i) {
    const double expected = static_cast<double>(direct[i]);
    const float actual = pixels.row(i / pixels.columns)[i % pixels.columns];
    largest = std::max(largest, std::fabs(static_cast<double>(actual) - expected));
    squares += expected * expected;
  }
  return largest / std::sqrt(squares / static_cast<double>(direct.size()));
}

}  // namespace lightcap::internal::bench
