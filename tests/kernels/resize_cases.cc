#include <algorithm>
#include <vector>

#include "kernels/reference/reference.h"
#include "tests/kernels/kernel_case.h"

namespace lightcap::internal::testing {
namespace {

// Rows of random pixels, a quarter of them as bright as can be, so that sums are cut on both sides.
class ResizeRowCase : public KernelCase {
 public:
  // Windows up to `window` pixels long, `scale` pixels apart, from pixel `skip` on; the last of
  // them reaches `beyond` pixels over the row's end, with weights of 0.
  ResizeRowCase(size_t size, size_t window, double scale, size_t skip, size_t beyond)
      : window_(window),
        random_(size * 1000 + window),
        weights_(size * window * 4),
        begins_(size),
        actual_(3 * size),
        expected_(3 * size) {
    for (size_t x = 0; x < size; ++x)
      begins_[x] =
          static_cast<uint32_t>(skip + static_cast<size_t>(static_cast<double>(x) * scale));
    pixels_ = begins_.back() + window - beyond;
    for (size_t x = 0; x < size; ++x) {
      for (size_t k = 0; k < window && begins_[x] + k < pixels_; ++k) {
        // Less than 2 / window, and a third are negative.
        const float weight = (random_.uniform() + 0.4f) * 1.4f / static_cast<float>(window);
        const auto fixed = static_cast<int32_t>(weight * (1 << kResizeBits));
        std::fill_n(weights_.begin() + static_cast<std::ptrdiff_t>((x * window + k) * 4), 4, fixed);
      }
    }
    row_.resize(3 * pixels_);
    for (uint8_t& value : row_) {
      const uint32_t bits = random_.bits();
      value = static_cast<uint8_t>(bits % 4 == 0 ? 255 : bits >> 8);
    }
    unpacked_.resize((pixels_ + window) * 4);
  }
  void run(const KernelTable& kernels) override { kernels.resize_row(args(actual_)); }
  void run_reference() override { reference::resize_row(args(expected_)); }
  std::string compare() override {
    for (size_t i = 0; i < actual_.size(); ++i) {
      if (actual_[i] == expected_[i]) continue;
      return "at [" + std::to_string(i / 3) + "][" + std::to_string(i % 3) +
             "]: " + std::to_string(actual_[i]) + ", expected " + std::to_string(expected_[i]);
    }
    std::fill(actual_.begin(), actual_.end(), uint8_t{0});
    return {};
  }
  double flops() const override { return 6.0 * static_cast<double>(begins_.size() * window_); }
  double bytes() const override {
    return static_cast<double>(row_.size() + actual_.size()) +
           4.0 * static_cast<double>(weights_.size());
  }

 private:
  ResizeRowArgs args(std::vector<uint8_t>& out) {
    return {row_.data(),    pixels_,          weights_.data(), window_,
            begins_.data(), unpacked_.data(), out.data(),      begins_.size()};
  }
  size_t window_, pixels_ = 0;
  Random random_;
  std::vector<int32_t> weights_;
  std::vector<uint32_t> begins_;
  std::vector<uint8_t> row_;
  std::vector<int32_t> unpacked_;
  std::vector<uint8_t> actual_, expected_;
};

}  // namespace

std::vector<CaseFactory> resize_row_cases() {
  std::vector<CaseFactory> cases;
  const auto add = [&](size_t size, size_t window, double scale, size_t skip, size_t beyond,
                       bool model_shape) {
    cases.push_back({std::to_string(size) + " of " + std::to_string(window), model_shape, [=] {
                       return std::make_unique<ResizeRowCase>(size, window, scale, skip, beyond);
                     }});
  };
  for (const size_t window : {4u, 8u, 12u, 16u, 300u}) {
    for (size_t size = 1; size <= 66; ++size)
      add(size, window, 0.3 * static_cast<double>(window), size % 3, size % window, false);
  }
  add(224, 16, 640.0 / 224, 0, 3, true);  // a picture of 640 pixels a row
  return cases;
}

}  // namespace lightcap::internal::testing
