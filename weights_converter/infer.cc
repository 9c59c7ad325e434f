#include "weights_converter/infer.h"

#include <algorithm>
#include <charconv>

#include "engine/runtime/error.h"
#include "models/schema.h"

namespace lightcap::internal {
namespace {

// Reads the sizes that the modules' shapes tell.
class Inference : public ModuleVisitor {
 public:
  explicit Inference(const Shapes& shapes) : shapes_(shapes) {}

  // One more than the largest N of the tensors named `prefix`N.*; unchanged where there is none.
  // Only the first element is described: it tells all sizes, and a hostile file may have named an
  // element of any number.
  size_t list(const std::string& prefix, uint64_t& count) override {
    uint64_t highest = 0;
    for (auto it = shapes_.lower_bound(prefix); it != shapes_.end(); ++it) {
      if (!it->first.starts_with(prefix)) break;
      const char* begin = it->first.data() + prefix.size();
      const char* end = it->first.data() + it->first.size();
      uint32_t index = 0;
      const auto [stop, error] = std::from_chars(begin, end, index);
      if (error != std::errc() || stop == end || *stop != '.') continue;
      highest = std::max(highest, uint64_t{index} + 1);
    }
    if (highest > 0) count = highest;
    return 1;
  }
  bool optional(const std::string& name, bool& there) override {
    return there = shapes_.count(name) != 0;
  }

 private:
  void tensor(const TensorSpec& spec, const std::vector<Dim>& dims, const Slot&) override {
    const auto found = shapes_.find(spec.name);
    if (found == shapes_.end()) return;
    for (size_t i = 0; i < std::min(dims.size(), found->second.size()); ++i) {
      if (dims[i].size != nullptr) read(dims[i], found->second[i]);
    }
  }
  // A remainder shows as shapes that are not those of the schema.
  void read(const Dim& dim, uint64_t found) {
    if (found > UINT32_MAX || dim.factor == 0) return;
    const uint64_t sum = found * dim.divisor / dim.factor;
    if (dim.plus > 0 && sum <= dim.plus) return;
    const auto [known, is_new] = ranks_.emplace(dim.size, dim.rank);
    if (!is_new && known->second <= dim.rank) return;
    known->second = dim.rank;
    *dim.size = sum - dim.plus;
  }

  const Shapes& shapes_;
  std::map<const uint64_t*, int> ranks_;  // of the sizes that have been read
};

// Lists what is out of bounds, in the way of Config's visitors.
class BoundsCheck {
 public:
  std::string wrong;

  void operator()(const char* key, uint64_t size, uint64_t lowest, uint64_t highest) {
    if (size >= lowest && size <= highest) return;
    wrong += std::string("\n  ") + key + " is " + std::to_string(size) + ", expected " +
             std::to_string(lowest) + " to " + std::to_string(highest);
  }
  template <size_t n>
  void operator()(const char* key, const std::array<uint64_t, n>& sizes, uint64_t lowest,
                  uint64_t highest) {
    for (const uint64_t size : sizes) (*this)(key, size, lowest, highest);
  }
  template <class Choice, class Names>
  void operator()(const char*, Choice, const Names&) {}
  void operator()(const char*, bool) {}
};

}  // namespace

void infer_sizes(const Shapes& shapes, Config& config) {
  // A dimension that two sizes depend on is read first: the outputs of the detector's head are
  // anchors times classes, and where no tensor says how wide the modulator is, it is an eighth of
  // the fusion model, as in the paper: 39.
  Config first = config;
  Inference first_pass(shapes), second_pass(shapes);
  describe_model(first_pass, first);
  config.detector.anchors = first.detector.anchors;
  config.modulator.width = std::max<uint64_t>(first.fusion.width / 8, 1);
  describe_model(second_pass, config);
  BoundsCheck check;
  visit_sizes(config, check);
  if (!check.wrong.empty()) {
    throw Error(ErrorCode::kCheckpoint,
                "the tensors' shapes are not those of a LightCap model:" + check.wrong);
  }
}

}  // namespace lightcap::internal
