// Everything about a model that is not a tensor: hyper-parameters, and the sizes that its tensors
// imply.
#ifndef LIGHTCAP_MODELS_CONFIG_H_
#define LIGHTCAP_MODELS_CONFIG_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/io/weights_file.h"

namespace lightcap::internal {

enum class Resize : uint64_t { kStretch, kCenterCrop };
enum class Decode : uint64_t { kMask, kCausal };
enum class Ensemble : uint64_t { kMeanProbability, kMeanLogit };
enum class Quantization : uint64_t { kNone, kInt8 };

// Bytes of a pixel in the networks' inputs of an int8 model: red, green, blue and a fourth, which
// is 255 in the image encoder's picture and 0 in its border, so that the mean of the normalisation
// is a weight like others and the border stands for 0; in the detector's it is 0.
inline constexpr size_t kBytePixel = 4;

// Defaults are LightCap's (paper, implementation details). Hyper-parameters come first in each
// block: users set them in the converter's config.json. Sizes follow: the converter reads them off
// the tensors' shapes.
struct Config {
  struct ImageEncoder {
    uint64_t image_size = 224;
    Resize resize = Resize::kStretch;
    std::array<double, 3> mean = {0.48145466, 0.4578275, 0.40821073};
    std::array<double, 3> std = {0.26862954, 0.26130258, 0.27577711};

    uint64_t width = 64;  // output channels of the stem; stage i has planes of width * 2^i
    std::array<uint64_t, 4> blocks = {3, 4, 6, 3};

    uint64_t channels() const { return 32 * width; }   // C
    uint64_t grid() const { return image_size / 32; }  // G
  } image_encoder;

  struct Detector {
    uint64_t image_size = 640;  // D, the long side
    double confidence_threshold = 0.25;
    double iou_threshold = 0.45;
    uint64_t max_proposals = 20;  // K

    std::array<uint64_t, 5> widths = {16, 32, 64, 128, 256};    // modules 0, 1, 3, 5, 7
    std::array<uint64_t, 8> depths = {1, 2, 3, 1, 1, 1, 1, 1};  // C3 modules 2 4 6 8 13 17 20 23
    uint64_t classes = 1;
    uint64_t anchors = 3;  // per scale
  } detector;

  struct ConceptExtractor {
    uint64_t roi_size = 7;
    uint64_t sampling_ratio = 2;
    bool deduplicate = true;

    uint64_t hidden = 1024;
    uint64_t embedding = 1024;   // E
    uint64_t vocabulary = 1600;  // N
  } concept_extractor;

  struct Modulator {
    uint64_t width = 39;  // m, between the two linear blocks
  } modulator;

  struct Fusion {
    uint64_t heads = 12;          // H
    uint64_t caption_slots = 20;  // T
    uint64_t max_concept_tokens = 40;
    double layer_norm_eps = 1e-12;
    Decode decode = Decode::kMask;

    uint64_t width = 312;          // d
    uint64_t layers = 4;           // L
    uint64_t feed_forward = 1200;  // F
    uint64_t vocabulary = 30522;   // W
    uint64_t positions = 512;
    uint64_t token_types = 2;
    bool grid_position = false;  // visual_projection.position is there
  } fusion;

  struct Head {
    Ensemble ensemble = Ensemble::kMeanProbability;

    uint64_t branches = 3;  // B
  } head;

  // kInt8: weights are int8, and the image encoder and the detector compute in 8-bit integers
  // (docs/int8.md). A float model becomes one by lightcap-quantize.
  Quantization quantization = Quantization::kNone;
  bool is_int8() const { return quantization == Quantization::kInt8; }
};

// Calls visitor(key, reference, lowest, highest) for numbers, visitor(key, reference, names) for
// enums, visitor(key, reference) for the rest. Keys are those of config.json with a dot between
// block and name. Bounds keep a hostile file's sizes, and products of them, far from overflow.
template <class ConfigType, class Visitor>
void visit_hyper_parameters(ConfigType& config, Visitor&& visitor) {
  auto& image_encoder = config.image_encoder;
  visitor("image_encoder.image_size", image_encoder.image_size, uint64_t{32}, uint64_t{4064});
  visitor("image_encoder.resize", image_encoder.resize, std::array{"stretch", "center_crop"});
  visitor("image_encoder.mean", image_encoder.mean, -1e6, 1e6);
  visitor("image_encoder.std", image_encoder.std, 1e-6, 1e6);
  auto& detector = config.detector;
  visitor("detector.image_size", detector.image_size, uint64_t{32}, uint64_t{4096});
  visitor("detector.confidence_threshold", detector.confidence_threshold, 0.0, 1.0);
  visitor("detector.iou_threshold", detector.iou_threshold, 0.0, 1.0);
  visitor("detector.max_proposals", detector.max_proposals, uint64_t{1}, uint64_t{1000});
  auto& concepts = config.concept_extractor;
  visitor("concept_extractor.roi_size", concepts.roi_size, uint64_t{1}, uint64_t{64});
  visitor("concept_extractor.sampling_ratio", concepts.sampling_ratio, uint64_t{1}, uint64_t{16});
  visitor("concept_extractor.deduplicate", concepts.deduplicate);
  auto& fusion = config.fusion;
  visitor("fusion.heads", fusion.heads, uint64_t{1}, uint64_t{1024});
  visitor("fusion.caption_slots", fusion.caption_slots, uint64_t{2}, uint64_t{1024});
  visitor("fusion.max_concept_tokens", fusion.max_concept_tokens, uint64_t{1}, uint64_t{1024});
  visitor("fusion.layer_norm_eps", fusion.layer_norm_eps, 0.0, 1.0);
  visitor("fusion.decode", fusion.decode, std::array{"mask", "causal"});
  visitor("head.ensemble", config.head.ensemble, std::array{"mean_probability", "mean_logit"});
}

template <class ConfigType, class Visitor>
void visit_sizes(ConfigType& config, Visitor&& visitor) {
  constexpr uint64_t kWidth = 1 << 16;
  visitor("image_encoder.width", config.image_encoder.width, uint64_t{2}, uint64_t{1024});
  visitor("image_encoder.blocks", config.image_encoder.blocks, uint64_t{1}, uint64_t{64});
  visitor("detector.widths", config.detector.widths, uint64_t{2}, uint64_t{4096});
  visitor("detector.depths", config.detector.depths, uint64_t{1}, uint64_t{64});
  visitor("detector.classes", config.detector.classes, uint64_t{1}, kWidth);
  visitor("detector.anchors", config.detector.anchors, uint64_t{1}, uint64_t{64});
  visitor("concept_extractor.hidden", config.concept_extractor.hidden, uint64_t{1}, kWidth);
  visitor("concept_extractor.embedding", config.concept_extractor.embedding, uint64_t{1}, kWidth);
  visitor("concept_extractor.vocabulary", config.concept_extractor.vocabulary, uint64_t{1},
          uint64_t{1} << 20);
  visitor("modulator.width", config.modulator.width, uint64_t{1}, kWidth);
  visitor("fusion.width", config.fusion.width, uint64_t{1}, kWidth);
  visitor("fusion.layers", config.fusion.layers, uint64_t{1}, uint64_t{128});
  visitor("fusion.feed_forward", config.fusion.feed_forward, uint64_t{1}, kWidth);
  visitor("fusion.vocabulary", config.fusion.vocabulary, uint64_t{5}, uint64_t{1} << 20);
  visitor("fusion.positions", config.fusion.positions, uint64_t{1}, kWidth);
  visitor("fusion.token_types", config.fusion.token_types, uint64_t{2}, uint64_t{64});
  visitor("fusion.grid_position", config.fusion.grid_position);
  visitor("head.branches", config.head.branches, uint64_t{1}, uint64_t{64});
  visitor("quantization", config.quantization, std::array{"none", "int8"});
}

// Checks what must agree between numbers: image sizes are multiples of 32, heads divide the width,
// positions suffice for slots and concept tokens. Returns what is wrong, or an empty string.
std::string contradiction(const Config& config);

// Reads the configuration of a weights file. Throws Error(kModel) for a missing key, a wrong type,
// a number out of its bounds or a contradiction. A file without modulator.width is older than that
// key, from when the modulator was as wide as the fusion model; one without quantization has none.
Config read_config(const WeightsFile& file);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_CONFIG_H_
