#include "cli/peaks.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <numeric>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "engine/platform/platform.h"
#include "engine/runtime/block.h"

namespace lightcap {
namespace {

// Independent sums: enough to hide the latency of a multiplication and an addition on two units,
// few enough for the 16 registers of AVX2.
constexpr size_t kSums = 12;
constexpr int kTrials = 7;
constexpr size_t kTasksPerThread = 8;  // late threads leave work to the others
constexpr double kTaskSeconds = 1e-3;
constexpr size_t kStreamBytes = size_t{128} << 20;

// `rounds` times kSums multiply-adds on vectors of kLanes floats. The factor keeps sums finite.
struct FmaLoop {
  float (*run)(size_t rounds);
  size_t lanes;
};
constexpr float kFactor = 0.5f;

#if defined(__x86_64__)

float fma_sse2(size_t rounds) {
  __m128 sums[kSums];
  for (size_t i = 0; i < kSums; ++i) sums[i] = _mm_set1_ps(static_cast<float>(i));
  const __m128 factor = _mm_set1_ps(kFactor);
  for (size_t round = 0; round < rounds; ++round) {
    for (__m128& sum : sums) sum = _mm_add_ps(_mm_mul_ps(sum, factor), factor);
  }
  for (size_t i = 1; i < kSums; ++i) sums[0] = _mm_add_ps(sums[0], sums[i]);
  return _mm_cvtss_f32(sums[0]);
}

__attribute__((target("avx2,fma"))) float fma_avx2(size_t rounds) {
  __m256 sums[kSums];
  for (size_t i = 0; i < kSums; ++i) sums[i] = _mm256_set1_ps(static_cast<float>(i));
  const __m256 factor = _mm256_set1_ps(kFactor);
  for (size_t round = 0; round < rounds; ++round) {
    for (__m256& sum : sums) sum = _mm256_fmadd_ps(sum, factor, factor);
  }
  for (size_t i = 1; i < kSums; ++i) sums[0] = _mm256_add_ps(sums[0], sums[i]);
  return _mm256_cvtss_f32(sums[0]);
}

__attribute__((target("avx512f"))) float fma_avx512(size_t rounds) {
  __m512 sums[kSums];
  for (size_t i = 0; i < kSums; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512 factor = _mm512_set1_ps(kFactor);
  for (size_t round = 0; round < rounds; ++round) {
    for (__m512& sum : sums) sum = _mm512_fmadd_ps(sum, factor, factor);
  }
  for (size_t i = 1; i < kSums; ++i) sums[0] = _mm512_add_ps(sums[0], sums[i]);
  return _mm512_cvtss_f32(sums[0]);
}

FmaLoop fma_loop(std::string_view isa) {
  if (isa == "avx512") return {fma_avx512, 16};
  if (isa == "avx2") return {fma_avx2, 8};
  return {fma_sse2, 4};
}

#elif defined(__aarch64__)

float fma_neon(size_t rounds) {
  float32x4_t sums[kSums];
  for (size_t i = 0; i < kSums; ++i) sums[i] = vdupq_n_f32(static_cast<float>(i));
  const float32x4_t factor = vdupq_n_f32(kFactor);
  for (size_t round = 0; round < rounds; ++round) {
    for (float32x4_t& sum : sums) sum = vfmaq_f32(factor, sum, factor);
  }
  for (size_t i = 1; i < kSums; ++i) sums[0] = vaddq_f32(sums[0], sums[i]);
  return vgetq_lane_f32(sums[0], 0);
}

FmaLoop fma_loop(std::string_view) { return {fma_neon, 4}; }

#endif

// Results that nobody needs go here, so that they are computed.
std::atomic<uint64_t> sink{0};
void use(uint64_t value) { sink.fetch_add(value, std::memory_order_relaxed); }

// All threads' rate, at best of some runs of `tasks` tasks that do `amount` each. The time is each
// thread's own, so that others on its core take nothing from its rate.
template <class F>
double best_rate(ThreadPool& pool, size_t tasks, double amount, F&& task) {
  double best = 0;
  std::vector<double> seconds(tasks);
  for (int trial = 0; trial < kTrials; ++trial) {
    pool.parallel_for(tasks, [&](size_t i) {
      const double start = platform::thread_seconds();
      task(i);
      seconds[i] = platform::thread_seconds() - start;
    });
    const double total = std::accumulate(seconds.begin(), seconds.end(), 0.0);
    best = std::max(best, amount * static_cast<double>(tasks) / total);
  }
  return best * pool.threads();
}

}  // namespace

double measure_peak_flops(std::string_view isa, ThreadPool& pool) {
  const FmaLoop loop = fma_loop(isa);
  size_t rounds = 1000;
  for (;; rounds *= 2) {
    const double start = platform::thread_seconds();
    use(static_cast<uint64_t>(loop.run(rounds)));
    if (platform::thread_seconds() - start >= kTaskSeconds) break;
  }
  const size_t tasks = kTasksPerThread * static_cast<size_t>(pool.threads());
  const double flops = 2.0 * static_cast<double>(rounds * kSums * loop.lanes);
  return best_rate(pool, tasks, flops,
                   [&](size_t) { use(static_cast<uint64_t>(loop.run(rounds))); });
}

// Some streams at once, from huge pages: what a caption's weights are read like, and more than one
// stream or small pages would show.
double measure_peak_bytes(ThreadPool& pool) {
  constexpr size_t kStreams = 4;
  const Block block = allocate_block(kStreamBytes);
  auto* words = static_cast<uint64_t*>(block.get());
  std::fill_n(words, kStreamBytes / sizeof(uint64_t), 1);
  const size_t tasks = kTasksPerThread * static_cast<size_t>(pool.threads());
  const size_t share = kStreamBytes / sizeof(uint64_t) / tasks / kStreams;
  const double bytes = static_cast<double>(share * kStreams * sizeof(uint64_t));
  return best_rate(pool, tasks, bytes, [&](size_t task) {
    uint64_t sums[kStreams] = {};
    const uint64_t* begin = words + task * share * kStreams;
    for (size_t i = 0; i < share; ++i) {
      for (size_t s = 0; s < kStreams; ++s) sums[s] += begin[s * share + i];
    }
    for (const uint64_t sum : sums) use(sum);
  });
}

}  // namespace lightcap
