#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/reference/reference.h"
#include "tests/kernels/integer_case.h"

namespace lightcap::internal::testing {
namespace {

// A picture [height][width][channels] with gaps between pixels and rows, ending at an unmapped
// page.
struct Picture {
  size_t height, width, channels, pixel_stride, row_stride;

  Picture(size_t h, size_t w, size_t c, size_t pixel_gap, size_t row_gap)
      : height(h),
        width(w),
        channels(c),
        pixel_stride(c + pixel_gap),
        row_stride(w * (c + pixel_gap) + row_gap) {}
  size_t elements() const {
    return (height - 1) * row_stride + (width - 1) * pixel_stride + channels;
  }
};

template <class T>
using Guarded = std::conditional_t<std::is_same_v<T, float>, GuardedFloats, GuardedBytes>;

// Pixels only: the gaps stay NaN.
void fill(Random& random, const Picture& picture, GuardedFloats& input) {
  for (size_t y = 0; y < picture.height; ++y) {
    random.fill(input.data() + y * picture.row_stride, picture.width, picture.channels,
                picture.pixel_stride);
  }
}
void fill(Random& random, const Picture&, GuardedBytes& input) {
  fill_bytes(random, input.data(), input.size());
}

// Fills an output with what a kernel must not leave there.
void unwritten(Random&, std::vector<float>& before) {
  std::fill(before.begin(), before.end(), std::numeric_limits<float>::quiet_NaN());
}
void unwritten(Random& random, std::vector<uint8_t>& before) {
  for (uint8_t& byte : before) byte = static_cast<uint8_t>(random.bits());
}

bool is_within(float actual, float expected, double allowed) {
  if (std::isnan(expected)) return std::isnan(actual);
  return actual == expected || std::fabs(double{actual} - double{expected}) <= allowed;
}
bool is_within(uint8_t actual, uint8_t expected, double) { return actual == expected; }

// Input and outputs of a kernel that maps pictures of T. The kernel and its reference start from
// the same elements, so what the reference leaves alone must stay so; floats must be within `units`
// roundings of the reference's.
template <class T>
class PictureCase : public KernelCase {
 public:
  PictureCase(const Picture& input, const Picture& output, double units)
      : in_(input),
        out_(output),
        allowed_(units * double{std::numeric_limits<float>::epsilon()} / 2),
        random_(input.elements()),
        input_(input.elements()),
        actual_(output.elements()),
        expected_(output.elements()),
        before_(output.elements()) {
    fill(random_, input, input_);
    unwritten(random_, before_);
    std::copy(before_.begin(), before_.end(), actual_.data());
    std::copy(before_.begin(), before_.end(), expected_.data());
  }

  std::string compare() override {
    std::string difference;
    for (size_t i = 0; i < actual_.size() && difference.empty(); ++i) {
      if (is_within(actual_[i], expected_[i], allowed_)) continue;
      difference = "element " + std::to_string(i) + " is " + std::to_string(actual_[i]) +
                   ", expected " + std::to_string(expected_[i]);
    }
    // The next kernel has to write its own.
    std::copy(before_.begin(), before_.end(), actual_.data());
    return difference;
  }

 protected:
  Picture in_, out_;
  double allowed_;
  Random random_;
  Guarded<T> input_, actual_, expected_;
  std::vector<T> before_;
};

struct PoolShape {
  size_t height, width, channels, window, stride, padding;
  size_t first_row = 0, rows = SIZE_MAX;  // SIZE_MAX: to the last
  size_t pixel_gap = 0, row_gap = 0;

  size_t output_side(size_t side) const { return (side + 2 * padding - window) / stride + 1; }
  std::string name() const {
    return std::to_string(height) + "x" + std::to_string(width) + "x" + std::to_string(channels) +
           " window " + std::to_string(window) + " s" + std::to_string(stride) + " p" +
           std::to_string(padding) + " from row " + std::to_string(first_row);
  }
};

// A kernel and its reference.
template <class T>
struct Pool {
  void (*KernelTable::*kernel)(const PoolArgsOf<T>&);
  void (*reference)(const PoolArgsOf<T>&);
  bool is_exact = true;
};

template <class T>
class PoolCase : public PictureCase<T> {
 public:
  PoolCase(const Pool<T>& pool, const PoolShape& shape)
      : PictureCase<T>({shape.height, shape.width, shape.channels, shape.pixel_gap, shape.row_gap},
                       {shape.output_side(shape.height), shape.output_side(shape.width),
                        shape.channels, shape.row_gap, shape.pixel_gap},
                       // window^2 additions of values up to 1, and the share's and the
                       // product's roundings.
                       pool.is_exact ? 0 : static_cast<double>(shape.window * shape.window) + 4),
        pool_(pool),
        shape_(shape) {}

  void run(const KernelTable& kernels) override {
    (kernels.*pool_.kernel)(args(this->actual_.data()));
  }
  void run_reference() override { pool_.reference(args(this->expected_.data())); }
  double flops() const override {
    return static_cast<double>(rows() * this->out_.width * shape_.channels * shape_.window *
                               shape_.window);
  }
  double bytes() const override {
    return static_cast<double>(sizeof(T) * rows() *
                               (shape_.stride * shape_.width + this->out_.width) * shape_.channels);
  }

 private:
  size_t rows() const { return std::min(shape_.rows, this->out_.height - shape_.first_row); }
  PoolArgsOf<T> args(T* output) const {
    return {.input = this->input_.data(),
            .input_row_stride = this->in_.row_stride,
            .input_pixel_stride = this->in_.pixel_stride,
            .height = shape_.height,
            .width = shape_.width,
            .channels = shape_.channels,
            .window = shape_.window,
            .stride = shape_.stride,
            .padding = shape_.padding,
            .output = output,
            .output_row_stride = this->out_.row_stride,
            .output_pixel_stride = this->out_.pixel_stride,
            .output_width = this->out_.width,
            .first_row = shape_.first_row,
            .rows = rows()};
  }

  Pool<T> pool_;
  PoolShape shape_;
};

struct UpsampleShape {
  size_t rows, width, channels, pixel_gap = 0, row_gap = 0;
};

template <class T>
struct Upsample {
  void (*KernelTable::*kernel)(const UpsampleArgsOf<T>&);
  void (*reference)(const UpsampleArgsOf<T>&);
};

template <class T>
class UpsampleCase : public PictureCase<T> {
 public:
  UpsampleCase(const Upsample<T>& upsample, const UpsampleShape& shape)
      : PictureCase<T>(
            {shape.rows, shape.width, shape.channels, shape.pixel_gap, shape.row_gap},
            {2 * shape.rows, 2 * shape.width, shape.channels, shape.row_gap, shape.pixel_gap}, 0),
        upsample_(upsample) {}

  void run(const KernelTable& kernels) override {
    (kernels.*upsample_.kernel)(args(this->actual_.data()));
  }
  void run_reference() override { upsample_.reference(args(this->expected_.data())); }
  double flops() const override { return 0; }
  double bytes() const override {
    return static_cast<double>(5 * sizeof(T) * this->in_.height * this->in_.width *
                               this->in_.channels);
  }

 private:
  UpsampleArgsOf<T> args(T* output) const {
    return {.input = this->input_.data(),
            .input_row_stride = this->in_.row_stride,
            .input_pixel_stride = this->in_.pixel_stride,
            .rows = this->in_.height,
            .width = this->in_.width,
            .channels = this->in_.channels,
            .output = output,
            .output_row_stride = this->out_.row_stride,
            .output_pixel_stride = this->out_.pixel_stride};
  }

  Upsample<T> upsample_;
};

// Cases of one kernel.
template <class T>
class PoolCases {
 public:
  explicit PoolCases(const Pool<T>& pool) : pool_(pool) {}

  void add(const PoolShape& shape, bool model_shape = false) {
    cases.push_back({shape.name(), model_shape,
                     [pool = pool_, shape] { return std::make_unique<PoolCase<T>>(pool, shape); }});
  }

  std::vector<CaseFactory> cases;

 private:
  Pool<T> pool_;
};

// Channels come in steps of `unit`: kernels for bytes take them by fours, and have wider vectors.
struct Channels {
  size_t unit, most;
};
constexpr Channels kFloatChannels = {1, 33}, kByteChannels = {4, 140};

// After the encoder's stem and in the first blocks of its stages.
template <class T>
void add_model_averages(PoolCases<T>& pools) {
  pools.add({112, 112, 64, 2, 2, 0, 0, 4}, true);
  pools.add({28, 28, 512, 2, 2, 0, 0, 4}, true);
}

template <class T>
std::vector<CaseFactory> max_pools(const Pool<T>& pool, const Channels& range,
                                   size_t channels_of_windows) {
  PoolCases<T> pools(pool);
  for (size_t channels = range.unit; channels <= range.most; channels += range.unit) {
    pools.add({.height = 5,
               .width = 4,
               .channels = channels,
               .window = 5,
               .stride = 1,
               .padding = 2,
               .first_row = channels / range.unit % 3,
               .pixel_gap = channels % (4 * range.unit),
               .row_gap = channels % (5 * range.unit)});
  }
  for (size_t window = 1; window <= 7; ++window) {
    for (size_t stride = 1; stride <= 3; ++stride) {
      // A window that saw nothing but padding would have no maximum: it can't exist, as padding is
      // less than the window.
      for (size_t padding = 0; padding <= window / 2; ++padding) {
        pools.add({.height = 8,
                   .width = 7,
                   .channels = channels_of_windows,
                   .window = window,
                   .stride = stride,
                   .padding = padding,
                   .rows = stride});
      }
    }
  }
  // SPPF, in a slice of its concatenation.
  pools.add({15, 20, 128, 5, 1, 2, 0, SIZE_MAX, 384, 0}, true);
  return pools.cases;
}

template <class T>
std::vector<CaseFactory> upsamples(const Upsample<T>& upsample, const Channels& range) {
  std::vector<CaseFactory> cases;
  const auto add = [&](const UpsampleShape& shape, bool model_shape) {
    const std::string name = std::to_string(shape.rows) + "x" + std::to_string(shape.width) + "x" +
                             std::to_string(shape.channels);
    cases.push_back({name, model_shape, [upsample, shape] {
                       return std::make_unique<UpsampleCase<T>>(upsample, shape);
                     }});
  };
  for (size_t channels = range.unit; channels <= range.most; channels += range.unit) {
    const size_t i = channels / range.unit;
    add({i % 3 + 1, i % 4 + 1, channels, channels % (5 * range.unit), channels % (6 * range.unit)},
        false);
  }
  add({15, 20, 128}, true);
  add({30, 40, 64}, true);
  return cases;
}

}  // namespace

std::vector<CaseFactory> average_pool_cases() {
  PoolCases<float> pools({&KernelTable::average_pool, reference::average_pool, false});
  for (size_t channels = 1; channels <= kFloatChannels.most; ++channels) {
    pools.add({.height = 6,
               .width = 4,
               .channels = channels,
               .window = 2,
               .stride = 2,
               .padding = 0,
               .first_row = channels % 3,
               .pixel_gap = channels % 4,
               .row_gap = channels % 5});
  }
  for (size_t window = 1; window <= 7; ++window) {
    for (size_t stride = 1; stride <= 3; ++stride) {
      pools.add({.height = 8,
                 .width = 7,
                 .channels = 19,
                 .window = window,
                 .stride = stride,
                 .padding = 0,
                 .rows = stride});
    }
  }
  add_model_averages(pools);
  return pools.cases;
}

std::vector<CaseFactory> byte_average_pool_cases() {
  PoolCases<uint8_t> pools({&KernelTable::byte_average_pool, reference::byte_average_pool});
  for (size_t channels = 4; channels <= kByteChannels.most; channels += 4) {
    pools.add({.height = 6 + channels / 4 % 2,
               .width = 4 + channels / 8 % 2,
               .channels = channels,
               .window = 2,
               .stride = 2,
               .padding = 0,
               .first_row = channels / 4 % 3,
               .pixel_gap = channels % 16,
               .row_gap = channels % 20});
  }
  add_model_averages(pools);
  return pools.cases;
}

std::vector<CaseFactory> max_pool_cases() {
  return max_pools<float>({&KernelTable::max_pool, reference::max_pool}, kFloatChannels, 19);
}

std::vector<CaseFactory> byte_max_pool_cases() {
  return max_pools<uint8_t>({&KernelTable::byte_max_pool, reference::byte_max_pool}, kByteChannels,
                            76);
}

std::vector<CaseFactory> upsample_cases() {
  return upsamples<float>({&KernelTable::upsample, reference::upsample}, kFloatChannels);
}

std::vector<CaseFactory> byte_upsample_cases() {
  return upsamples<uint8_t>({&KernelTable::byte_upsample, reference::byte_upsample}, kByteChannels);
}

}  // namespace lightcap::internal::testing
