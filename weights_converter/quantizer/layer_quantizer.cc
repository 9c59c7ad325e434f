#include "weights_converter/quantizer/layer_quantizer.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "engine/runtime/error.h"
#include "kernels/integer_silu.h"
#include "kernels/pack.h"

namespace lightcap::internal {
namespace {

constexpr double kLargestByte = 255, kLargestWeight = 127;
// SiLU's argument is in units of 1 / 512.
constexpr double kSiluUnits = 1 << kSiluFraction;
// Numbers that are rounded to integers stay below this, as the loader checks.
constexpr double kRoundable = 1 << 29;
constexpr double kMostSum = std::numeric_limits<int32_t>::max();
// A row of zeros needs a scale for its bias alone: one that makes it so large an integer.
constexpr double kBiasOfZeros = 1 << 20;
constexpr float kScaleOfNothing = 0x1p-20f;  // of a row of zeros without a bias

[[noreturn]] void fail(const std::string& what) { throw Error(ErrorCode::kModel, what); }

bool is_encoder(const std::string& name) { return name.starts_with("image_encoder."); }

}  // namespace

Config int8_config(const Config& config) {
  Config result = config;
  result.quantization = Quantization::kInt8;
  // Half as many channels are to be a multiple of kQuad: C3 and SPPF have such inside.
  constexpr uint64_t kMultiple = 2 * kQuad;
  for (uint64_t& width : result.detector.widths)
    width = (width + kMultiple - 1) / kMultiple * kMultiple;
  return result;
}

LayerQuantizer::LayerQuantizer(const Weights& model, const Calibration& calibration)
    : model_(model), calibration_(calibration), grids_(calibration.grids) {
  for (TensorSpec& spec : schema(int8_config(model.config())))
    shapes_[std::move(spec.name)] = std::move(spec.shape);
  for (const ConvFlow& conv : calibration.flow.convs) {
    convs_[conv.name] = &conv;
    if (!conv.shortcut.empty()) joined_[conv.shortcut] = &conv;
  }
}

const ConvFlow* LayerQuantizer::flow_of(const std::string& name) const {
  const auto found = convs_.find(name);
  return found == convs_.end() ? nullptr : found->second;
}

// [outputs][depth]
std::vector<float> LayerQuantizer::finite_rows(const std::string& tensor) const {
  const PackedMatrix matrix = model_.packed(tensor);
  std::vector<float> values(matrix.outputs * matrix.depth);
  for (size_t output = 0; output < matrix.outputs; ++output)
    unpack_row(matrix, output, values.data() + output * matrix.depth);
  if (!std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); }))
    fail(tensor + " holds numbers that are not finite");
  return values;
}

std::vector<float> LayerQuantizer::finite_values(const std::string& tensor, size_t count) const {
  const float* const values = model_.floats(tensor);
  if (!std::all_of(values, values + count, [](float x) { return std::isfinite(x); }))
    fail(tensor + " holds numbers that are not finite");
  return {values, values + count};
}

float LayerQuantizer::input_scale(const ConvFlow& conv) const {
  return conv.input == kPictureGrid ? 1 : grids_[conv.input].scale;
}

// The networks' first convolutions read bytes of a picture, with a fourth beside red, green and
// blue (kBytePixel in models/config.h): the normalisation becomes part of the weights.
LayerQuantizer::FoldedRows LayerQuantizer::folded_stem(const ConvFlow& conv) const {
  FoldedRows result = rows_of(conv);
  const auto& config = model_.config().image_encoder;
  for (std::vector<double>& row : result.rows) {
    for (size_t tap = 0; tap < result.taps; ++tap) {
      double* const weights = row.data() + tap * kBytePixel;
      for (size_t c = 0; c < 3; ++c) {
        weights[c] /= kLargestByte;
        if (!is_encoder(conv.name)) continue;
        weights[c] /= config.std[c];
        weights[3] -= weights[c] * config.mean[c];
      }
    }
  }
  return result;
}

// Appends the shortcut's rows and folds both inputs' scales into the weights.
void LayerQuantizer::fold_shortcut(const ConvFlow& conv, FoldedRows& rows) const {
  const ConvFlow& shortcut = *flow_of(conv.shortcut);
  const FoldedRows other = rows_of(shortcut);
  const double own_scale = input_scale(conv), other_scale = input_scale(shortcut);
  for (size_t output = 0; output < rows.rows.size(); ++output) {
    std::vector<double>& row = rows.rows[output];
    for (double& weight : row) weight *= own_scale;
    for (const double weight : other.rows[output]) row.push_back(other_scale * weight);
    rows.bias[output] += other.bias[output];
  }
  rows.channels += other.channels;
  rows.input_scale = 1;
}

LayerQuantizer::FoldedRows LayerQuantizer::folded(const ConvFlow& conv) const {
  if (conv.input == kPictureGrid) return folded_stem(conv);
  FoldedRows result = rows_of(conv);
  result.input_scale = input_scale(conv);
  if (!conv.shortcut.empty()) fold_shortcut(conv, result);
  return result;
}

// The outputs that a convolution has in the integer graph.
size_t LayerQuantizer::outputs_of(const std::string& name) const {
  const auto shape = shapes_.find(name + ".weight");
  if (shape != shapes_.end()) return shape->second[0];
  return model_.packed(name + ".weight").outputs;  // a shortcut, which the integer graph lacks
}

// For each channel that a convolution reads, its place in the integer graph, and behind these how
// many there are.
std::vector<size_t> LayerQuantizer::channel_places(const ConvFlow& conv) const {
  if (conv.input == kPictureGrid) return {0, 1, 2, kBytePixel};
  std::vector<size_t> places;
  size_t begin = 0;
  for (const std::string& source : conv.sources) {
    const size_t channels = model_.packed(source + ".weight").outputs;
    for (size_t c = 0; c < channels; ++c) places.push_back(begin + c);
    begin += outputs_of(source);
  }
  places.push_back(begin);
  return places;
}

// The checkpoint's weights and biases, with zeros for what the integer graph has beside them.
LayerQuantizer::FoldedRows LayerQuantizer::rows_of(const ConvFlow& conv) const {
  const std::vector<float> weights = finite_rows(conv.name + ".weight");
  const TensorEntry& tensor = *model_.file().find_tensor(conv.name + ".weight");
  const size_t outputs = tensor.dims[0], channels = tensor.dims[1];
  const std::vector<float> bias = finite_values(conv.name + ".bias", outputs);
  const std::vector<size_t> places = channel_places(conv);
  FoldedRows result;
  result.channels = places[channels];
  result.taps = tensor.dims[2] * tensor.dims[3];
  result.bias.assign(bias.begin(), bias.end());
  result.bias.resize(outputs_of(conv.name));
  result.rows.resize(result.bias.size(), std::vector<double>(result.taps * result.channels));
  for (size_t output = 0; output < outputs; ++output) {
    for (size_t k = 0; k < result.taps * channels; ++k) {
      const size_t place = k / channels * result.channels + places[k % channels];
      result.rows[output][place] = weights[output * result.taps * channels + k];
    }
  }
  return result;
}

// None where the calibration kept no moments of what the convolution reads.
std::optional<Compensation> LayerQuantizer::compensation_of(const ConvFlow& conv,
                                                            const FoldedRows& rows) const {
  const auto index = static_cast<size_t>(&conv - calibration_.flow.convs.data());
  if (index >= calibration_.moments.size() || calibration_.moments[index].empty()) return {};
  const std::vector<size_t> channels = channel_places(conv);
  std::vector<size_t> places;
  for (size_t tap = 0; tap < rows.taps; ++tap) {
    for (size_t c = 0; c + 1 < channels.size(); ++c)
      places.push_back(tap * rows.channels + channels[c]);
  }
  return Compensation(calibration_.moments[index], places, rows.taps * rows.channels);
}

// Appends an output whose sums, times input_scale * s_w * to_output, are rounded to integers. The
// weights' scale grows where the bias, which is in units of the sums, would else leave int32.
void LayerQuantizer::append_output(const std::string& name, std::span<const double> row,
                                   double bias, double to_output, int input_zero,
                                   const Compensation* compensation, Int8Conv& conv) const {
  const double input_scale = conv.input_scale;
  const double largest_sum = kLargestByte * kLargestWeight * static_cast<double>(row.size());
  float scale = weight_scale(row);
  if (scale == 0) scale = static_cast<float>(std::abs(bias) / (input_scale * kBiasOfZeros));
  if (scale == 0) scale = kScaleOfNothing;
  double integer = 0;
  while (true) {
    Int8Rows one;
    double own_bias = bias;
    if (compensation == nullptr) {
      append_row(row, scale, one);
    } else {
      std::vector<int8_t> values(row.size());
      own_bias = compensation->round(row, bias, scale, values);
      append_values(values, scale, one);
    }
    scale = one.scales[0];
    integer = std::nearbyint(own_bias / (input_scale * double{scale})) -
              static_cast<double>(input_zero) * one.sums[0];
    if (largest_sum + std::abs(integer) <= kMostSum) {
      conv.weights.values.insert(conv.weights.values.end(), one.values.begin(), one.values.end());
      conv.weights.sums.push_back(one.sums[0]);
      break;
    }
    scale *= 2;
  }
  conv.weights.scales.push_back(scale);
  conv.bias.push_back(static_cast<int32_t>(integer));
  const auto output_scale = static_cast<float>(input_scale * double{scale} * to_output);
  conv.output_scales.push_back(output_scale);
  const double largest = (largest_sum + std::abs(integer)) * double{output_scale};
  if (!(output_scale > 0) || !(largest < kRoundable)) {
    fail("the convolution " + name +
         " has weights, or activations, that are too far apart in size for an int8 model");
  }
}

Int8Conv LayerQuantizer::conv(const std::string& name) const {
  const ConvFlow& flow = *flow_of(name);
  const FoldedRows rows = folded(flow);
  Int8Conv conv;
  conv.channels = rows.channels;
  conv.input_scale = rows.input_scale;
  conv.weights.depth = rows.channels * rows.taps;
  if (conv.weights.depth > kMaxIntegerDepth) {
    fail("the convolution " + name + " has the depth " + std::to_string(conv.weights.depth) +
         "; an int8 model has at most " + std::to_string(kMaxIntegerDepth));
  }
  const int input_zero = flow.input == kPictureGrid ? 0 : grids_[flow.input].zero;
  const ActivationGrid* const output = flow.output == kNoGrid ? nullptr : &grids_[flow.output];
  const bool is_silu = flow.activation == Activation::kSilu;
  if (is_silu && output == nullptr) fail("the convolution " + name + " ends in a SiLU of floats");
  double to_output = 1;
  if (is_silu) {
    to_output = kSiluUnits;
  } else if (output != nullptr) {
    to_output = 1 / double{output->scale};
  }
  conv.numbers[0] = static_cast<float>(input_zero);
  if (output != nullptr) {
    conv.numbers[1] = output->scale;
    conv.numbers[2] = static_cast<float>(output->zero);
  }
  if (flow.residual != kNoGrid && !flow.residual_after) {
    const ActivationGrid& residual = grids_[flow.residual];
    conv.numbers[3] = static_cast<float>(double{residual.scale} * to_output);
    conv.numbers[4] = static_cast<float>(residual.zero);
  }
  if (is_silu) conv.numbers[5] = static_cast<float>(output->silu_factor);
  const std::optional<Compensation> compensation = compensation_of(flow, rows);
  for (size_t i = 0; i < rows.rows.size(); ++i) {
    append_output(name, rows.rows[i], rows.bias[i], to_output, input_zero,
                  compensation ? &*compensation : nullptr, conv);
  }
  return conv;
}

Int8Rows LayerQuantizer::matrix(const std::string& tensor) const {
  const std::vector<float> weights = finite_rows(tensor);
  const size_t depth = model_.packed(tensor).depth;
  if (depth > kMaxIntegerDepth) {
    fail(tensor + " has the depth " + std::to_string(depth) + "; an int8 model has at most " +
         std::to_string(kMaxIntegerDepth));
  }
  Int8Rows rows;
  std::vector<double> row(depth);
  rows.values.reserve(weights.size());
  for (size_t begin = 0; begin < weights.size(); begin += depth) {
    std::copy_n(weights.begin() + static_cast<ptrdiff_t>(begin), depth, row.begin());
    append_row(row, rows);
  }
  return rows;
}

LayerQuantizer::FloatConv LayerQuantizer::stands_for(const std::string& name) const {
  const ConvFlow& flow = *flow_of(name);
  const auto joined = joined_.find(name);
  const ConvFlow& whole = flow.is_shortcut ? *joined->second : flow;
  const Int8Conv conv = this->conv(whole.name);
  const TensorEntry& tensor = *model_.file().find_tensor(name + ".weight");
  const size_t channels = tensor.dims[1], taps = tensor.dims[2] * tensor.dims[3];
  const std::vector<size_t> places = channel_places(flow);
  const size_t first_channel = flow.is_shortcut ? conv.channels - places.back() : 0;
  const bool is_stem = flow.input == kPictureGrid;
  const auto& config = model_.config().image_encoder;
  const std::vector<float> own_bias = finite_values(name + ".bias", tensor.dims[0]);
  // Folded into the weights, and to be taken out again.
  const auto folded = [&](size_t c) {
    if (is_stem) return 1 / (kLargestByte * (is_encoder(name) ? config.std[c] : 1));
    return whole.shortcut.empty() ? 1.0 : double{input_scale(flow)};
  };
  FloatConv result;
  result.weights.resize(tensor.dims[0] * channels * taps);
  for (size_t output = 0; output < tensor.dims[0]; ++output) {
    const auto row = conv.weights.row(output);
    const double scale = conv.weights.scales[output];
    double border = 0;  // what the fourth byte adds that the mean does not take away
    for (size_t tap = 0; tap < taps; ++tap) {
      for (size_t c = 0; c < channels; ++c) {
        const double weight = scale * row[tap * conv.channels + first_channel + places[c]];
        result.weights[(output * channels + c) * taps + tap] =
            static_cast<float>(weight / folded(c));
        if (is_stem && is_encoder(name)) border += kLargestByte * weight * config.mean[c];
      }
      if (is_stem) border += kLargestByte * scale * row[tap * conv.channels + 3];
    }
    const double zero = static_cast<double>(conv.numbers[0]) * conv.weights.sums[output];
    double bias = (conv.bias[output] + zero) * double{conv.input_scale} * scale + border;
    if (flow.is_shortcut) bias = double{own_bias[output]};
    if (!flow.shortcut.empty()) bias -= double{model_.floats(flow.shortcut + ".bias")[output]};
    result.bias.push_back(static_cast<float>(bias));
  }
  return result;
}

}  // namespace lightcap::internal
