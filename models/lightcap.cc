#include "models/lightcap.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "engine/io/limits.h"
#include "engine/runtime/cpu_count.h"
#include "engine/runtime/error.h"
#include "engine/text/unicode.h"
#include "kernels/dispatch.h"

namespace lightcap {
namespace {

using Clock = std::chrono::steady_clock;

// Times a stage into one of Timings' fields.
template <class F>
void timed(double& milliseconds, F&& stage) {
  const auto start = Clock::now();
  stage();
  milliseconds = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

const std::vector<std::string_view>& string_list(const WeightsFile& file, const char* key,
                                                 uint64_t expected) {
  const Value* value = file.find_value(key);
  if (value == nullptr || !std::holds_alternative<std::vector<std::string_view>>(*value)) {
    throw Error(ErrorCode::kModel,
                file.source() + ": the key " + key + " is missing or not a list of strings");
  }
  const auto& strings = std::get<std::vector<std::string_view>>(*value);
  if (strings.size() != expected) {
    throw Error(ErrorCode::kModel, file.source() + ": the key " + key + " has " +
                                       std::to_string(strings.size()) + " strings, expected " +
                                       std::to_string(expected));
  }
  return strings;
}

// Zeros on the outer `padding` pixels of every side.
void clear_border(const Tensor& x, size_t padding) {
  for (size_t y = 0; y < x.height; ++y) {
    float* row = x.data + y * x.row_stride;
    if (y < padding || y >= x.height - padding) {
      std::fill_n(row, x.row_stride, 0.0f);
    } else {
      std::fill_n(row, padding * x.pixel_stride, 0.0f);
      std::fill_n(row + x.row_stride - padding * x.pixel_stride, padding * x.pixel_stride, 0.0f);
    }
  }
}

// What the border leaves.
Tensor inside(const Tensor& x, size_t padding) {
  Tensor middle = x;
  middle.data += padding * (x.row_stride + x.pixel_stride);
  middle.height -= 2 * padding;
  middle.width -= 2 * padding;
  return middle;
}

std::string supported_isas() {
  std::string names;
  for (size_t i = 0; i < isa_count(); ++i) {
    if (isa_supported(isa_at(i))) names += std::string(names.empty() ? "" : ", ") + isa_at(i).name;
  }
  return names;
}

// Boxes in pixels of the image -> pixels of the encoder's input. An empty one becomes the whole
// square.
Box to_encoder_pixels(const Box& box, const EncoderGeometry& geometry) {
  const auto size = static_cast<float>(geometry.size);
  const auto place = [&](float at, float scale, size_t offset) {
    return std::clamp(at * scale - static_cast<float>(offset), 0.0f, size);
  };
  const Box placed = {place(box.x1, geometry.scale_x, geometry.left),
                      place(box.y1, geometry.scale_y, geometry.top),
                      place(box.x2, geometry.scale_x, geometry.left),
                      place(box.y2, geometry.scale_y, geometry.top), box.score};
  if (placed.x2 <= placed.x1 || placed.y2 <= placed.y1) return {0, 0, size, size, box.score};
  return placed;
}

// (p / 255 - mean) / std for each channel and 8-bit value.
ValueTable normalization_table(const Config::ImageEncoder& config) {
  ValueTable table;
  for (size_t c = 0; c < table.size(); ++c) {
    const auto mean = static_cast<float>(config.mean[c]), std = static_cast<float>(config.std[c]);
    for (size_t p = 0; p < table[c].size(); ++p) {
      table[c][p] = (static_cast<float>(p) / 255.0f - mean) / std;
    }
  }
  return table;
}

}  // namespace

const KernelTable& choose_kernels(const char* name) {
  const char* source = "asked for";
  if (name == nullptr) {
    name = std::getenv("LIGHTCAP_ISA");
    source = "in LIGHTCAP_ISA";
  }
  if (name == nullptr || *name == '\0') return best_kernels();
  if (const KernelTable* kernels = find_kernels(name)) return *kernels;
  bool built_in = false;
  for (size_t i = 0; i < isa_count(); ++i)
    built_in = built_in || std::strcmp(isa_at(i).name, name) == 0;
  throw Error(ErrorCode::kIsa, std::string("the instruction set \"") + name + "\" " + source +
                                   (built_in ? " is not supported by this CPU" : " is unknown") +
                                   "; there are: " + supported_isas());
}

int default_threads() {
  constexpr int kMost = 8;
  return std::min(cpu_count(), kMost);
}

namespace {

// Ends with the place of the first string that is too long or no UTF-8, which whoever prints a
// caption or label relies on.
const std::vector<std::string_view>& checked_texts(const WeightsFile& file, const char* key,
                                                   uint64_t expected, uint64_t longest) {
  const std::vector<std::string_view>& texts = string_list(file, key, expected);
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto fail = [&](const std::string& what) {
      throw Error(ErrorCode::kModel, file.source() + ": the key " + key + ": string " +
                                         std::to_string(i) + " " + what);
    };
    if (texts[i].size() > longest) {
      fail("has " + std::to_string(texts[i].size()) + " bytes, the limit is " +
           std::to_string(longest));
    }
    const size_t valid = valid_utf8_prefix(texts[i]);
    if (valid < texts[i].size()) fail("is not UTF-8 from byte " + std::to_string(valid) + " on");
  }
  return texts;
}

}  // namespace

Model::Model(WeightsFile file)
    : weights_(std::move(file)),
      word_piece(checked_texts(weights_.file(), "vocabulary", config().fusion.vocabulary,
                               limits::kTokenBytes)),
      image_encoder(weights_),
      detector(weights_),
      concept_extractor(weights_),
      modulator(weights_),
      fusion(weights_),
      head(weights_),
      decoder(weights_, fusion, head, word_piece.special_tokens()),
      winograd_cache_(std::make_unique<WinogradCache>(&weights_.file())) {
  for (const std::string_view label : checked_texts(
           weights_.file(), "labels", config().concept_extractor.vocabulary, limits::kLabelBytes)) {
    labels_.emplace_back(label);
    label_tokens_.push_back(word_piece.encode(label));
  }
}

Session::Session(std::shared_ptr<const Model> model, const SessionOptions& options)
    : model_(std::move(model)),
      pool_(options.executor.parallel_for != nullptr ? ThreadPool(options.executor, options.threads)
                                                     : ThreadPool(options.threads)),
      runtime_{.kernels = *options.kernels,
               .pool = pool_,
               .arena = arena_,
               .convs = options.low_memory ? nullptr : &convs_,
               .observer = options.observer,
               .planned_steps = &planned_steps_},
      max_beams_(options.max_beams),
      value_table_(normalization_table(model_->config().image_encoder)) {
  const Config& config = model_->config();
  boxes_.resize(config.detector.max_proposals);
  encoder_boxes_.resize(config.detector.max_proposals);
  concepts_.reserve(config.detector.max_proposals);
  prefix_tokens_.reserve(config.fusion.max_concept_tokens);
  text_.reserve(config.fusion.caption_slots * (model_->word_piece.longest_token() + 1));
  plan();
}

// Bytes that transformed weights may take beside the model: with LightCap's own sizes a session
// then stays under 64 MiB beside the file, whatever the type of the weights. Larger models may take
// as many bytes as they have weights.
constexpr size_t kWinogradBudget = size_t{44} << 20;

// Runs every stage over an arena without memory, for the largest inputs: once to see the
// convolutions and choose how to compute them, once to learn how much memory that takes.
void Session::plan() {
  if (runtime_.convs != nullptr) {
    run_for_planning();
    check_plan();  // before weights are transformed
    arena_.restart();
    convs_.choose(model_->winograd_cache(), std::max(kWinogradBudget, model_->weights().values()));
    convs_.prepare(pool_);
  }
  run_for_planning();
  check_plan();
  arena_.allocate();
  allocate();
  clear_border(encoder_input_, ImageEncoder::kInputPadding);
}

void Session::run_for_planning() {
  planned_steps_ = 0;
  allocate();
  const size_t side = model_->config().detector.image_size;
  letterbox_ = letterbox_geometry(side, side, side);
  preprocess({nullptr, side, side, 0});
  detect();
  encode_image();
  boxes_.resize(model_->config().detector.max_proposals);
  find_concepts();
  prefix_tokens_.resize(model_->config().fusion.max_concept_tokens);
  fuse();
  const double before = planned_steps_;
  decode({.beams = max_beams_});  // plans one step
  planned_steps_ +=
      (planned_steps_ - before) * static_cast<double>(model_->config().fusion.caption_slots - 2);
}

void Session::check_plan() const {
  const uint64_t weights = model_->weights().values();
  const auto check = [&](double planned, uint64_t limit, const char* what) {
    if (planned <= static_cast<double>(limit)) return;
    const auto number = [](double count) {
      char text[32];
      std::snprintf(text, sizeof text, "%.3g", count);
      return std::string(text);
    };
    throw Error(ErrorCode::kModel, model_->weights().file().source() + ": a caption would take " +
                                       number(planned) + " " + what + ", more than " +
                                       number(static_cast<double>(limit)) +
                                       ", the limit for a model of " + std::to_string(weights) +
                                       " weights: its image sizes, tokens or outputs are too many");
  };
  check(static_cast<double>(arena_.peak_bytes()), limits::session_bytes(weights),
        "bytes of memory");
  check(planned_steps_, limits::caption_steps(weights), "steps of arithmetic");
}

// What outlives a stage.
void Session::allocate() {
  const Config& config = model_->config();
  const size_t grid = config.image_encoder.grid();
  const size_t channels = config.image_encoder.channels();
  const size_t encoder_side = config.image_encoder.image_size + 2 * ImageEncoder::kInputPadding;
  const size_t detector_side = config.detector.image_size + 2 * Detector::kInputPadding;
  encoder_input_ = arena_.tensor(encoder_side, encoder_side, 3);
  detector_memory_ = arena_.floats(dense_tensor_floats(detector_side, detector_side, 3));
  for (size_t scale = 0; scale < Detector::kScales; ++scale) {
    const size_t side = config.detector.image_size / (size_t{8} << scale);
    raw_memory_[scale] =
        arena_.floats(dense_tensor_floats(side, side, model_->detector.outputs_per_cell()));
  }
  features_ = arena_.tensor(grid, grid, channels);
  modulated_ = arena_.tensor(grid, grid, channels);
  roi_features_ = arena_.matrix(config.detector.max_proposals, channels);
  similarity_ = arena_.matrix(config.detector.max_proposals, config.concept_extractor.vocabulary);
  gate_ = arena_.floats(channels);
  prefix_ = arena_.matrix(model_->fusion.max_prefix_tokens(), config.fusion.width);
  model_->fusion.allocate(arena_, max_beams_, fusion_state_);
  model_->decoder.allocate(arena_, max_beams_, fusion_state_, decoder_state_);
}

size_t Session::peak_bytes() const {
  return model_->weights().bytes() + convs_.extra_bytes() + arena_.peak_bytes();
}

void Session::caption(const ImageView& image, const DecodeOptions& options) {
  pool_.after_fork();
  timed(timings_.preprocess, [&] { preprocess(image); });
  timed(timings_.detector, [&] { detect(); });
  timed(timings_.image_encoder, [&] { encode_image(); });
  timed(timings_.concepts, [&] { find_concepts(); });
  timed(timings_.fusion_prefix, [&] { fuse(); });
  timed(timings_.decoding, [&] { decode(options); });
}

void Session::preprocess(const ImageView& image) {
  const Config& config = model_->config();
  image_width_ = image.width;
  image_height_ = image.height;
  encoder_geometry_ = encoder_geometry(image.width, image.height, config.image_encoder.image_size,
                                       config.image_encoder.resize == Resize::kCenterCrop);
  letterbox_ = letterbox_geometry(image.width, image.height, config.detector.image_size);
  const size_t padding = Detector::kInputPadding;
  detector_input_ = dense_tensor(detector_memory_, letterbox_.height + 2 * padding,
                                 letterbox_.width + 2 * padding, 3);
  const Tensor encoder = inside(encoder_input_, ImageEncoder::kInputPadding);
  const Tensor detector = inside(detector_input_, padding);
  lightcap::encoder_input(image, encoder_geometry_, value_table_, runtime_.kernels, arena_, pool_,
                          encoder);
  lightcap::detector_input(image, letterbox_, config.detector.image_size, arena_, pool_, detector);
  if (runtime_.planning()) return;
  clear_border(detector_input_, padding);  // its place depends on the picture's shape
  if (trace) {
    trace_channels_first("encoder_input", encoder);
    trace_channels_first("detector_input", detector);
  }
}

void Session::detect() {
  const size_t h = letterbox_.height, w = letterbox_.width;
  for (size_t scale = 0; scale < Detector::kScales; ++scale) {
    const size_t stride = size_t{8} << scale;
    raw_detections_[scale] = dense_tensor(raw_memory_[scale], h / stride, w / stride,
                                          model_->detector.outputs_per_cell());
  }
  model_->detector.forward(runtime_, detector_input_, raw_detections_);
  boxes_.resize(model_->config().detector.max_proposals);
  boxes_.resize(model_->detector.propose(runtime_, raw_detections_, boxes_.data()));
  const auto width = static_cast<float>(image_width_), height = static_cast<float>(image_height_);
  const auto ratio = static_cast<float>(letterbox_.ratio);
  for (Box& box : boxes_) {
    const auto back = [&](float at, size_t pad, float limit) {
      return std::clamp((at - static_cast<float>(pad)) / ratio, 0.0f, limit);
    };
    box = {back(box.x1, letterbox_.left, width), back(box.y1, letterbox_.top, height),
           back(box.x2, letterbox_.left, width), back(box.y2, letterbox_.top, height), box.score};
  }
  if (boxes_.empty()) boxes_.push_back({0, 0, width, height, 0});  // capacity is max_proposals >= 1
  if (trace) trace_detections();
}

void Session::encode_image() {
  model_->image_encoder.forward(runtime_, encoder_input_, features_);
  if (trace) trace_channels_first("image_features", features_);
}

void Session::find_concepts() {
  const size_t count = boxes_.size();
  encoder_boxes_.resize(count);
  for (size_t i = 0; i < count; ++i)
    encoder_boxes_[i] = to_encoder_pixels(boxes_[i], encoder_geometry_);
  model_->concept_extractor.forward(runtime_, features_, encoder_boxes_.data(), count,
                                    roi_features_, similarity_);
  concepts_.clear();
  if (runtime_.planning()) return;
  for (size_t i = 0; i < count; ++i) {
    const float* row = similarity_.row(i);
    if (!std::all_of(row, row + similarity_.columns, [](float x) { return std::isfinite(x); })) {
      throw Error(ErrorCode::kModel,
                  "the similarities of concepts are not finite: the model's weights are damaged, "
                  "or not trained");
    }
    const float* best = std::max_element(row, row + similarity_.columns);
    const Box& box = boxes_[i];
    concepts_.push_back(
        {static_cast<uint32_t>(best - row), *best, box.score, {box.x1, box.y1, box.x2, box.y2}});
  }
  if (trace) {
    trace_matrix("roi_features", roi_features_.first_rows(count));
    trace_matrix("concept_similarity", similarity_.first_rows(count));
  }
}

void Session::fuse() {
  const Config::Fusion& config = model_->config().fusion;
  if (!runtime_.planning()) {
    prefix_tokens_.clear();
    const bool deduplicate = model_->config().concept_extractor.deduplicate;
    for (size_t i = 0; i < concepts_.size(); ++i) {
      const auto same = [&](const Concept& other) {
        return model_->label(other.label) == model_->label(concepts_[i].label);
      };
      if (deduplicate &&
          std::any_of(concepts_.begin(), concepts_.begin() + static_cast<std::ptrdiff_t>(i), same))
        continue;
      for (const uint32_t token : model_->label_tokens(concepts_[i].label)) {
        if (prefix_tokens_.size() + 1 < config.max_concept_tokens) prefix_tokens_.push_back(token);
      }
    }
    prefix_tokens_.push_back(model_->word_piece.special_tokens().sep);
  }
  const size_t count = prefix_tokens_.size();
  model_->modulator.forward(runtime_, prefix_tokens_.data(), count - 1, features_, gate_,
                            modulated_);
  if (trace) trace("gate", gate_, {features_.channels});
  const Matrix prefix = prefix_.first_rows(count + features_.height * features_.width);
  model_->fusion.embed_prefix(runtime_, prefix_tokens_.data(), count, modulated_, prefix);
  if (trace) trace_matrix("prefix", prefix);
  model_->fusion.run_prefix(runtime_, prefix, fusion_state_);
}

void Session::decode(const DecodeOptions& options) {
  std::vector<float> rows;  // only grows while tracing
  size_t words = 0;
  decoder_state_.on_log_probabilities = {};
  if (trace && options.beams == 1) {
    decoder_state_.on_log_probabilities = [&](const float* row, size_t count) {
      rows.insert(rows.end(), row, row + count);
      words = count;
    };
  }
  hypothesis_ = &model_->decoder.run(runtime_, options, decoder_state_);
  if (runtime_.planning()) return;
  if (words != 0) trace("log_probabilities", rows.data(), {rows.size() / words, words});
  model_->word_piece.decode(hypothesis_->tokens.data(), hypothesis_->tokens.size(), text_);
}

void Session::decode_step(size_t t) { model_->decoder.step(runtime_, decoder_state_, 1, t); }

void Session::head_step() { model_->decoder.find_words(runtime_, decoder_state_, 1, 1, 1); }

void Session::trace_matrix(const char* name, Matrix x) const {
  std::vector<float> dense(x.rows * x.columns);
  for (size_t i = 0; i < x.rows; ++i)
    std::copy_n(x.row(i), x.columns, dense.data() + i * x.columns);
  trace(name, dense.data(), {x.rows, x.columns});
}

// [height][width][channels] as PyTorch has it: [channels, height, width].
void Session::trace_channels_first(const char* name, const Tensor& x) const {
  std::vector<float> planes;
  planes.reserve(x.channels * x.height * x.width);
  for (size_t c = 0; c < x.channels; ++c) {
    for (size_t row = 0; row < x.height; ++row) {
      for (size_t column = 0; column < x.width; ++column) {
        planes.push_back(x.data[row * x.row_stride + column * x.pixel_stride + c]);
      }
    }
  }
  trace(name, planes.data(), {x.channels, x.height, x.width});
}

void Session::trace_detections() const {
  std::vector<float> rows;
  for (const Box& box : boxes_)
    rows.insert(rows.end(), {box.x1, box.y1, box.x2, box.y2, box.score});
  trace("detections", rows.data(), {boxes_.size(), 5});
}

}  // namespace lightcap
