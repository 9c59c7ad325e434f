#include "weights_converter/quantizer/data_flow.h"

#include <algorithm>
#include <cstddef>
#include <map>

#include "engine/runtime/error.h"

namespace lightcap::internal {
namespace {

bool have_same_pixels(const Tensor& a, const Tensor& b) {
  return a.height == b.height && a.width == b.width && a.row_stride == b.row_stride &&
         a.pixel_stride == b.pixel_stride;
}

// The channels that two views of the same pixels share.
size_t shared_channels(const Tensor& a, const Tensor& b) {
  const float* const begin = std::max(a.data, b.data);
  const float* const end = std::min(a.data + a.channels, b.data + b.channels);
  return begin < end ? static_cast<size_t>(end - begin) : 0;
}

const float* end_of(const Tensor& x) {
  return x.data + (x.height - 1) * x.row_stride + (x.width - 1) * x.pixel_stride + x.channels;
}

// Writing `b` destroys something of `a`. Slices of the same pixels lie beside each other.
bool overlap(const Tensor& a, const Tensor& b) {
  if (a.data >= end_of(b) || b.data >= end_of(a)) return false;
  const ptrdiff_t apart = a.data - b.data;
  const auto pixel = static_cast<ptrdiff_t>(a.pixel_stride);
  if (!have_same_pixels(a, b) || apart >= pixel || apart <= -pixel) return true;
  return shared_channels(a, b) > 0;
}

}  // namespace

// The values whose channels a view covers, in the order of these; none where it is the picture.
std::vector<size_t> FlowTap::values_in(const Tensor& view) const {
  std::map<const float*, size_t> by_channel;
  size_t channels = 0;
  for (const Place& place : places_) {
    if (!have_same_pixels(place.where, view)) continue;
    if (shared_channels(place.where, view) == 0) continue;
    channels += place.where.channels;
    by_channel[place.where.data] = place.value;
  }
  std::vector<size_t> found;
  for (const auto& [place, value] : by_channel) found.push_back(value);
  if (channels != 0 && channels != view.channels) {
    throw Error(ErrorCode::kInternal, "an operation reads " + std::to_string(view.channels) +
                                          " channels, of which " + std::to_string(channels) +
                                          " were written");
  }
  return found;
}

size_t FlowTap::root(size_t value) const {
  while (parents_[value] != value) value = parents_[value];
  return value;
}

// The older value of two trees stays the root.
void FlowTap::join(size_t a, size_t b) {
  a = root(a), b = root(b);
  parents_[std::max(a, b)] = std::min(a, b);
}

// Makes the values of a view a reader's input; they share a grid from now on.
void FlowTap::read(const Tensor& view, Value& reader) {
  for (const size_t index : values_in(view)) {
    Value& value = values_[index];
    ++value.reads;
    if (reader.input == kNoGrid) reader.input = index;
    join(reader.input, index);
    if (value.kind == TappedOperation::Kind::kConv) {
      reader.sources.push_back(index);
    } else {
      reader.sources.insert(reader.sources.end(), value.sources.begin(), value.sources.end());
    }
  }
}

void FlowTap::write(const Tensor& view, size_t value) {
  std::erase_if(places_, [&](const Place& place) { return overlap(place.where, view); });
  places_.push_back({view, value});
}

void FlowTap::after(const TappedOperation& operation) {
  using Kind = TappedOperation::Kind;
  if (operation.kind == Kind::kLinear) return;
  const size_t index = values_.size();
  Value value;
  value.kind = operation.kind;
  read(operation.input, value);
  parents_.push_back(index);
  if (operation.kind != Kind::kConv) {
    values_.push_back(value);
    if (value.input != kNoGrid) join(index, value.input);
    return write(operation.output, index);
  }
  const Fused& fused = *operation.fused;
  value.name = operation.conv->name;
  value.activation = fused.activation;
  value.residual_after = fused.residual_after;
  if (fused.residual != nullptr) {
    Tensor residual = operation.output;
    residual.data += fused.residual - operation.output.data;
    residual.pixel_stride = fused.residual_stride;
    residual.row_stride = residual.width * fused.residual_stride;
    const std::vector<size_t> found = values_in(residual);
    if (found.size() != 1) {
      throw Error(ErrorCode::kInternal,
                  "the residual of " + std::string(value.name) + " is not one value");
    }
    value.residual = found[0];
    ++values_[found[0]].residual_reads;
    values_[found[0]].last_residual_reader = index;
  }
  values_.push_back(value);
  if (value.residual != kNoGrid && fused.residual_after) join(index, value.residual);
  write(operation.output, index);
}

DataFlow FlowTap::flow() const {
  DataFlow flow;
  std::map<size_t, size_t> numbers;  // of grids, by their roots
  const auto grid = [&](size_t value) {
    return numbers.emplace(root(value), numbers.size()).first->second;
  };
  // Only a sum before the activation can take another product in.
  const auto is_shortcut = [&](const Value& value) {
    return value.kind == TappedOperation::Kind::kConv && value.activation == Activation::kNone &&
           value.residual == kNoGrid && value.reads == 0 && value.residual_reads == 1 &&
           !values_[value.last_residual_reader].residual_after;
  };
  for (size_t i = 0; i < values_.size(); ++i) {
    const Value& value = values_[i];
    const bool stays_floats = value.reads + value.residual_reads == 0 || is_shortcut(value);
    flow.grid_of_operation.push_back(stays_floats ? kNoGrid : grid(i));
    if (value.kind != TappedOperation::Kind::kConv) continue;
    ConvFlow conv;
    conv.name = value.name;
    conv.activation = value.activation;
    conv.input = value.input == kNoGrid ? kPictureGrid : grid(value.input);
    conv.output = flow.grid_of_operation.back();
    conv.residual_after = value.residual_after;
    conv.is_shortcut = is_shortcut(value);
    for (const size_t source : value.sources) conv.sources.emplace_back(values_[source].name);
    if (value.residual != kNoGrid) {
      const Value& residual = values_[value.residual];
      if (is_shortcut(residual)) {
        conv.shortcut = residual.name;
      } else {
        conv.residual = grid(value.residual);
      }
    }
    flow.convs.push_back(std::move(conv));
  }
  flow.grids = numbers.size();
  return flow;
}

}  // namespace lightcap::internal
