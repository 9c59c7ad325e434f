#include "weights_converter/infer.h"

#include <charconv>
#include <optional>

#include "engine/runtime/error.h"

namespace lightcap {
namespace {

class Inference {
 public:
  explicit Inference(const Shapes& shapes) : shapes_(shapes) {}

  // Where `size` can be read: dimension `dim` of `tensor`, times a factor or divided by one.
  struct Place {
    std::string tensor;
    size_t dim;
    uint64_t times = 1;
    uint64_t divided_by = 1;
  };

  // The first place that exists counts.
  void read(uint64_t& size, const std::vector<Place>& places) const {
    for (const Place& place : places) {
      const std::optional<uint64_t> found = dimension(place.tensor, place.dim);
      if (!found || *found > UINT32_MAX) continue;
      size = *found * place.times / place.divided_by;
      return;
    }
  }
  std::optional<uint64_t> dimension(const std::string& tensor, size_t dim) const {
    const auto found = shapes_.find(tensor);
    if (found == shapes_.end() || dim >= found->second.size()) return std::nullopt;
    return found->second[dim];
  }
  bool has(const std::string& tensor) const { return shapes_.count(tensor) != 0; }

  // One more than the largest N of the tensors named `list`N.*; unchanged where there is none.
  void count(uint64_t& size, const std::string& list) const {
    uint64_t highest = 0;
    for (auto it = shapes_.lower_bound(list); it != shapes_.end(); ++it) {
      if (!it->first.starts_with(list)) break;
      const char* begin = it->first.data() + list.size();
      const char* end = it->first.data() + it->first.size();
      uint32_t index = 0;
      const auto [stop, error] = std::from_chars(begin, end, index);
      if (error != std::errc() || stop == end || *stop != '.') continue;
      highest = std::max(highest, uint64_t{index} + 1);
    }
    if (highest > 0) size = highest;
  }

 private:
  const Shapes& shapes_;
};

void infer_image_encoder(const Inference& from, Config::ImageEncoder& config) {
  const std::string root = "image_encoder.";
  from.read(config.width, {{root + "conv3.weight", 0},
                           {root + "layer1.0.conv1.weight", 0},
                           {root + "conv1.weight", 0, 2},
                           {"concept_extractor.proj.0.weight", 1, 1, 32},
                           {"visual_projection.dense.weight", 1, 1, 32},
                           {"modulator.fc2.weight", 0, 1, 32}});
  for (size_t stage = 0; stage < config.blocks.size(); ++stage) {
    from.count(config.blocks[stage], root + "layer" + std::to_string(stage + 1) + ".");
  }
}

void infer_detector(const Inference& from, Config::Detector& config) {
  const std::string root = "detector.model.";
  constexpr std::array<int, 5> kConvs = {0, 1, 3, 5, 7};
  for (size_t i = 0; i < kConvs.size(); ++i) {
    from.read(config.widths[i], {{root + std::to_string(kConvs[i]) + ".conv.weight", 0}});
  }
  constexpr std::array<int, 8> kC3s = {2, 4, 6, 8, 13, 17, 20, 23};
  for (size_t i = 0; i < kC3s.size(); ++i) {
    from.count(config.depths[i], root + std::to_string(kC3s[i]) + ".m.");
  }
  from.read(config.anchors, {{root + "24.anchors", 1}});
  const auto outputs = from.dimension(root + "24.m.0.weight", 0);
  // What does not divide shows as shapes that are not those of the schema.
  if (outputs && config.anchors > 0 && *outputs / config.anchors > 5) {
    config.classes = *outputs / config.anchors - 5;
  }
}

void infer_concept_extractor(const Inference& from, Config::ConceptExtractor& config) {
  const std::string root = "concept_extractor.";
  from.read(config.hidden, {{root + "proj.0.weight", 0}, {root + "proj.1.weight", 1}});
  from.read(config.embedding, {{root + "proj.1.weight", 0}, {root + "vocabulary", 1}});
  from.read(config.vocabulary, {{root + "vocabulary", 0}});
}

void infer_fusion(const Inference& from, Config::Fusion& config) {
  const std::string embeddings = "bert.embeddings.";
  const std::string layer = "bert.encoder.layer.";
  from.read(config.width, {{embeddings + "word_embeddings.weight", 1},
                           {layer + "0.attention.self.query.weight", 0},
                           {"visual_projection.dense.weight", 0},
                           {"head.branches.0.dense.weight", 0}});
  from.count(config.layers, layer);
  from.read(config.feed_forward,
            {{layer + "0.intermediate.dense.weight", 0}, {layer + "0.output.dense.weight", 1}});
  from.read(config.vocabulary, {{embeddings + "word_embeddings.weight", 0}, {"head.bias", 0}});
  from.read(config.positions, {{embeddings + "position_embeddings.weight", 0}});
  from.read(config.token_types, {{embeddings + "token_type_embeddings.weight", 0}});
  config.grid_position = from.has("visual_projection.position");
}

// Where no tensor says how wide it is, it is an eighth of the fusion model, as in the paper: 39.
void infer_modulator(const Inference& from, uint64_t fusion_width, Config::Modulator& config) {
  config.width = std::max<uint64_t>(fusion_width / 8, 1);
  from.read(config.width, {{"modulator.fc1.weight", 0}, {"modulator.fc2.weight", 1}});
}

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
  void operator()(const char*, bool) {}
};

}  // namespace

void infer_sizes(const Shapes& shapes, Config& config) {
  const Inference from(shapes);
  infer_image_encoder(from, config.image_encoder);
  infer_detector(from, config.detector);
  infer_concept_extractor(from, config.concept_extractor);
  infer_fusion(from, config.fusion);
  infer_modulator(from, config.fusion.width, config.modulator);
  from.count(config.head.branches, "head.branches.");
  BoundsCheck check;
  visit_sizes(config, check);
  if (!check.wrong.empty()) {
    throw Error(ErrorCode::kCheckpoint,
                "the tensors' shapes are not those of a LightCap model:" + check.wrong);
  }
}

}  // namespace lightcap
