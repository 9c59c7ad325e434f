#include "models/schema.h"

namespace lightcap {
namespace {

// BatchNorm's eps where a checkpoint does not say: torch.nn's default, and Ultralytics' own.
constexpr double kClipEps = 1e-5;
constexpr double kYoloEps = 1e-3;

class Builder {
 public:
  std::vector<TensorSpec> specs;

  void plain(const std::string& name, std::vector<uint64_t> shape) {
    specs.push_back({name, std::move(shape), Layout::kRowMajor, TensorKind::kPlain, "", 0});
  }
  void panels(const std::string& name, std::vector<uint64_t> shape) {
    specs.push_back({name, std::move(shape), Layout::kPanels, TensorKind::kPlain, "", 0});
  }
  void linear(const std::string& name, uint64_t in, uint64_t out) {
    panels(name + ".weight", {out, in});
    plain(name + ".bias", {out});
  }
  void layer_norm(const std::string& name, uint64_t width) {
    plain(name + ".weight", {width});
    plain(name + ".bias", {width});
  }
  void conv(const std::string& name, const std::string& batch_norm, double eps, uint64_t in,
            uint64_t out, uint64_t kernel) {
    specs.push_back({name + ".weight",
                     {out, in, kernel, kernel},
                     Layout::kPanels,
                     TensorKind::kConv,
                     batch_norm,
                     eps});
    specs.push_back(
        {name + ".bias", {out}, Layout::kRowMajor, TensorKind::kConvBias, batch_norm, eps});
  }
};

// CLIP's ModifiedResNet without attnpool.
void image_encoder(Builder& builder, const Config::ImageEncoder& config) {
  const std::string root = "image_encoder.";
  const auto conv = [&](const std::string& name, const std::string& batch_norm, uint64_t in,
                        uint64_t out, uint64_t kernel) {
    builder.conv(root + name, root + batch_norm, kClipEps, in, out, kernel);
  };
  const uint64_t width = config.width;
  conv("conv1", "bn1", 3, width / 2, 3);
  conv("conv2", "bn2", width / 2, width / 2, 3);
  conv("conv3", "bn3", width / 2, width, 3);
  uint64_t in = width;
  for (uint64_t stage = 0; stage < 4; ++stage) {
    const uint64_t planes = width << stage;
    for (uint64_t block = 0; block < config.blocks[stage]; ++block) {
      const std::string name =
          "layer" + std::to_string(stage + 1) + "." + std::to_string(block) + ".";
      conv(name + "conv1", name + "bn1", in, planes, 1);
      conv(name + "conv2", name + "bn2", planes, planes, 3);
      conv(name + "conv3", name + "bn3", planes, 4 * planes, 1);
      if (block == 0) conv(name + "downsample.0", name + "downsample.1", in, 4 * planes, 1);
      in = 4 * planes;
    }
  }
}

// YOLOv5 v6/v7; module indices as in Ultralytics' yolov5n.yaml.
class DetectorBuilder {
 public:
  DetectorBuilder(Builder& builder, const Config::Detector& config)
      : builder_(builder), config_(config) {}

  void build() {
    const auto& w = config_.widths;
    conv("0", 3, w[0], 6);
    conv("1", w[0], w[1], 3);
    c3("2", w[1], w[1], 0);
    conv("3", w[1], w[2], 3);
    c3("4", w[2], w[2], 1);
    conv("5", w[2], w[3], 3);
    c3("6", w[3], w[3], 2);
    conv("7", w[3], w[4], 3);
    c3("8", w[4], w[4], 3);
    conv("9.cv1", w[4], w[4] / 2, 1);
    conv("9.cv2", 2 * w[4], w[4], 1);
    conv("10", w[4], w[3], 1);
    c3("13", 2 * w[3], w[3], 4);
    conv("14", w[3], w[2], 1);
    c3("17", 2 * w[2], w[2], 5);
    conv("18", w[2], w[2], 3);
    c3("20", 2 * w[2], w[3], 6);
    conv("21", w[3], w[3], 3);
    c3("23", 2 * w[3], w[4], 7);
    const uint64_t outputs = config_.anchors * (5 + config_.classes);
    for (uint64_t scale = 0; scale < 3; ++scale) {
      const std::string name = kRoot + "24.m." + std::to_string(scale);
      builder_.panels(name + ".weight", {outputs, w[2 + scale], 1, 1});
      builder_.plain(name + ".bias", {outputs});
    }
    builder_.plain(kRoot + "24.anchors", {3, config_.anchors, 2});
  }

 private:
  const std::string kRoot = "detector.model.";

  void conv(const std::string& name, uint64_t in, uint64_t out, uint64_t kernel) {
    builder_.conv(kRoot + name + ".conv", kRoot + name + ".bn", kYoloEps, in, out, kernel);
  }
  void c3(const std::string& name, uint64_t in, uint64_t out, size_t depth_index) {
    const uint64_t hidden = out / 2;
    conv(name + ".cv1", in, hidden, 1);
    conv(name + ".cv2", in, hidden, 1);
    conv(name + ".cv3", 2 * hidden, out, 1);
    for (uint64_t i = 0; i < config_.depths[depth_index]; ++i) {
      const std::string bottleneck = name + ".m." + std::to_string(i);
      conv(bottleneck + ".cv1", hidden, hidden, 1);
      conv(bottleneck + ".cv2", hidden, hidden, 3);
    }
  }

  Builder& builder_;
  const Config::Detector& config_;
};

void concept_extractor(Builder& builder, const Config& config) {
  const auto& concepts = config.concept_extractor;
  builder.linear("concept_extractor.proj.0", config.image_encoder.channels(), concepts.hidden);
  builder.linear("concept_extractor.proj.1", concepts.hidden, concepts.embedding);
  builder.panels("concept_extractor.vocabulary", {concepts.vocabulary, concepts.embedding});
  builder.specs.back().kind = TensorKind::kUnitRows;
}

void fusion(Builder& builder, const Config& config) {
  const auto& fusion = config.fusion;
  const uint64_t d = fusion.width;
  const uint64_t channels = config.image_encoder.channels();
  builder.linear("modulator.fc1", d, config.modulator.width);
  builder.linear("modulator.fc2", config.modulator.width, channels);
  builder.linear("visual_projection.dense", channels, d);
  builder.layer_norm("visual_projection.LayerNorm", d);
  const uint64_t grid = config.image_encoder.grid();
  if (fusion.grid_position) builder.plain("visual_projection.position", {grid * grid, d});
  // Panels serve the head's product; lookups gather a row from the same bytes.
  builder.panels("bert.embeddings.word_embeddings.weight", {fusion.vocabulary, d});
  builder.plain("bert.embeddings.position_embeddings.weight", {fusion.positions, d});
  builder.plain("bert.embeddings.token_type_embeddings.weight", {fusion.token_types, d});
  builder.layer_norm("bert.embeddings.LayerNorm", d);
  for (uint64_t layer = 0; layer < fusion.layers; ++layer) {
    const std::string name = "bert.encoder.layer." + std::to_string(layer) + ".";
    builder.linear(name + "attention.self.query", d, d);
    builder.linear(name + "attention.self.key", d, d);
    builder.linear(name + "attention.self.value", d, d);
    builder.linear(name + "attention.output.dense", d, d);
    builder.layer_norm(name + "attention.output.LayerNorm", d);
    builder.linear(name + "intermediate.dense", d, fusion.feed_forward);
    builder.linear(name + "output.dense", fusion.feed_forward, d);
    builder.layer_norm(name + "output.LayerNorm", d);
  }
}

void head(Builder& builder, const Config& config) {
  for (uint64_t branch = 0; branch < config.head.branches; ++branch) {
    const std::string name = "head.branches." + std::to_string(branch) + ".";
    builder.linear(name + "dense", config.fusion.width, config.fusion.width);
    builder.layer_norm(name + "LayerNorm", config.fusion.width);
  }
  builder.plain("head.bias", {config.fusion.vocabulary});
}

}  // namespace

std::vector<TensorSpec> schema(const Config& config) {
  Builder builder;
  image_encoder(builder, config.image_encoder);
  DetectorBuilder(builder, config.detector).build();
  concept_extractor(builder, config);
  fusion(builder, config);
  head(builder, config);
  return std::move(builder.specs);
}

}  // namespace lightcap
