#include "tests/kernels/kernel_case.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

namespace lightcap::internal::testing {

bool GuardedFloats::is_unfenced_ = false;

void GuardedFloats::leave_unfenced() { is_unfenced_ = true; }

GuardedFloats::GuardedFloats(size_t count, Fence fence) : count_(count) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t bytes = count * sizeof(float);
  const size_t pages = (bytes + page - 1) / page * page;
  map_bytes_ = pages + 2 * page;
  map_ = mmap(nullptr, map_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map_ == MAP_FAILED) throw std::bad_alloc();
  char* inside = static_cast<char*>(map_) + page;
  if (is_unfenced_) {
    if (mprotect(map_, map_bytes_, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
    std::memset(map_, 0, map_bytes_);  // a page is there once it was written to
  } else if (pages != 0 && mprotect(inside, pages, PROT_READ | PROT_WRITE) != 0) {
    throw std::bad_alloc();
  }
  data_ = reinterpret_cast<float*>(fence == Fence::kEnd ? inside + pages - bytes : inside);
  for (size_t i = 0; i < count; ++i) data_[i] = std::numeric_limits<float>::quiet_NaN();
}

GuardedFloats::~GuardedFloats() {
  if (map_ != nullptr) munmap(map_, map_bytes_);
}

GuardedFloats::GuardedFloats(GuardedFloats&& other) noexcept
    : map_(std::exchange(other.map_, nullptr)),
      map_bytes_(other.map_bytes_),
      data_(other.data_),
      count_(other.count_) {}

uint32_t Random::bits() {
  // xorshift64*: small, seeded and the same everywhere.
  state_ ^= state_ >> 12;
  state_ ^= state_ << 25;
  state_ ^= state_ >> 27;
  return static_cast<uint32_t>((state_ * 0x2545f4914f6cdd1du) >> 32);
}

void Random::fill(float* data, size_t rows, size_t columns, size_t stride) {
  for (size_t i = 0; i < rows; ++i) {
    for (size_t j = 0; j < columns; ++j) data[i * stride + j] = uniform();
  }
}

double dot_bound(size_t length, double sum_of_magnitudes) {
  constexpr double kEps = std::numeric_limits<float>::epsilon() / 2;
  return kEps * (static_cast<double>(length) + 4) * sum_of_magnitudes +
         static_cast<double>(std::numeric_limits<float>::min());
}

std::string compare_floats(const Compared& outputs,
                           const std::function<double(size_t, size_t)>& bound) {
  double signed_error = 0;
  double bound_sum = 0;
  char text[256];
  for (size_t i = 0; i < outputs.rows; ++i) {
    for (size_t j = 0; j < outputs.columns; ++j) {
      const float actual = outputs.actual[i * outputs.actual_stride + j];
      const float expected = outputs.expected[i * outputs.expected_stride + j];
      if (actual == expected) continue;  // equal infinities included
      const double error = static_cast<double>(actual) - static_cast<double>(expected);
      const double allowed = bound(i, j);
      if (!(std::fabs(error) <= allowed)) {
        std::snprintf(text, sizeof text,
                      "at [%zu][%zu]: %.9g, expected %.9g, error %.3g, allowed %.3g", i, j,
                      static_cast<double>(actual), static_cast<double>(expected), error, allowed);
        return text;
      }
      signed_error += error;
      bound_sum += allowed;
    }
  }
  // Independent errors cancel: with n of them the mean of their sum is about bound / sqrt(n).
  const double count = static_cast<double>(outputs.rows * outputs.columns);
  if (count >= 1000 && std::fabs(signed_error) > 0.25 * bound_sum) {
    std::snprintf(text, sizeof text, "biased: mean error %.3g where the mean bound is %.3g",
                  signed_error / count, bound_sum / count);
    return text;
  }
  return {};
}

std::string check_gaps(const float* data, size_t rows, size_t columns, size_t stride) {
  for (size_t i = 0; i + 1 < rows; ++i) {
    for (size_t j = columns; j < stride; ++j) {
      if (!std::isnan(data[i * stride + j])) {
        return "wrote beyond the columns, at [" + std::to_string(i) + "][" + std::to_string(j) +
               "]";
      }
    }
  }
  return {};
}

}  // namespace lightcap::internal::testing
