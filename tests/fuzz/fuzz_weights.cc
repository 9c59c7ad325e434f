// .lcw files whose checksums are right: opened, bound to the graph, given a session, and where that
// is cheap asked for a caption.
#include "kernels/dispatch.h"
#include "models/lightcap.h"
#include "tests/fuzz/limits.h"
#include "tests/fuzz/mutate_weights.h"

// Sanitized kernels do some million steps a second, and what more would add is time.
static constexpr double kMostSteps = 1e8;

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  using namespace lightcap::internal::testing;
  return mutate_weights(data, size, max_size, seed, Models::kAny);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lightcap::internal;
  const std::vector<uint8_t> bytes = testing::sealed(data, size);
  // A session's 192 MiB, see engine/io/limits.h, and what lies beside the arena; of the file its
  // weights in fp32 and Winograd's form, texts, keys and the session's share.
  const fuzz::InputLimits limits(size, size_t{208} << 20, 48, 5.0);
  try {
    const auto model = std::make_shared<const Model>(
        WeightsFile::from_buffer({bytes.data(), bytes.size()}, "fuzz"));
    for (const TensorEntry& tensor : model->weights().file().tensors())
      crc32(model->weights().file().data(tensor), tensor.bytes);
    Session session(model, {.kernels = &best_kernels(), .threads = 1});
    if (session.planned_steps() > kMostSteps) return 0;
    std::vector<uint8_t> pixels(3 * 20 * 10);
    for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i * i / 7);
    session.caption(ImageView{pixels.data(), 20, 10, 60}, {});
    for (const Concept& found : session.concepts()) {
      for (const float edge : found.box) {
        if (!(edge >= 0 && edge <= 20)) __builtin_trap();  // inside of the picture
      }
      if (!std::isfinite(found.similarity)) __builtin_trap();
    }
  } catch (const Error&) {
  }
  return 0;
}
